//! A server that listens on a Unix socket, whose binary is replaced while clients come and go.
//!
//! Setup: `longwire serve` as a process of its own, its successors started by it; clients over the
//! Unix socket, one that stays and one that connects again and again. Claims: nobody is refused, the
//! path leads to the same socket all the time, also after an upgrade that fails, and its file goes
//! with the last process.

#[path = "support/session.rs"]
mod session;
#[path = "support/successors.rs"]
mod successors;

use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::{Value, json};
use tungstenite::{Message, WebSocket};

use session::PATIENCE;
use successors::Succession;

/// A session over the Unix socket.
struct Local(WebSocket<UnixStream>);

impl Local {
    fn connect(path: &Path) -> Self {
        let stream = UnixStream::connect(path).expect("nobody is refused");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let url = "ws://localhost/connection/websocket";
        let (socket, _) = tungstenite::client(url, stream).expect("nobody is cut off");
        let mut client = Self(socket);
        let reply = client.ask(r#"{"id":1,"connect":{}}"#);
        assert!(reply["connect"]["client"].is_string(), "{reply}");
        client
    }

    fn ask(&mut self, command: &str) -> Value {
        self.0.send(Message::text(command)).expect("it is there");
        self.heard()
    }

    fn heard(&mut self) -> Value {
        let message = self.0.read().expect("nobody is cut off");
        serde_json::from_str(message.to_text().expect("a text")).expect("JSON")
    }
}

#[test]
fn who_comes_over_a_unix_socket_is_never_refused_and_who_is_there_stays() {
    let mut path = PathBuf::new();
    let mut server = Succession::start_with(2, "[client]\ninsecure = true\n", |directory| {
        path = directory.join("http.sock");
        vec![format!("--listen=unix:{}?mode=0600", path.display())]
    });
    let inode = || std::fs::metadata(&path).expect("it is there").ino();
    let first_inode = inode();
    let mut stays = Local::connect(&path);
    stays.ask(r#"{"id":2,"subscribe":{"channel":"all"}}"#);
    let (is_over, count) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let comes_and_goes = scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                drop(Local::connect(&path));
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
        let wait_for_more = || {
            let before = count.load(Ordering::Relaxed);
            while count.load(Ordering::Relaxed) < before + 10 && !comes_and_goes.is_finished() {
                std::thread::yield_now();
            }
        };
        let said = server.fails_to_upgrade(100_000);
        assert!(said.starts_with("failed: "), "{said}");
        server.rehearse(3);
        for shards in [3, 1, 2] {
            wait_for_more();
            server.upgrade_to(shards);
            wait_for_more();
            assert_eq!(inode(), first_inode, "the path leads to another socket");
            server.publish("all", &shards.to_string());
            assert_eq!(stays.heard()["push"]["pub"]["data"], json!(shards));
        }
        is_over.store(true, Ordering::Relaxed);
        comes_and_goes.join().expect("nobody is refused");
    });
    drop(stays);
    server.stop_and_look(|| assert!(!path.exists(), "the file stays behind"));
}
