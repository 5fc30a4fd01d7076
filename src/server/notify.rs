//! Words for the supervisor: systemd's notification socket, and a pid file.
//!
//! Both are for others, and nothing here depends on them: a failure is logged, and all goes on.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;

/// What a supervisor is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// It serves.
    Ready,
    /// A new process is being started, and will take over.
    Reloading {
        /// Now, by the monotonic clock.
        monotonic_us: u64,
    },
    /// It ends.
    Stopping,
    /// This process serves from now on.
    MainProcess(u32),
}

impl News {
    fn text(self) -> String {
        match self {
            Self::Ready => "READY=1".to_owned(),
            Self::Reloading { monotonic_us } => {
                format!("RELOADING=1\nMONOTONIC_USEC={monotonic_us}")
            }
            Self::Stopping => "STOPPING=1".to_owned(),
            Self::MainProcess(pid) => format!("MAINPID={pid}"),
        }
    }
}

/// Tells the supervisor, if there is one that listens.
pub(super) fn tell(news: News) {
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET") else { return };
    if let Err(error) = send(socket.as_bytes(), &news.text()) {
        tracing::warn!(%error, ?news, "the supervisor could not be told");
    }
}

/// A name that begins with `@` is in the abstract namespace.
fn send(socket: &[u8], text: &str) -> io::Result<()> {
    let address = match socket {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        path => SocketAddr::from_pathname(Path::new(std::ffi::OsStr::from_bytes(path)))?,
    };
    UnixDatagram::unbound()?.send_to_addr(text.as_bytes(), &address)?;
    Ok(())
}

/// Writes this process's number into a file, whole or not at all.
pub(super) fn write_pid_file(path: &Path) {
    let mut partial = path.as_os_str().to_owned();
    partial.push(".new");
    let written = std::fs::write(&partial, format!("{}\n", std::process::id()))
        .and_then(|()| std::fs::rename(&partial, path));
    if let Err(error) = written {
        tracing::warn!(path = %path.display(), %error, "the pid file could not be written");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn news_arrive_at_a_path_and_in_the_abstract_namespace() {
        let name = format!("longwire-notify-{}", std::process::id());
        let path = std::env::temp_dir().join(&name);
        let _stale = std::fs::remove_file(&path);
        let abstract_address = SocketAddr::from_abstract_name(&name).unwrap();
        let sockets = [
            (UnixDatagram::bind(&path).unwrap(), path.as_os_str().as_bytes().to_vec()),
            (UnixDatagram::bind_addr(&abstract_address).unwrap(), format!("@{name}").into_bytes()),
        ];
        for (socket, address) in sockets {
            send(&address, &News::MainProcess(7).text()).unwrap();
            let mut buffer = [0; 64];
            let length = socket.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], b"MAINPID=7");
        }
        std::fs::remove_file(&path).unwrap();
        assert!(send(path.as_os_str().as_bytes(), "READY=1").is_err());
    }

    #[test]
    fn a_pid_file_is_written_whole_and_its_failure_is_no_end() {
        let path = std::env::temp_dir().join(format!("longwire-pid-{}", std::process::id()));
        write_pid_file(&path);
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, format!("{}\n", std::process::id()));
        std::fs::remove_file(&path).unwrap();
        write_pid_file(Path::new("/nowhere/at/all"));
    }
}
