//! The file that says which process serves.
//!
//! It is written beside its place before anything is taken over, which needs room on its disk, and
//! put into its place when this process serves, which needs none: a full disk stands in the way of
//! an upgrade as long as the old process can go on, and not later.

use std::io;
use std::path::{Path, PathBuf};

/// A number that is written, and in nobody's place yet.
#[derive(Debug)]
pub(super) struct PidFile {
    path: PathBuf,
    is_placed: bool,
}

impl PidFile {
    /// Writes this process's number beside `path`.
    pub(super) fn prepare(path: &Path) -> io::Result<Self> {
        let file = Self { path: path.to_owned(), is_placed: false };
        std::fs::write(file.beside(), format!("{}\n", std::process::id()))?;
        Ok(file)
    }

    /// This process serves.
    pub(super) fn place(mut self) {
        match std::fs::rename(self.beside(), &self.path) {
            Ok(()) => self.is_placed = true,
            // It is for others, and nothing here depends on it.
            Err(error) => {
                tracing::warn!(path = %self.path.display(), %error, "the pid file stays as it was");
            }
        }
    }

    fn beside(&self) -> PathBuf {
        let mut name = self.path.as_os_str().to_owned();
        name.push(".new");
        name.into()
    }
}

impl Drop for PidFile {
    /// Nothing has come of it.
    fn drop(&mut self) {
        if !self.is_placed {
            // What cannot be removed is overwritten by the next try.
            let _left = std::fs::remove_file(self.beside());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_in_its_place_whole_or_not_at_all() {
        let folder = std::env::temp_dir().join(format!("longwire-pid-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("pid");
        drop(PidFile::prepare(&path).unwrap());
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
        PidFile::prepare(&path).unwrap().place();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, format!("{}\n", std::process::id()));
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
        std::fs::remove_dir_all(&folder).unwrap();
        assert!(PidFile::prepare(&path).is_err());
    }
}
