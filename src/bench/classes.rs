//! The server's memory by what it is for, as its operator's port tells it (`/debug/memory`).
//!
//! ```text
//!   class                 bytes   per connection
//!   slab                6400000               64     ─▶  ClassBytes
//! ```

use std::io::{self, Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};

use serde::Serialize;

use crate::limits;

/// The path that is asked where the URL has none.
const PATH: &str = "/debug/memory";

/// What one class takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClassBytes {
    /// The server's name for it.
    pub class: String,
    /// Bytes of it.
    pub bytes: u64,
}

/// Asks the server behind `url`, which is `http://HOST:PORT`, with or without a path.
pub(super) fn read(url: &str) -> io::Result<Vec<ClassBytes>> {
    let (host, path) = parts(url).ok_or_else(|| invalid("it is no http://HOST:PORT"))?;
    let address = host.to_socket_addrs()?.next().ok_or_else(|| invalid("it has no address"))?;
    let mut stream = TcpStream::connect_timeout(&address, limits::BENCH_HANDSHAKE_DEADLINE)?;
    stream.set_read_timeout(Some(limits::BENCH_HANDSHAKE_DEADLINE))?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(limits::BENCH_ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(|| invalid("no HTTP came"))?;
    let classes = parse(body);
    if !head.starts_with("HTTP/1.1 200") || classes.is_empty() {
        return Err(invalid(head.lines().next().unwrap_or_default()));
    }
    Ok(classes)
}

fn invalid(says: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, says.to_owned())
}

fn parts(url: &str) -> Option<(&str, &str)> {
    let rest = url.strip_prefix("http://")?;
    let is_plain = rest.bytes().all(|byte| byte.is_ascii_graphic());
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let path = if path.len() > 1 { path } else { PATH };
    (is_plain && host.contains(':')).then_some((host, path))
}

/// Lines of one word and two numbers, which are the classes; the sums behind them are of several
/// words. Whatever else there is, chunk sizes for one, is passed over.
fn parse(body: &str) -> Vec<ClassBytes> {
    let class = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let class = words.next().filter(|word| word.starts_with(|c: char| c.is_alphabetic()))?;
        let bytes = words.next()?.parse().ok()?;
        // A server without connections has nothing to divide.
        let each = words.next().is_some_and(|each| each == "-" || each.parse::<u64>().is_ok());
        (each && words.next().is_none()).then(|| ClassBytes { class: class.to_owned(), bytes })
    };
    body.lines().filter_map(class).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_told_from_sums_and_headings() {
        let body = "class bytes per connection\n\
            slab              640     64\n\
            kernel_sockets   7000    700\n\
            all of the process  640     64\n\
            private memory of the process  900 90\n\
            connections        10\n";
        let class = |class: &str, bytes| ClassBytes { class: class.to_owned(), bytes };
        assert_eq!(parse(body), [class("slab", 640), class("kernel_sockets", 7000)]);
        assert_eq!(parse("slab 0 -\n"), [class("slab", 0)]);
        assert_eq!(parse("404 page not found"), []);
    }

    #[test]
    fn a_url_may_have_a_path() {
        assert_eq!(parts("http://[::1]:9000"), Some(("[::1]:9000", PATH)));
        assert_eq!(parts("http://a:1/"), Some(("a:1", PATH)));
        assert_eq!(parts("http://a:1/x/y"), Some(("a:1", "/x/y")));
        for url in ["https://a:1", "http://a", "a:1", "http://a:1/\r\nX: y"] {
            assert_eq!(parts(url), None, "{url}");
        }
    }
}
