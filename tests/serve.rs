//! `longwire serve` as its users meet it: configured, started, spoken to, told to read again.
//!
//! Claims: the screen at start names addresses that serve; with `--dev` two clients talk at once;
//! SIGHUP puts a new API key and log level in force and names what needs a restart, and a
//! configuration that became wrong changes nothing; what keeps it from starting is named, with
//! what mends it.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::Receiver;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tungstenite::{Message, WebSocket, client};

/// Far beyond what anything here takes.
const PATIENCE: Duration = Duration::from_mins(1);

#[path = "support/lines.rs"]
mod lines;

use lines::lines_of;

/// A running `longwire serve`, killed if the test ends before it does.
struct Server {
    child: Child,
    /// What it says on standard output at its start.
    screen: String,
    log: Receiver<String>,
}

impl Server {
    fn start(arguments: &[&str]) -> Self {
        let mut child = longwire(arguments)
            .args(["--log-format", "json"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = lines_of(child.stderr.take().unwrap());
        let lines = lines_of(child.stdout.take().unwrap());
        let mut screen = String::new();
        while !screen.contains("  memory ") {
            screen.push_str(&lines.recv_timeout(PATIENCE).expect("a screen before the end"));
            screen.push('\n');
        }
        Self { child, screen, log }
    }

    /// The public address, as the screen names it.
    fn address(&self) -> &str {
        let (_, behind) = self.screen.split_once("ws://").expect("an address");
        behind.split_once('/').expect("a path").0
    }

    /// Reads the log until a line that holds all of `words`.
    fn wait_for(&mut self, words: &[&str]) -> String {
        loop {
            let line = self.log.recv_timeout(PATIENCE);
            let line = line.unwrap_or_else(|_| panic!("the log is over without {words:?}"));
            if words.iter().all(|word| line.contains(word)) {
                return line;
            }
        }
    }

    fn hang_up(&self) {
        kill_process(Pid::from_child(&self.child), Signal::HUP).unwrap();
    }

    fn connect(&self) -> WebSocket<TcpStream> {
        let stream = TcpStream::connect(self.address()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let url = format!("ws://{}/connection/websocket", self.address());
        client(url, stream).unwrap().0
    }

    /// The status of a publication through the HTTP API.
    fn publish_with(&self, key: &str) -> u16 {
        self.publish_saying(&format!("X-API-Key: {key}\r\n"))
    }

    /// The same with headers of any kind.
    fn publish_saying(&self, headers: &str) -> u16 {
        let body = r#"{"channel":"a","data":1}"#;
        let length = body.len();
        self.status(&format!(
            "POST /api/publish HTTP/1.1\r\nHost: {}\r\n{headers}Content-Type: application/json\r\n\
             Content-Length: {length}\r\nConnection: close\r\n\r\n{body}",
            self.address()
        ))
    }

    /// The status of an opening handshake.
    fn upgrade_saying(&self, headers: &str) -> u16 {
        self.status(&format!(
            "GET /connection/websocket HTTP/1.1\r\nHost: {}\r\n{headers}Upgrade: websocket\r\n\
             Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            self.address()
        ))
    }

    fn status(&self, request: &str) -> u16 {
        self.ask(request).0
    }

    /// The status of the answer, and the connection that it came on.
    fn ask(&self, request: &str) -> (u16, TcpStream) {
        let mut stream = TcpStream::connect(self.address()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut line = [0; "HTTP/1.1 200".len()];
        stream.read_exact(&mut line).unwrap();
        let status = std::str::from_utf8(&line["HTTP/1.1 ".len()..]).unwrap();
        (status.parse().unwrap(), stream)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ended_already = self.child.kill();
        let _reaped_already = self.child.wait();
    }
}

fn longwire(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_longwire"));
    command.arg("serve").args(arguments).env_clear();
    command
}

const FREE_PORTS: [&str; 2] = ["--http-server-port=0", "--http-server-internal-port=0"];

/// A configuration file of one test, gone with it.
struct File {
    path: PathBuf,
}

impl File {
    fn new(test: &str, contents: &str) -> Self {
        let name = format!("longwire-serve-{test}-{}.toml", std::process::id());
        let file = Self { path: std::env::temp_dir().join(name) };
        file.write(contents);
        file
    }

    fn write(&self, contents: &str) {
        fs::write(&self.path, contents).unwrap();
    }

    fn flag(&self) -> String {
        format!("--config={}", self.path.display())
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _gone_already = fs::remove_file(&self.path);
    }
}

fn say(client: &mut WebSocket<TcpStream>, command: &str) -> String {
    client.send(Message::text(command)).unwrap();
    client.read().unwrap().into_text().unwrap().to_string()
}

#[test]
fn two_clients_of_a_development_server_talk_at_once() {
    let server = Server::start(&[&["--dev"][..], &FREE_PORTS].concat());
    let [mut listener, mut speaker] = [server.connect(), server.connect()];
    for client in [&mut listener, &mut speaker] {
        let connected = say(client, r#"{"id":1,"connect":{}}"#);
        assert!(connected.contains(r#""ping":25"#), "{connected}");
    }
    let subscribed = say(&mut listener, r#"{"id":2,"subscribe":{"channel":"chat"}}"#);
    assert_eq!(subscribed, r#"{"id":2,"subscribe":{}}"#);
    let published = say(&mut speaker, r#"{"id":2,"publish":{"channel":"chat","data":"hello"}}"#);
    assert_eq!(published, r#"{"id":2,"publish":{}}"#);
    let push = listener.read().unwrap().into_text().unwrap();
    assert!(push.contains(r#""data":"hello""#), "{push}");
}

/// TCP, TCP behind a proxy, and a Unix socket: each is named, and answers.
#[test]
fn every_listener_of_a_configuration_is_named_and_serves() {
    let path = std::env::temp_dir().join(format!("longwire-serve-{}.sock", std::process::id()));
    let unix = format!("--listen=unix:{}?mode=0600", path.display());
    let server = Server::start(&[
        "--listen=127.0.0.1:0",
        "--listen=127.0.0.2:0?proxy_protocol",
        &unix,
        "--trusted-proxies=127.0.0.1",
        FREE_PORTS[1],
    ]);
    let named = |host: &str| {
        let (_, behind) = server.screen.split_once(&format!("ws://{host}:")).expect("named");
        format!("{host}:{}", behind.split_once('/').expect("a path").0)
    };
    assert!(server.screen.contains(&*path.to_string_lossy()), "{}", server.screen);
    assert!(server.screen.contains("behind a PROXY header"), "{}", server.screen);
    let request = "GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let proxied = format!("PROXY TCP4 192.0.2.7 127.0.0.2 81 80\r\n{request}");
    let unix = TcpStream::from(OwnedFd::from(UnixStream::connect(&path).unwrap()));
    for (mut stream, bytes) in [
        (TcpStream::connect(named("127.0.0.1")).unwrap(), request),
        (TcpStream::connect(named("127.0.0.2")).unwrap(), &*proxied),
        (unix, request),
    ] {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(bytes.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{bytes}: {answer}");
    }
}

/// Hazard 17: what is open to everybody would be open to every page that its developer visits.
#[test]
fn pages_of_other_hosts_are_kept_out_of_a_development_server() {
    let server = Server::start(&[&["--dev"][..], &FREE_PORTS].concat());
    let own = format!("Origin: http://{}\r\n", server.address());
    let [foreign, hidden] = ["Origin: https://evil.example\r\n", "Origin: null\r\n"];
    for (origin, upgraded, published) in
        [("", 101, 200), (own.as_str(), 101, 200), (foreign, 403, 403), (hidden, 403, 403)]
    {
        assert_eq!(server.upgrade_saying(origin), upgraded, "{origin}");
        assert_eq!(server.publish_saying(origin), published, "{origin}");
    }
    // A front end with a server of its own is named.
    let named = "--client-allowed-origins=https://evil.example";
    let server = Server::start(&[&["--dev", named][..], &FREE_PORTS].concat());
    assert_eq!(server.upgrade_saying(foreign), 101);
    assert_eq!(server.upgrade_saying(hidden), 403);
}

#[test]
fn nothing_is_open_by_default() {
    let server = Server::start(&[&["--http-server-address=127.0.0.1"][..], &FREE_PORTS].concat());
    let mut client = server.connect();
    client.send(Message::text(r#"{"id":1,"connect":{}}"#)).unwrap();
    match client.read().unwrap() {
        Message::Close(Some(frame)) => assert!(u16::from(frame.code) >= 3500, "{frame:?}"),
        message => {
            let text = message.into_text().unwrap();
            assert!(text.contains(r#""error""#), "{text}");
        }
    }
    assert_eq!(server.publish_with("anything"), 401);
}

const BEFORE: &str = "log.level = \"info\"\nhttp_api.key = \"first\"\n\
                      http_server.address = \"127.0.0.1\"\n";

#[test]
fn a_hangup_puts_in_force_what_can_be_and_names_the_rest() {
    let file = File::new("hangup", BEFORE);
    let mut server = Server::start(&[&*file.flag(), FREE_PORTS[0], FREE_PORTS[1]]);
    assert_eq!((server.publish_with("first"), server.publish_with("second")), (200, 401));
    let after = BEFORE.replace("first", "second");
    file.write(&format!("{after}max_connections = 77\n"));
    server.hang_up();
    server.wait_for(&["http_api.key", "\"changed\""]);
    server.wait_for(&["max_connections", "needs a restart"]);
    assert_eq!((server.publish_with("first"), server.publish_with("second")), (401, 200));

    // Who may do what is asked anew for each command, also of those who are connected already.
    let mut client = server.connect();
    file.write(&format!("{after}client.insecure = true\n"));
    server.hang_up();
    server.wait_for(&["client.insecure", "\"changed\""]);
    let connected = say(&mut client, r#"{"id":1,"connect":{}}"#);
    assert!(connected.starts_with(r#"{"id":1,"connect":{"#), "{connected}");

    // One client may not have more than all of them.
    file.write(&format!("{after}client.queue_max_size = \"1GiB\"\n"));
    server.hang_up();
    server.wait_for(&["stays as it is", "client.queue_max_size", "max_unsent"]);

    file.write("log.level = \"loud\"\n");
    server.hang_up();
    server.wait_for(&["stays as it is", "log.level"]);
    assert_eq!(server.publish_with("second"), 200);
}

#[test]
fn the_options_of_a_namespace_hold_in_its_channels() {
    let text = "[client]\nallow_anonymous_connect_without_token = true\n\
                [[channel.namespaces]]\nname = \"chat\"\nallow_subscribe_for_client = true\n\
                allow_subscribe_for_anonymous = true\n";
    let file = File::new("namespaces", &format!("{BEFORE}{text}"));
    let server = Server::start(&[&*file.flag(), FREE_PORTS[0], FREE_PORTS[1]]);
    let mut client = server.connect();
    say(&mut client, r#"{"id":1,"connect":{}}"#);
    let mut subscribe = |channel: &str| {
        say(&mut client, &format!(r#"{{"id":2,"subscribe":{{"channel":"{channel}"}}}}"#))
    };
    assert_eq!(subscribe("chat:a"), r#"{"id":2,"subscribe":{}}"#);
    assert!(subscribe("news:a").contains(r#""code":102"#), "no such namespace");
    assert!(subscribe("a").contains(r#""code":103"#), "the options of others");
}

#[test]
fn a_hangup_exchanges_the_level_of_the_log() {
    let file = File::new("level", BEFORE);
    let mut server = Server::start(&[&*file.flag(), FREE_PORTS[0], FREE_PORTS[1]]);
    file.write(&BEFORE.replace("\"info\"", "\"debug\""));
    server.hang_up();
    server.wait_for(&["log.level", "\"changed\""]);
    // The access log is at this level.
    assert_eq!(server.publish_with("first"), 200);
    server.wait_for(&["\"DEBUG\""]);
}

/// Clients that hold their connections and say nothing hold up no back end.
#[test]
fn idle_http_connections_do_not_lock_back_ends_out() {
    let limit = "--http-server-connection-limit=128";
    let server = Server::start(&[&["--dev", limit][..], &FREE_PORTS].concat());
    let request = format!("GET /health HTTP/1.1\r\nHost: {}\r\n\r\n", server.address());
    let idle: Vec<_> = (0..300).map(|_| server.ask(&request)).collect();
    assert!(idle.iter().all(|(status, _)| *status == 200));
    for _ in 0..50 {
        assert_eq!(server.publish_with("no key"), 200);
    }
}

/// Standard error of a server that does not start.
fn refusal(arguments: &[&str]) -> String {
    let output: Output = longwire(arguments).stdin(Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{arguments:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn what_keeps_it_from_starting_is_named_with_what_mends_it() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let (public, internal) =
        (format!("--http-server-port={port}"), format!("--http-server-internal-port={port}"));
    let public = refusal(&["--dev", &public, FREE_PORTS[1]]);
    assert!(public.contains(&format!("another process serves 127.0.0.1:{port}")), "{public}");
    let internal = refusal(&["--dev", FREE_PORTS[0], &internal]);
    assert!(internal.contains("--http-server-internal-port"), "{internal}");
    let many = refusal(&["--dev", "--max-connections=90000000", "--shards=1"]);
    assert!(many.contains("ulimit -Hn"), "{many}");
    for says in [public, internal, many] {
        assert!(says.contains("\nmend: "), "{says}");
    }
}
