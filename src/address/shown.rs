//! A client's address as people read it.

use core::fmt;
use core::net::SocketAddr;

/// Shows an address; without its port where a proxy has named none.
#[derive(Clone, Copy, Debug)]
pub struct Shown(pub SocketAddr);

impl fmt::Display for Shown {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.port() {
            0 => self.0.ip().fmt(out),
            _ => self.0.fmt(out),
        }
    }
}
