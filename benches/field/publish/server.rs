//! The server under test: `longwire serve` on a core of its own, for as long as it is measured.

use std::io::{self, BufRead as _, BufReader, ErrorKind};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// What back ends say to it.
pub(crate) const KEY: &str = "measured";

/// A running server, killed when it is dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Server {
    /// Starts it on the cores of the calling thread.
    pub(crate) fn start(binary: &Path) -> io::Result<Self> {
        let mut child = Command::new(binary)
            .arg("serve")
            .env_clear()
            .env("LONGWIRE_HTTP_SERVER_ADDRESS", "127.0.0.1")
            .env("LONGWIRE_HTTP_SERVER_PORT", "0")
            .env("LONGWIRE_HTTP_SERVER_INTERNAL_PORT", "off")
            .env("LONGWIRE_HTTP_API_KEY", KEY)
            .env("LONGWIRE_CLIENT_INSECURE", "true")
            .env("LONGWIRE_CLIENT_PING_INTERVAL", "off")
            .env("LONGWIRE_LOG_LEVEL", "warn")
            .stdout(Stdio::piped())
            .spawn()?;
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
        cpu_seconds(&format!("/proc/{}/stat", self.child.id()))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ended_already = self.child.kill();
        let _reaped_already = self.child.wait();
    }
}

/// The same of this process.
pub(crate) fn own_cpu_seconds() -> io::Result<f64> {
    cpu_seconds("/proc/self/stat")
}

fn cpu_seconds(path: &str) -> io::Result<f64> {
    // User and system time are the 14th and 15th field (proc(5)), in hundredths of a second.
    let stat = std::fs::read_to_string(path)?;
    let (_, behind_name) = stat.rsplit_once(") ").unwrap_or_default();
    let ticks =
        behind_name.split(' ').skip(11).take(2).filter_map(|field| field.parse::<f64>().ok());
    Ok(ticks.sum::<f64>() / 100.0)
}

/// The binary beside the directory of this program.
pub(crate) fn default_binary() -> io::Result<PathBuf> {
    let own = std::env::current_exe()?;
    let directory = own.parent().and_then(Path::parent).unwrap_or(Path::new("."));
    Ok(directory.join("longwire"))
}
