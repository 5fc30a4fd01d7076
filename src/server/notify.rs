//! Words for the supervisor, by systemd's notification socket.
//!
//! They are for others, and nothing here depends on them: a failure is logged, and all goes on.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::time::Duration;

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
    /// It serves from now on in the place of the process that has started it.
    ReadyInstead,
    /// Another process serves from now on.
    MainProcess(u32),
    /// It does what it should.
    Alive,
}

impl News {
    fn text(self) -> String {
        match self {
            Self::Ready => "READY=1".to_owned(),
            Self::Reloading { monotonic_us } => {
                format!("RELOADING=1\nMONOTONIC_USEC={monotonic_us}")
            }
            Self::Stopping => "STOPPING=1".to_owned(),
            // In one message: who ends a reload is who serves.
            Self::ReadyInstead => format!("MAINPID={}\nREADY=1", std::process::id()),
            Self::MainProcess(pid) => format!("MAINPID={pid}"),
            Self::Alive => "WATCHDOG=1".to_owned(),
        }
    }
}

/// Tells the supervisor, if there is one that listens.
pub(super) fn tell(news: News) {
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET") else { return };
    // One that is behind hears that all is well the next time.
    let may_wait = news != News::Alive;
    if let Err(error) = send(socket.as_bytes(), &news.text(), may_wait) {
        tracing::warn!(%error, ?news, "the supervisor could not be told");
    }
}

/// How long a supervisor whose queue is full is waited for.
const PATIENCE: Duration = Duration::from_secs(1);

/// A name that begins with `@` is in the abstract namespace.
fn send(socket: &[u8], text: &str, may_wait: bool) -> io::Result<()> {
    let address = match socket {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        path => SocketAddr::from_pathname(Path::new(std::ffi::OsStr::from_bytes(path)))?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(!may_wait)?;
    // A supervisor that reads nothing holds nobody up for long.
    socket.set_write_timeout(Some(PATIENCE))?;
    socket.send_to_addr(text.as_bytes(), &address)?;
    Ok(())
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
            send(&address, &News::MainProcess(7).text(), true).unwrap();
            let mut buffer = [0; 64];
            let length = socket.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], b"MAINPID=7");
            // A supervisor that reads nothing holds nobody up.
            while send(&address, &News::Alive.text(), false).is_ok() {}
        }
        std::fs::remove_file(&path).unwrap();
        assert!(send(path.as_os_str().as_bytes(), "READY=1", true).is_err());
    }
}
