//! The server under test: `longwire serve` on a core of its own, for as long as it is measured.

use std::io::{self, BufRead as _, BufReader, ErrorKind};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// What back ends say to it.
pub(crate) const KEY: &str = "measured";

/// Looks for a server that is just starting.
const START_TRIES: u32 = 500;

/// A running server, killed when it is dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Server {
    /// Starts `longwire serve` on the cores of the calling thread, with these settings beside its
    /// own.
    pub(crate) fn start(binary: &Path, settings: &[(&str, &str)]) -> io::Result<Self> {
        let mut command = Command::new(binary);
        command
            .arg("serve")
            .env_clear()
            .env("LONGWIRE_HTTP_SERVER_ADDRESS", "127.0.0.1")
            .env("LONGWIRE_HTTP_SERVER_PORT", "0")
            .env("LONGWIRE_HTTP_SERVER_INTERNAL_PORT", "off")
            .env("LONGWIRE_HTTP_API_KEY", KEY)
            .env("LONGWIRE_CLIENT_INSECURE", "true")
            .env("LONGWIRE_CLIENT_PING_INTERVAL", "off")
            .env("LONGWIRE_LOG_LEVEL", "warn")
            .envs(settings.iter().copied());
        Self::spawn(&mut command)
    }

    /// Starts `longwire raw broadcast` with one shard.
    #[allow(dead_code)] // one of two programs asks
    pub(crate) fn start_raw(binary: &Path) -> io::Result<Self> {
        // A port that was free a moment ago: this server does not tell its own.
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let mut command = Command::new(binary);
        let listen = address.to_string();
        command.args(["raw", "broadcast", "--listen", &listen, "--shards", "1"]);
        let server = Self { child: command.stderr(Stdio::null()).spawn()?, address };
        for _ in 0..START_TRIES {
            if TcpStream::connect(address).is_ok() {
                return Ok(server);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Err(io::Error::new(ErrorKind::TimedOut, "no raw server"))
    }

    /// Starts a server that says at which `ws://` it listens.
    fn spawn(command: &mut Command) -> io::Result<Self> {
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let address = lines.map_while(Result::ok).find_map(|line| {
            let (_, behind) = line.split_once("ws://")?;
            behind.split('/').next()?.parse().ok()
        });
        let Some(address) = address else {
            let ended = child.wait()?;
            return Err(io::Error::new(ErrorKind::NotFound, format!("no server: {ended}")));
        };
        Ok(Self { child, address })
    }

    /// Seconds of CPU time that it has taken, by all its threads.
    pub(crate) fn cpu_seconds(&self) -> io::Result<f64> {
        cpu_seconds(&format!("/proc/{}/task", self.child.id()))
    }

    /// Bytes that are this process's alone.
    #[allow(dead_code)] // one of two programs asks
    pub(crate) fn private_bytes(&self) -> io::Result<u64> {
        let text = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", self.child.id()))?;
        let private = text.lines().filter_map(|line| line.strip_prefix("Private_"));
        let kilobytes = private.filter_map(|line| line.split_whitespace().nth(1)?.parse().ok());
        Ok(kilobytes.map(|kilobytes: u64| kilobytes * 1024).sum())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ended_already = self.child.kill();
        let _reaped_already = self.child.wait();
    }
}

/// The same of this process.
#[allow(dead_code)] // one of two programs asks
pub(crate) fn own_cpu_seconds() -> io::Result<f64> {
    cpu_seconds("/proc/self/task")
}

/// Run time of all threads, which the kernel tells in nanoseconds (`schedstat`).
fn cpu_seconds(tasks: &str) -> io::Result<f64> {
    let mut seconds = 0.0;
    for task in std::fs::read_dir(tasks)? {
        let stat = std::fs::read_to_string(task?.path().join("schedstat"))?;
        let run_ns = stat.split(' ').next().and_then(|first| first.parse::<f64>().ok());
        seconds += run_ns.unwrap_or(0.0) / 1e9;
    }
    Ok(seconds)
}

/// The binary beside the directory of this program.
pub(crate) fn default_binary() -> io::Result<PathBuf> {
    let own = std::env::current_exe()?;
    let directory = own.parent().and_then(Path::parent).unwrap_or(Path::new("."));
    Ok(directory.join("longwire"))
}
