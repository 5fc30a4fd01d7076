//! A request of the API, answered by the process that has taken over from this one.
//!
//! ```text
//!   head and body, whole ─▶ one connection to the address that this process has listened on
//!                   client ◀─ status, headers, body as they come ◀─╯
//! ```
//!
//! Invariant: it is sent at most once: what is lost on the way may have been carried out, which the
//! client is told as for any other command whose answer is lost.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use std::{fmt, io};

use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Request, Uri, header};
use axum::response::Response;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use super::crossing::Address;
use crate::limits::{HTTP_SENT_ON_BATCH_TIMEOUT, HTTP_SENT_ON_TIMEOUT};

/// A line of the PROXY protocol that names nobody.
const NOBODY: &[u8] = b"PROXY UNKNOWN\r\n";

/// Headers that are about one connection, or about how a body is framed on it, whether `Connection`
/// names them or not.
const OF_THE_CONNECTION: [HeaderName; 8] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::EXPECT,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum SendOnError {
    /// Nobody is there.
    Connect(io::Error),
    /// The connection broke.
    Broken(hyper::Error),
    /// No answer within [`HTTP_SENT_ON_TIMEOUT`], or [`HTTP_SENT_ON_BATCH_TIMEOUT`].
    Late,
}

impl fmt::Display for SendOnError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(error) => write!(out, "it cannot be reached: {error}"),
            Self::Broken(error) => write!(out, "the connection to it broke: {error}"),
            Self::Late => write!(out, "it does not answer in time"),
        }
    }
}

impl From<hyper::Error> for SendOnError {
    fn from(error: hyper::Error) -> Self {
        Self::Broken(error)
    }
}

/// The answer of the process at this address.
pub(super) async fn send_on(
    to: &Address,
    head: &Parts,
    body: &[u8],
) -> Result<Response, SendOnError> {
    let answering = answer(to, request(head, body));
    let patience = patience(head);
    let mut response = timeout(patience, answering).await.map_err(|_| SendOnError::Late)??;
    strip(response.headers_mut());
    Ok(response)
}

/// How long the answer to a request may take: longer where it is of many commands.
fn patience(head: &Parts) -> Duration {
    let is_of_many = ["/api", "/api/", "/api/batch"].contains(&head.uri.path());
    if is_of_many { HTTP_SENT_ON_BATCH_TIMEOUT } else { HTTP_SENT_ON_TIMEOUT }
}

fn request(head: &Parts, body: &[u8]) -> Request<Body> {
    let mut request = Request::new(Body::from(body.to_vec()));
    *request.method_mut() = head.method.clone();
    // Without what stands in front of the path, if a client has written it there.
    let path = head.uri.path_and_query().cloned();
    *request.uri_mut() = path.map_or_else(|| Uri::from_static("/"), Uri::from);
    *request.headers_mut() = head.headers.clone();
    strip(request.headers_mut());
    request.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    request
}

/// Leaves what is for the other end: neither what every server knows to be for this connection
/// only, nor what `Connection` says is (RFC 9110 § 7.6.1).
fn strip(headers: &mut HeaderMap) {
    let said = headers.get_all(header::CONNECTION).iter().map(HeaderValue::as_bytes);
    let options = said.flat_map(|value| value.split(|byte| *byte == b','));
    let named: Vec<HeaderName> =
        options.filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok()).collect();
    for name in named.iter().chain(&OF_THE_CONNECTION) {
        headers.remove(name);
    }
}

async fn answer(to: &Address, request: Request<Body>) -> Result<Response, SendOnError> {
    match to {
        Address::Tcp(address, is_proxied) => {
            let connecting = TcpStream::connect(reachable(*address));
            let mut socket = connecting.await.map_err(SendOnError::Connect)?;
            if *is_proxied {
                socket.write_all(NOBODY).await.map_err(SendOnError::Connect)?;
            }
            answer_on(socket, request).await
        }
        Address::Unix(path) => {
            let socket = UnixStream::connect(path).await.map_err(SendOnError::Connect)?;
            answer_on(socket, request).await
        }
    }
}

async fn answer_on(
    socket: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    request: Request<Body>,
) -> Result<Response, SendOnError> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(socket)).await?;
    // It ends with the answer's body, which the client takes at its own pace, or is gone.
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "an answer of the process that has taken over broke off");
        }
    });
    Ok(sender.send_request(request).await?.map(Body::new))
}

/// Where who listens on this address is reached from the same host.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::to_bytes;
    use axum::http::Method;
    use tokio::io::AsyncReadExt as _;
    use tokio::net::{TcpListener, UnixListener};
    use tokio::task::JoinHandle;

    /// What arrives of a request at the other process, and what its client is answered.
    async fn sent(
        is_proxied: bool,
        answer: &'static [u8],
    ) -> (String, Result<String, SendOnError>) {
        let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
        let address = Address::Tcp(listener.local_addr().unwrap(), is_proxied);
        let other = async move { heard(listener.accept().await.unwrap().0, answer).await };
        exchanged(&address, tokio::spawn(other)).await
    }

    /// What arrives there; it is answered.
    async fn heard(
        mut socket: impl AsyncRead + AsyncWrite + Unpin,
        answer: &'static [u8],
    ) -> String {
        let mut heard = Vec::new();
        while !heard.ends_with(b"{}") {
            assert!(socket.read_buf(&mut heard).await.unwrap() > 0);
        }
        socket.write_all(answer).await.unwrap();
        String::from_utf8(heard).unwrap()
    }

    async fn exchanged(
        address: &Address,
        other: JoinHandle<String>,
    ) -> (String, Result<String, SendOnError>) {
        let request = Request::builder()
            .method(Method::POST)
            .uri("/api/info?key=k")
            .header("host", "a")
            .header("x-api-key", "key")
            .header("transfer-encoding", "chunked")
            .header("connection", "keep-alive, X-Hop")
            .header("connection", "x-other ,")
            .header("x-hop", "1")
            .header("x-other", "2")
            .header("upgrade", "h2c");
        let (head, ()) = request.body(()).unwrap().into_parts();
        let told = match send_on(address, &head, b"{}").await {
            Ok(response) => {
                assert!(!response.headers().contains_key(header::CONNECTION));
                assert!(!response.headers().contains_key("x-back"), "it is of that connection");
                assert!(response.headers().contains_key("x-end") || response.status() == 200);
                let status = response.status();
                let body = to_bytes(response.into_body(), 100).await.unwrap();
                Ok(format!("{status} {}", str::from_utf8(&body).unwrap()))
            }
            Err(error) => Err(error),
        };
        (other.await.unwrap(), told)
    }

    #[tokio::test]
    async fn the_other_process_has_the_whole_request_and_the_client_its_answer() {
        let answer = b"HTTP/1.1 207 x\r\nConnection: close, x-back\r\nX-Back: 1\r\nX-End: 2\r\n\
            Content-Length: 5\r\n\r\nthere";
        for is_proxied in [false, true] {
            let (heard, told) = sent(is_proxied, answer).await;
            assert_eq!(told.unwrap(), "207 Multi-Status there");
            assert_eq!(heard.starts_with("PROXY UNKNOWN\r\nPOST /api/info?key=k "), is_proxied);
            let heard = heard.to_ascii_lowercase();
            for header in ["x-api-key: key", "host: a", "content-length: 2", "connection: close"] {
                assert!(heard.contains(&format!("\r\n{header}\r\n")), "{header}: {heard}");
            }
            for header in ["chunked", "x-hop", "x-other", "upgrade"] {
                assert!(!heard.contains(header), "{header}: {heard}");
            }
        }
    }

    #[tokio::test]
    async fn a_process_that_listens_on_unix_sockets_only_is_found_too() {
        let name = format!("longwire-sending-on-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let _stale = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).unwrap();
        let answer = b"HTTP/1.1 200 x\r\nContent-Length: 5\r\n\r\nthere";
        let other = async move { heard(listener.accept().await.unwrap().0, answer).await };
        let (_, told) = exchanged(&Address::Unix(path.clone()), tokio::spawn(other)).await;
        assert_eq!(told.unwrap(), "200 OK there");
        std::fs::remove_file(&path).unwrap();
    }

    #[tokio::test]
    async fn an_answer_that_does_not_come_is_an_error() {
        let (_, told) = sent(false, b"HTTP/1.1 200 x\r\n").await;
        assert!(matches!(told, Err(SendOnError::Broken(_))), "{told:?}");
    }

    /// A batch asks one thing after the other: it had the time of one command for all of them.
    #[tokio::test(start_paused = true)]
    async fn many_commands_have_more_time_than_one_and_not_for_ever() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = Address::Tcp(listener.local_addr().unwrap(), false);
        for (path, seconds, is_late) in
            [("/api/info", 11, true), ("/api/batch", 11, false), ("/api/batch", 31, true)]
        {
            let request = Request::builder().method(Method::POST).uri(path);
            let (head, ()) = request.body(()).unwrap().into_parts();
            let sending = send_on(&address, &head, b"{}");
            let answering = async {
                let (mut socket, _) = listener.accept().await.unwrap();
                let mut bytes = Vec::new();
                while !bytes.ends_with(b"{}") {
                    assert!(socket.read_buf(&mut bytes).await.unwrap() > 0);
                }
                tokio::time::sleep(Duration::from_secs(seconds)).await;
                // Who has waited for too long is gone.
                let answer = b"HTTP/1.1 200 x\r\nContent-Length: 0\r\n\r\n";
                let _gone = socket.write_all(answer).await;
            };
            let (told, ()) = tokio::join!(sending, answering);
            assert_eq!(matches!(told, Err(SendOnError::Late)), is_late, "{path} {told:?}");
        }
    }
}
