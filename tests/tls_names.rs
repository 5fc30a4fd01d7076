//! Back ends over TLS: who says that it is somebody else is told nothing.
//!
//! Setup: `longwire serve`, which trusts an authority of the test's own, and three back ends over
//! TLS at `localhost`: one with a certificate for that name, one with a certificate for another
//! name by the same authority, and one with a certificate for that name by an authority that nobody
//! knows. Claims: the first answers its clients, which shows that all else is right; the others
//! hear no question, and their clients are told a temporary error.
//!
//! The certificates stand in `tests/tls`, valid from 2000 to 2125; the keys of their authorities
//! were thrown away.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::json;

#[path = "support/lines.rs"]
mod lines;
#[path = "support/session.rs"]
mod session;

use lines::lines_of;
use session::{Client, PATIENCE};

const KEY: &[u8] = include_bytes!("tls/key.der");
const RIGHT: &[u8] = include_bytes!("tls/right.der");
const WRONG: &[u8] = include_bytes!("tls/wrong.der");
const STRANGER: &[u8] = include_bytes!("tls/stranger.der");

/// A back end that answers every procedure with this certificate.
struct BackEnd {
    url: String,
    /// Those who were told something, whether they wanted to hear more or not.
    dialled: Arc<AtomicUsize>,
    asked: Arc<AtomicUsize>,
}

impl BackEnd {
    fn start(certificate: &'static [u8]) -> Self {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider has some")
            .with_no_client_auth()
            .with_single_cert(
                vec![CertificateDer::from(certificate)],
                PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(KEY)),
            )
            .expect("the key is the certificate's");
        let config = Arc::new(config);
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let [dialled, asked] = [(); 2].map(|()| Arc::new(AtomicUsize::new(0)));
        let back_end = Self {
            url: format!("https://localhost:{port}/rpc"),
            dialled: Arc::clone(&dialled),
            asked: Arc::clone(&asked),
        };
        thread::spawn(move || {
            for socket in listener.incoming() {
                let Ok(socket) = socket else { return };
                dialled.fetch_add(1, Ordering::SeqCst);
                let tls = ServerConnection::new(Arc::clone(&config)).expect("a valid config");
                let asked = Arc::clone(&asked);
                // Who does not believe it leaves in the middle.
                thread::spawn(move || drop(answer(StreamOwned::new(tls, socket), &asked)));
            }
        });
        back_end
    }
}

/// Answers whatever is asked on a connection.
fn answer(
    stream: StreamOwned<ServerConnection, TcpStream>,
    asked: &AtomicUsize,
) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let line = line.trim_end().to_ascii_lowercase();
            if let Some(bytes) = line.strip_prefix("content-length: ") {
                length = bytes.parse().unwrap_or(0);
            }
            if line.is_empty() {
                break;
            }
        }
        stream.read_exact(&mut vec![0; length])?;
        asked.fetch_add(1, Ordering::SeqCst);
        let body = r#"{"result":{"data":"heard"}}"#;
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        stream.get_mut().write_all(format!("{head}{body}").as_bytes())?;
    }
}

/// A server that is killed if the test ends before it does.
struct Serve(Child);

impl Drop for Serve {
    fn drop(&mut self) {
        let _ended_already = self.0.kill();
        let _reaped_already = self.0.wait();
    }
}

/// A server that asks this back end, and where it is.
fn serve(back_end: &BackEnd, name: &str) -> (Serve, SocketAddr) {
    let file = format!("longwire-tls-{name}-{}.toml", std::process::id());
    let file = std::env::temp_dir().join(file);
    let config = format!(
        "[client]\nallow_anonymous_connect_without_token = true\n\
         [rpc.proxy]\nendpoint = \"{}\"\ntimeout = \"20s\"\n\
         [rpc.without_namespace]\nproxy_enabled = true\n",
        back_end.url
    );
    std::fs::write(&file, config).expect("a file of its own");
    let authority = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tls/authority.pem");
    let mut child = Command::new(env!("CARGO_BIN_EXE_longwire"))
        .args(["serve", "--http-server-port=0", "--http-server-internal-port=0"])
        .arg(format!("--config={}", file.display()))
        .env_clear()
        .env("SSL_CERT_FILE", authority)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let screen = lines_of(child.stdout.take().expect("piped"));
    let serving = Serve(child);
    let address = loop {
        let line = screen.recv_timeout(PATIENCE).expect("it says where it is");
        if let Some((_, behind)) = line.split_once("ws://") {
            let (address, _path) = behind.split_once('/').expect("a path");
            break address.parse().expect("an address");
        }
    };
    std::fs::remove_file(&file).expect("it was read");
    (serving, address)
}

/// What a client is told that calls a procedure.
fn reply_by(back_end: &BackEnd, name: &str) -> serde_json::Value {
    let (_serving, address) = serve(back_end, name);
    let mut client = Client::connect(address);
    client.ask(r#""rpc":{"method":"m","data":{}}"#)
}

#[test]
fn a_back_end_is_asked_if_its_certificate_is_for_its_name_and_by_who_is_trusted() {
    let back_end = BackEnd::start(RIGHT);
    let reply = reply_by(&back_end, "right");
    assert_eq!(reply["rpc"]["data"], "heard", "{reply}");
    assert_eq!(back_end.asked.load(Ordering::SeqCst), 1);
    for (name, certificate) in [("wrong", WRONG), ("stranger", STRANGER)] {
        let back_end = BackEnd::start(certificate);
        let reply = reply_by(&back_end, name);
        let error = (&reply["error"]["code"], &reply["error"]["temporary"]);
        assert_eq!(error, (&json!(100), &json!(true)), "{name}: {reply}");
        assert!(back_end.dialled.load(Ordering::SeqCst) > 0, "{name}: it was there");
        assert_eq!(back_end.asked.load(Ordering::SeqCst), 0, "{name}: it is told nothing");
    }
}
