//! Whose word about a client's address is taken, and what then is the address.

use core::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::config::Cidr;
use crate::limits::FORWARDED_HOPS_MAX;

/// The peer of a socket, as the kernel knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketPeer {
    /// Another address, of this machine or another one.
    Internet(SocketAddr),
    /// A process of this machine, over a Unix socket.
    Local,
    /// It was gone before it was asked for.
    Gone,
}

impl SocketPeer {
    /// Its address, if it has one.
    pub fn address(self) -> Option<SocketAddr> {
        match self {
            Self::Internet(address) => Some(address),
            Self::Local | Self::Gone => None,
        }
    }
}

/// The networks of proxies whose word is taken. Those on a Unix socket count as `127.0.0.1`.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies {
    networks: Box<[Cidr]>,
}

impl TrustedProxies {
    /// Of these networks.
    pub fn new(networks: &[Cidr]) -> Self {
        Self { networks: networks.into() }
    }

    /// Whether a socket's peer may speak for others.
    pub fn trust(&self, peer: SocketPeer) -> bool {
        match peer {
            SocketPeer::Internet(address) => self.contain(address.ip()),
            SocketPeer::Local => self.contain(Ipv4Addr::LOCALHOST.into()),
            SocketPeer::Gone => false,
        }
    }

    /// Whether it was a trusted proxy that wrote the request which came from this peer, behind this
    /// PROXY header: then its headers are its own words.
    pub fn wrote_request(&self, peer: SocketPeer, proxied: Option<SocketAddr>) -> bool {
        self.trust(peer) && proxied.is_none_or(|proxied| self.contain(proxied.ip()))
    }

    fn contain(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(address))
    }

    /// The client's address: the socket's peer, or who stands behind it.
    ///
    /// `proxied` is what a PROXY header said, `forwarded` are the lines of `X-Forwarded-For` in
    /// their order, and `real_ip` is `X-Real-IP`, which counts where there is no line of the other.
    pub fn client<'a>(
        &self,
        peer: SocketPeer,
        proxied: Option<SocketAddr>,
        forwarded: impl Iterator<Item = &'a [u8]>,
        real_ip: Option<&[u8]>,
    ) -> Option<SocketAddr> {
        let nearest = proxied.filter(|_| self.trust(peer)).or(peer.address());
        if !self.wrote_request(peer, proxied) {
            return nearest;
        }
        let mut lines: Vec<&[u8]> = forwarded.collect();
        if lines.is_empty() {
            return real_ip.and_then(read).or(nearest);
        }
        lines.reverse();
        let hops = lines.iter().flat_map(|line| line.rsplit(|&byte| byte == b','));
        self.right_most_untrusted(hops).or(nearest)
    }

    /// Each proxy appends the address it was asked from, so the list is believed from its end, up
    /// to the first address that is no proxy's; all before that is the client's own invention.
    fn right_most_untrusted<'a>(&self, hops: impl Iterator<Item = &'a [u8]>) -> Option<SocketAddr> {
        let mut client = None;
        for hop in hops.take(FORWARDED_HOPS_MAX) {
            // What is no address ends the chain: who wrote it cannot be named.
            let Some(address) = read(hop) else { return client };
            client = Some(address);
            if !self.contain(address.ip()) {
                return client;
            }
        }
        client
    }
}

/// An address, with a port or without one (0 then).
fn read(bytes: &[u8]) -> Option<SocketAddr> {
    let text = std::str::from_utf8(bytes.trim_ascii()).ok()?;
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = match bare.parse::<IpAddr>() {
        Ok(ip) => SocketAddr::new(ip, 0),
        Err(_) => text.parse::<SocketAddr>().ok()?,
    };
    Some(SocketAddr::new(address.ip().to_canonical(), address.port()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROXY: &str = "10.0.0.1:5000";
    const STRANGER: &str = "198.51.100.9:5000";

    fn trusted() -> TrustedProxies {
        let networks = ["10.0.0.0/8", "2001:db8:ffff::/48", "127.0.0.1"];
        TrustedProxies::new(&networks.map(|network| network.parse().unwrap()))
    }

    fn internet(address: &str) -> SocketPeer {
        SocketPeer::Internet(address.parse().unwrap())
    }

    fn client(
        peer: SocketPeer,
        proxied: Option<&str>,
        forwarded: &[&str],
        real_ip: Option<&str>,
    ) -> Option<String> {
        let proxied = proxied.map(|address| address.parse().unwrap());
        let lines = forwarded.iter().map(|line| line.as_bytes());
        let client = trusted().client(peer, proxied, lines, real_ip.map(str::as_bytes));
        client.map(|address| address.to_string())
    }

    type Case<'a> = (&'a str, Option<&'a str>, &'a [&'a str], Option<&'a str>, &'a str);

    /// What the client may have invented is marked with the address 6.6.6.6.
    const CASES: [Case<'static>; 22] = [
        // Nobody in between, and nothing said is believed.
        (STRANGER, None, &[], None, STRANGER),
        (STRANGER, None, &["6.6.6.6"], None, STRANGER),
        (STRANGER, None, &["6.6.6.6"], Some("6.6.6.6"), STRANGER),
        (STRANGER, Some("6.6.6.6:1"), &["6.6.6.6"], None, STRANGER),
        // One proxy.
        (PROXY, None, &[], None, PROXY),
        (PROXY, None, &["192.0.2.7"], None, "192.0.2.7:0"),
        (PROXY, None, &["192.0.2.7:81"], None, "192.0.2.7:81"),
        (PROXY, None, &["2001:db8::7"], None, "[2001:db8::7]:0"),
        (PROXY, None, &["[2001:db8::7]"], None, "[2001:db8::7]:0"),
        (PROXY, None, &["[2001:db8::7]:81"], None, "[2001:db8::7]:81"),
        (PROXY, None, &["::ffff:192.0.2.7"], None, "192.0.2.7:0"),
        (PROXY, None, &[], Some("192.0.2.7"), "192.0.2.7:0"),
        (PROXY, None, &["192.0.2.7"], Some("6.6.6.6"), "192.0.2.7:0"),
        // A client that says something itself, in one line or in a line of its own.
        (PROXY, None, &["6.6.6.6, 192.0.2.7"], None, "192.0.2.7:0"),
        (PROXY, None, &["6.6.6.6", "192.0.2.7"], None, "192.0.2.7:0"),
        (PROXY, None, &["6.6.6.6, 10.0.0.3", "192.0.2.7, 10.0.0.2"], None, "192.0.2.7:0"),
        // Proxies all the way: the farthest is the client.
        (PROXY, None, &["10.0.0.3, 10.0.0.2"], None, "10.0.0.3:0"),
        // What is no address ends the chain.
        (PROXY, None, &["6.6.6.6, unknown, 10.0.0.2"], None, "10.0.0.2:0"),
        (PROXY, None, &["192.0.2.7, "], None, PROXY),
        // A PROXY header, alone and before the others.
        (PROXY, Some("192.0.2.7:81"), &["6.6.6.6"], Some("6.6.6.6"), "192.0.2.7:81"),
        (PROXY, Some("10.0.0.2:81"), &["6.6.6.6, 192.0.2.7"], None, "192.0.2.7:0"),
        (PROXY, Some("10.0.0.2:81"), &[], None, "10.0.0.2:81"),
    ];

    #[test]
    fn a_client_chooses_nobodys_address() {
        for (peer, proxied, forwarded, real_ip, expected) in CASES {
            let found = client(internet(peer), proxied, forwarded, real_ip);
            let said = (peer, proxied, forwarded, real_ip);
            assert_eq!(found.as_deref(), Some(expected), "{said:?}");
        }
    }

    #[test]
    fn a_peer_on_a_unix_socket_counts_as_loopback_and_one_that_is_gone_as_nobody() {
        let said = ["192.0.2.7"];
        assert_eq!(client(SocketPeer::Local, None, &said, None).unwrap(), "192.0.2.7:0");
        assert_eq!(client(SocketPeer::Local, None, &[], None), None);
        assert_eq!(client(SocketPeer::Gone, None, &said, None), None);
        let nobody = TrustedProxies::default();
        let lines = || said.iter().map(|line| line.as_bytes());
        assert_eq!(nobody.client(SocketPeer::Local, None, lines(), None), None);
        let loopback = internet("127.0.0.1:9");
        assert_eq!(nobody.client(loopback, None, lines(), None), loopback.address());
    }

    #[test]
    fn a_chain_of_proxies_is_followed_so_far_and_no_farther() {
        let line = vec!["10.0.0.2"; 10_000].join(",");
        let found = client(internet(PROXY), None, &[&line], None);
        assert_eq!(found.unwrap(), "10.0.0.2:0");
        let hops = vec!["10.0.0.2"; FORWARDED_HOPS_MAX].join(",");
        let found = client(internet(PROXY), None, &[&format!("6.6.6.6,{hops}")], None);
        assert_eq!(found.unwrap(), "10.0.0.2:0", "who builds such chains is not looked for");
    }
}
