//! A server whose binary is replaced while its clients stay connected.
//!
//! Setup: `longwire raw echo` as a process of its own, its successors started by it, clients over
//! loopback: idle, speaking, in the middle of a request, of a frame and of a message, and one that
//! does not read. Claims: after an upgrade all of them go on where they were, nothing lost and
//! nothing twice, whatever the number of shards; who connects meanwhile is served; whatever stands
//! in the way of an upgrade leaves the old process serving, and is named; the supervisor hears of
//! it all.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::Receiver;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tungstenite::{Message, WebSocket, client};

use lines::lines_of;

#[path = "support/lines.rs"]
mod lines;

/// Far beyond what anything here takes.
const PATIENCE: Duration = Duration::from_mins(2);

const LONGWIRE: &str = env!("CARGO_BIN_EXE_longwire");

/// A directory of a test's own, removed with it.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("longwire-successor-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// A script that stands for a new binary.
    fn script(&self, text: &str) -> PathBuf {
        let path = self.join("next");
        // Written by a process of its own: a child of another test's thread could hold a file open
        // that this process writes, and what is open for writing cannot be run.
        let write =
            r#"printf '#!/bin/sh\n%s\n' "$2" > "$1.new" && chmod 700 "$1.new" && mv "$1.new" "$1""#;
        let mut writer = Command::new("/bin/sh");
        let written = writer.args(["-c", write, "sh"]).arg(&path).arg(text).status().unwrap();
        assert!(written.success());
        path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _left = std::fs::remove_dir_all(&self.0);
    }
}

/// A server and its successors, which write their logs into the same pipe.
struct Server {
    first: Child,
    /// The process that serves now.
    pid: Pid,
    lines: Receiver<String>,
    address: String,
    directory: Directory,
}

impl Server {
    fn start(shards: u32) -> Self {
        Self::start_with(shards, |_| {})
    }

    fn start_with(shards: u32, change: impl FnOnce(&mut Command)) -> Self {
        let directory = Directory::new();
        directory.script("exit 1");
        let mut command = Command::new(LONGWIRE);
        command
            .args(["raw", "echo", "--listen", "127.0.0.1:0", "--log-format=json"])
            .args(["--max-connections", "1000", "--shards", &shards.to_string()])
            .arg("--upgrade-binary")
            .arg(directory.join("next"))
            .arg("--upgrade-socket")
            .arg(directory.join("socket"))
            .arg("--pid-file")
            .arg(directory.join("pid"))
            .stderr(Stdio::piped());
        change(&mut command);
        let mut first = command.spawn().unwrap();
        let lines = lines_of(first.stderr.take().unwrap());
        let pid = Pid::from_child(&first);
        let address = wait_for(&lines, "listening")["address"].as_str().unwrap().to_owned();
        wait_for(&lines, "serving");
        Self { first, pid, lines, address, directory }
    }

    /// What the next process is: the same binary, with so many shards.
    fn next_has(&self, shards: u32) {
        self.directory.script(&format!(
            "exec {LONGWIRE} raw echo --listen {} --log-format=json --max-connections 1000 \
             --shards {shards} --upgrade-binary {} --upgrade-socket {} --pid-file {}",
            self.address,
            self.directory.join("next").display(),
            self.directory.join("socket").display(),
            self.directory.join("pid").display(),
        ));
    }

    fn asking(&self, flags: &[&str]) -> Command {
        let mut command = Command::new(LONGWIRE);
        command.arg("upgrade").arg("--socket").arg(self.directory.join("socket")).args(flags);
        command
    }

    /// Upgrades to a process with so many shards, which has to succeed; returns what was said.
    fn upgrade_to(&mut self, shards: u32) -> String {
        self.next_has(shards);
        let Output { status, stdout, .. } = self.asking(&[]).output().unwrap();
        let said = String::from_utf8(stdout).unwrap();
        assert!(status.success(), "{said}");
        let pid = said.split("done: process ").nth(1).and_then(|rest| rest.split(' ').next());
        self.pid = Pid::from_raw(pid.unwrap().parse().unwrap()).unwrap();
        wait_for(&self.lines, "serving");
        said
    }

    /// Asks for what has to fail; returns the last line of what was said.
    fn fails(&self, flags: &[&str]) -> String {
        let Output { status, stdout, .. } = self.asking(flags).output().unwrap();
        let said = String::from_utf8(stdout).unwrap();
        assert!(!status.success(), "{said}");
        said.lines().last().unwrap_or_default().to_owned()
    }

    fn stream(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    fn connect(&self) -> WebSocket<TcpStream> {
        client(format!("ws://{}/", self.address), self.stream()).unwrap().0
    }

    /// Stops the process that serves, and waits for the end of all.
    fn stop(self) {
        kill_process(self.pid, Signal::TERM).unwrap();
        while self.lines.recv_timeout(PATIENCE).is_ok() {}
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ended_already = self.first.kill();
        let _reaped_already = self.first.wait();
        if self.pid != Pid::from_child(&self.first) {
            let _ended_already = kill_process(self.pid, Signal::KILL);
        }
    }
}

/// Waits for a message of the log.
fn wait_for(lines: &Receiver<String>, message: &str) -> serde_json::Value {
    loop {
        let line = lines.recv_timeout(PATIENCE).expect("a server logs this");
        let Ok(line) = serde_json::from_str::<serde_json::Value>(&line) else { continue };
        if line["message"] == message {
            return line;
        }
    }
}

fn say(socket: &mut WebSocket<TcpStream>, text: &str) {
    socket.send(Message::text(text)).unwrap();
}

fn hear(socket: &mut WebSocket<TcpStream>) -> String {
    loop {
        match socket.read().unwrap() {
            Message::Text(text) => return text.to_string(),
            Message::Ping(_) | Message::Pong(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

fn echo(socket: &mut WebSocket<TcpStream>, text: &str) {
    say(socket, text);
    assert_eq!(hear(socket), text);
}

/// A masked frame, under a key that changes nothing.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap();
    assert!(length < 126);
    [&[first, 0x80 | length, 0, 0, 0, 0], payload].concat()
}

const REQUEST: &str = "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                       Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: \
                       dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

fn read_exact(stream: &mut TcpStream, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

/// Reads the answer to [`REQUEST`].
fn read_head(stream: &mut TcpStream) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.extend(read_exact(stream, 1));
    }
    assert!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
}

/// Something that a client is in the middle of: what it has sent, what it will send, and what it
/// is answered then.
fn beginnings() -> Vec<(Vec<u8>, Vec<u8>, Vec<u8>)> {
    let fragments = [frame(0x01, b"he"), frame(0x89, b"?"), frame(0x00, b"l")].concat();
    let rest = frame(0x80, b"lo");
    let (half, other_half) = "h€".as_bytes().split_at(2);
    let rest_of_character = frame(0x80, other_half);
    let halves = [frame(0x01, half), rest_of_character[..7].to_vec()].concat();
    let character = [&[0x81, 4], "h€".as_bytes()].concat();
    let hello = [&[0x81, 5], &b"hello"[..]].concat();
    let whole = frame(0x81, b"hello");
    let mut all: Vec<_> = (1..whole.len())
        .map(|cut| (whole[..cut].to_vec(), whole[cut..].to_vec(), hello.clone()))
        .collect();
    // Its ping is answered at once, and the answer read behind the upgrade.
    all.push((fragments, rest, [&[0x8a, 1, b'?'], &hello[..]].concat()));
    all.push((halves, rest_of_character[7..].to_vec(), character));
    all
}

#[test]
fn clients_go_on_where_they_were_through_upgrades_in_a_row() {
    let mut server = Server::start(2);
    let mut idle: Vec<_> = (0..40).map(|_| server.connect()).collect();
    for shards in [3, 2, 1] {
        let cut = 40 * shards as usize;
        let mut late = server.stream();
        late.write_all(&REQUEST.as_bytes()[..cut]).unwrap();
        let begun: Vec<_> = beginnings()
            .into_iter()
            .map(|(before, after, answer)| {
                let mut stream = server.stream();
                stream.write_all(REQUEST.as_bytes()).unwrap();
                read_head(&mut stream);
                stream.write_all(&before).unwrap();
                (stream, after, answer)
            })
            .collect();
        let said = server.upgrade_to(shards);
        assert!(said.contains(&format!("{shards} shards")), "{said}");
        for (number, socket) in idle.iter_mut().enumerate() {
            echo(socket, &format!("{number} after {shards}"));
        }
        late.write_all(&REQUEST.as_bytes()[cut..]).unwrap();
        read_head(&mut late);
        for (mut stream, after, answer) in begun {
            stream.write_all(&after).unwrap();
            assert_eq!(read_exact(&mut stream, answer.len()), answer);
        }
        idle.push(server.connect());
    }
    server.stop();
}

#[test]
fn a_client_that_does_not_read_gets_all_of_its_output_from_the_new_process() {
    let mut server = Server::start(1);
    let mut slow = server.connect();
    let message = "x".repeat(60_000);
    // More than the kernel keeps for it, and less than it is cut for.
    slow.get_ref().set_nonblocking(true).unwrap();
    let mut sent = 0;
    while sent < 80 {
        match slow.send(Message::text(format!("{sent}{message}"))) {
            Ok(()) => sent += 1,
            Err(tungstenite::Error::Io(error))
                if error.kind() == std::io::ErrorKind::WouldBlock =>
            {
                sent += 1; // it is in the client's own buffer, and leaves with the next flush
                break;
            }
            Err(error) => panic!("{error}"),
        }
    }
    slow.get_ref().set_nonblocking(false).unwrap();
    server.upgrade_to(2);
    let reader = std::thread::spawn({
        let mut reader = WebSocket::from_raw_socket(
            slow.get_ref().try_clone().unwrap(),
            tungstenite::protocol::Role::Client,
            None,
        );
        move || {
            for number in 0..sent {
                let text = hear(&mut reader);
                assert!(text.starts_with(&format!("{number}x")), "{number}: {}", &text[..9]);
                assert_eq!(text.len(), number.to_string().len() + 60_000);
            }
        }
    });
    slow.flush().unwrap();
    reader.join().unwrap();
    server.stop();
}

#[test]
fn those_who_speak_and_those_who_connect_meanwhile_notice_nothing() {
    let mut server = Server::start(2);
    let is_over = AtomicBool::new(false);
    let mut speakers: Vec<_> = (0..4).map(|_| server.connect()).collect();
    let address = server.address.clone();
    let (echoes, connects) = (AtomicU32::new(0), AtomicU32::new(0));
    std::thread::scope(|scope| {
        let (is_over, echoes, connects) = (&is_over, &echoes, &connects);
        for socket in &mut speakers {
            scope.spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    // Several on their way at once: their order is seen.
                    let first = echoes.fetch_add(5, Ordering::Relaxed);
                    (first..first + 5).for_each(|number| say(socket, &number.to_string()));
                    for number in first..first + 5 {
                        assert_eq!(hear(socket), number.to_string());
                    }
                }
            });
        }
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                let stream = TcpStream::connect(&address).unwrap();
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                let mut socket = client(format!("ws://{address}/"), stream).unwrap().0;
                echo(&mut socket, "new");
                connects.fetch_add(1, Ordering::Relaxed);
            }
        });
        for shards in [3, 2] {
            let before = (echoes.load(Ordering::Relaxed), connects.load(Ordering::Relaxed));
            server.upgrade_to(shards);
            // All of them go on.
            while echoes.load(Ordering::Relaxed) < before.0 + 100
                || connects.load(Ordering::Relaxed) < before.1 + 10
            {
                std::thread::yield_now();
            }
        }
        is_over.store(true, Ordering::Relaxed);
    });
    server.stop();
}

#[test]
fn whatever_stands_in_the_way_leaves_the_old_process_serving_and_is_named() {
    let mut server = Server::start(2);
    let mut client = server.connect();
    let elsewhere = "exec {LONGWIRE} raw echo --listen 127.0.0.1:1 --shards 1";
    let few = format!(
        "exec {LONGWIRE} raw echo --listen {} --shards 1 --max-connections 3",
        server.address
    );
    let _others: Vec<_> = (0..6).map(|_| server.connect()).collect();
    let cases = [
        ("exit 3".to_owned(), "the new process ended before it took over"),
        ("exec /nowhere/at/all".to_owned(), "the new process ended before it took over"),
        (elsewhere.replace("{LONGWIRE}", LONGWIRE), "listens on other addresses"),
        (few, "too few seats"),
        ("kill -9 $$".to_owned(), "the new process ended before it took over"),
        // Says nonsense, by the socket that it has as its input.
        ("cat /dev/null; printf nonsense >&0".to_owned(), "failed: the new process"),
    ];
    for (script, expected) in cases {
        server.directory.script(&script);
        let said = server.fails(&[]);
        assert!(said.starts_with("failed: ") && said.contains(expected), "{script}: {said}");
        echo(&mut client, &said);
        echo(&mut server.connect(), "and new ones");
    }
    std::fs::remove_file(server.directory.join("next")).unwrap();
    let said = server.fails(&["--check"]);
    assert!(said.contains("could not be started"), "{said}");
    echo(&mut client, "still");
    server.upgrade_to(2);
    echo(&mut client, "and after an upgrade");
    server.stop();
}

#[test]
fn a_rehearsal_changes_nothing_and_a_second_upgrade_at_the_same_time_is_refused() {
    let server = Server::start(1);
    let mut client = server.connect();
    server.next_has(2);
    let Output { status, stdout, .. } = server.asking(&["--check"]).output().unwrap();
    let said = String::from_utf8(stdout).unwrap();
    assert!(status.success() && said.contains("done: a rehearsal"), "{said}");
    echo(&mut client, "as before");
    // The first waits for a process that never says anything.
    server.directory.script("exec sleep 1000");
    let mut first = server.asking(&[]).stdout(Stdio::piped()).spawn().unwrap();
    let lines = lines_of(first.stdout.take().unwrap());
    let started = lines.recv_timeout(PATIENCE).unwrap();
    let said = server.fails(&[]);
    assert_eq!(said, "failed: another upgrade is under way");
    let pid = started.rsplit(' ').next().unwrap().parse().unwrap();
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    let said = lines.recv_timeout(PATIENCE).unwrap();
    assert_eq!(said, "failed: the new process ended before it took over");
    assert!(!first.wait().unwrap().success());
    echo(&mut client, "as ever");
    server.stop();
}

#[test]
fn a_stop_gives_an_upgrade_up_and_goes_on() {
    let server = Server::start(1);
    server.directory.script("exec sleep 1000");
    let mut asking = server.asking(&[]).stdout(Stdio::piped()).spawn().unwrap();
    let lines = lines_of(asking.stdout.take().unwrap());
    lines.recv_timeout(PATIENCE).unwrap();
    kill_process(server.pid, Signal::TERM).unwrap();
    let said = lines.recv_timeout(PATIENCE).unwrap();
    assert_eq!(said, "failed: the server is to stop");
    assert!(!asking.wait().unwrap().success());
    while server.lines.recv_timeout(PATIENCE).is_ok() {}
}

/// The next words for the supervisor that are not about a reload's time.
fn news(socket: &UnixDatagram) -> String {
    let mut buffer = [0; 256];
    let length = socket.recv(&mut buffer).unwrap();
    String::from_utf8(buffer[..length].to_vec()).unwrap()
}

fn pid_in(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap().trim().to_owned()
}

#[test]
fn the_supervisor_is_told_who_serves() {
    let name = format!("longwire-supervisor-{}", std::process::id());
    let address = {
        use std::os::linux::net::SocketAddrExt;
        std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap()
    };
    let supervisor = UnixDatagram::bind_addr(&address).unwrap();
    supervisor.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut server = Server::start_with(1, |command| {
        command.env("NOTIFY_SOCKET", format!("@{name}"));
    });
    assert_eq!(news(&supervisor), "READY=1");
    let pid_file = server.directory.join("pid");
    assert_eq!(pid_in(&pid_file), server.pid.as_raw_nonzero().to_string());
    server.next_has(2);
    let mut client = server.connect();
    kill_process(server.pid, Signal::USR2).unwrap();
    assert!(news(&supervisor).starts_with("RELOADING=1\nMONOTONIC_USEC="));
    let (mut told, mut pid) = (Vec::new(), None);
    while told.len() < 2 {
        let news = news(&supervisor);
        pid = news.strip_prefix("MAINPID=").map(ToOwned::to_owned).or(pid);
        told.push(news);
    }
    // The new process serves before the old one has heard that it may leave.
    assert!(told.contains(&"READY=1".to_owned()), "{told:?}");
    let pid = pid.expect("the old process names the new one");
    server.pid = Pid::from_raw(pid.parse().unwrap()).unwrap();
    echo(&mut client, "who serves?");
    assert!(server.first.wait().unwrap().success(), "the old process leaves in peace");
    assert_eq!(pid_in(&pid_file), pid);
    kill_process(server.pid, Signal::TERM).unwrap();
    assert_eq!(news(&supervisor), "STOPPING=1");
}
