//! What the control thread says of a client that it brings to a shard.
//!
//! The socket of such a client is one of our own, and its peer this process: who the client is was
//! found out where its request came in.

use core::net::{IpAddr, Ipv6Addr, SocketAddr};

use crate::protocol::Transport;

/// A client that another thread of this process speaks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Introduction {
    /// The client, if it has an address.
    pub client: Option<SocketAddr>,
    /// Whether a trusted proxy wrote its request.
    pub is_proxy: bool,
    /// What carries what it says.
    pub transport: Transport,
}

/// Bytes of the serial form: the flags, the transport, the address and its port.
pub const INTRODUCTION_BYTES: usize = 1 + 1 + 16 + 2;

const HAS_CLIENT: u8 = 1;
const IS_PROXY: u8 = 2;

impl Introduction {
    /// Its serial form.
    pub fn encode(&self) -> [u8; INTRODUCTION_BYTES] {
        let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
        let flags = flag(self.client.is_some(), HAS_CLIENT) | flag(self.is_proxy, IS_PROXY);
        let ip = self.client.map_or(Ipv6Addr::UNSPECIFIED, |client| match client.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        });
        let port = self.client.map_or(0, |client| client.port());
        let mut bytes = [0; INTRODUCTION_BYTES];
        bytes[0] = flags;
        bytes[1] = self.transport as u8;
        bytes[2..18].copy_from_slice(&ip.octets());
        bytes[18..].copy_from_slice(&port.to_be_bytes());
        bytes
    }

    /// Reads the serial form; `None` if it is none.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (&[flags, transport], rest) = bytes.split_first_chunk()?;
        let (ip, rest) = rest.split_first_chunk::<16>()?;
        let (port, []) = rest.split_first_chunk::<2>()? else { return None };
        let ip = IpAddr::V6(Ipv6Addr::from(*ip)).to_canonical();
        let client = SocketAddr::new(ip, u16::from_be_bytes(*port));
        Some(Self {
            client: (flags & HAS_CLIENT != 0).then_some(client),
            is_proxy: flags & IS_PROXY != 0,
            transport: *Transport::ALL.get(usize::from(transport))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_introduction_reads_back() {
        let clients = [None, Some("192.0.2.7:80"), Some("[2001:db8::1]:65535")];
        for client in clients.map(|client| client.map(|client| client.parse().unwrap())) {
            for transport in Transport::ALL {
                for is_proxy in [false, true] {
                    let one = Introduction { client, is_proxy, transport };
                    assert_eq!(Introduction::decode(&one.encode()), Some(one));
                }
            }
        }
        let bytes = [9; INTRODUCTION_BYTES];
        assert_eq!(Introduction::decode(&bytes), None, "no such transport");
        assert_eq!(Introduction::decode(&[0; INTRODUCTION_BYTES - 1]), None);
        assert_eq!(Introduction::decode(&[0; INTRODUCTION_BYTES + 1]), None);
    }
}
