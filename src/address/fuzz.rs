//! Entry points for random bytes: what must hold whatever a peer sends before its request.

use super::{ProxyHeader, SocketPeer, TrustedProxies};
use crate::limits::PROXY_HEADER_BYTES_MAX;

/// Reads `data` as a PROXY header, cut at every byte, and then as a list of addresses.
#[doc(hidden)]
pub fn fuzz_proxy_header(data: &[u8]) {
    let whole = ProxyHeader::parse(data);
    for cut in 0..data.len().min(2 * PROXY_HEADER_BYTES_MAX) {
        match (ProxyHeader::parse(&data[..cut]), &whole) {
            (Ok(None), _) => {}
            (early, whole) => assert_eq!(early, *whole, "cut at {cut}"),
        }
    }
    match whole {
        Ok(Some(header)) => assert!((1..=PROXY_HEADER_BYTES_MAX).contains(&header.length)),
        Ok(None) => assert!(data.len() < PROXY_HEADER_BYTES_MAX, "a header has an end"),
        Err(_) => {}
    }
    let everybody =
        TrustedProxies::new(&["0.0.0.0/0", "::/0"].map(|all| all.parse().expect("all")));
    let peer = SocketPeer::Internet(([127, 0, 0, 1], 1).into());
    let lines = || data.split(|&byte| byte == b'\n');
    assert!(everybody.client(peer, None, lines(), None).is_some());
    let nobody = TrustedProxies::default();
    assert_eq!(nobody.client(peer, None, lines(), Some(data)), peer.address());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_corpus_holds() {
        let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fuzz/corpus/proxy_header");
        let seeds = std::fs::read_dir(corpus).unwrap();
        let mut count = 0;
        for seed in seeds {
            fuzz_proxy_header(&std::fs::read(seed.unwrap().path()).unwrap());
            count += 1;
        }
        assert!(count >= 8, "{count} seeds");
    }
}
