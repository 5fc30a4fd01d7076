//! A server whose binary is replaced while its clients stay connected.
//!
//! Setup: `longwire raw echo` as a process of its own, its successors started by it, clients over
//! loopback: idle, speaking, in the middle of a request, of a frame and of a message, and one that
//! does not read. Claims: after an upgrade all of them go on where they were, nothing lost and
//! nothing twice, whatever the number of shards; who connects meanwhile is served; whatever stands
//! in the way of an upgrade leaves the old process serving, and is named; the supervisor hears of
//! it all.

use std::io::{Read, Write};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Output;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use rustix::process::{Pid, Signal, kill_process};
use tungstenite::{Message, WebSocket, client};

use over::Over;
use successor::{
    LONGWIRE, PATIENCE, Patient, Server, Setup, echo, hear, overfill, poll, say, serving, wait_for,
};

#[path = "support/over.rs"]
mod over;
#[path = "support/successor.rs"]
mod successor;

/// A masked frame, under a key that changes nothing.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap();
    assert!(length < 126);
    [&[first, 0x80 | length, 0, 0, 0, 0], payload].concat()
}

const REQUEST: &str = "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                       Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: \
                       dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

fn read_exact(stream: &mut Patient, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

/// Reads the answer to [`REQUEST`].
fn read_head(stream: &mut Patient) {
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
    let sent = overfill(&mut slow);
    server.upgrade_to(2);
    let reader = std::thread::spawn({
        let mut reader = WebSocket::from_raw_socket(
            Patient(slow.get_ref().0.try_clone().unwrap()),
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
                let stream = Patient::connect(address.parse().unwrap());
                let mut socket = client(format!("ws://{address}/"), stream).unwrap().0;
                echo(&mut socket, "new");
                connects.fetch_add(1, Ordering::Relaxed);
            }
        });
        let _over = Over(is_over);
        let deadline = std::time::Instant::now() + PATIENCE;
        for shards in [3, 2] {
            let before = (echoes.load(Ordering::Relaxed), connects.load(Ordering::Relaxed));
            server.upgrade_to(shards);
            // All of them go on.
            while echoes.load(Ordering::Relaxed) < before.0 + 100
                || connects.load(Ordering::Relaxed) < before.1 + 10
            {
                assert!(std::time::Instant::now() < deadline, "all go on, sooner or later");
                std::thread::sleep(std::time::Duration::from_millis(2));
            }
        }
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
    // Before anything stands still, so that a rehearsal finds it, too.
    server.directory.script(&few);
    let said = server.fails(&["--check"]);
    assert!(said.contains("too few seats: 3 for 7 connections"), "{said}");
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
    let first = server.ask();
    let pid = first.started();
    let said = server.fails(&[]);
    assert_eq!(said, "failed: another upgrade is under way");
    kill_process(pid, Signal::KILL).unwrap();
    let (said, succeeded) = first.end();
    assert_eq!(said, "failed: the new process ended before it took over");
    assert!(!succeeded);
    echo(&mut client, "as ever");
    server.stop();
}

#[test]
fn a_stop_gives_an_upgrade_up_and_goes_on() {
    let server = Server::start(1);
    server.directory.script("exec sleep 1000");
    let asking = server.ask();
    asking.started();
    kill_process(server.pid, Signal::TERM).unwrap();
    assert_eq!(asking.end(), ("failed: the server is to stop".to_owned(), false));
    server.wait_for_the_end();
}

/// Whoever stops a process by the number that it had yesterday means the server; a supervisor may
/// stop all of its processes.
#[test]
fn a_stop_of_the_process_that_leaves_is_one_of_the_process_that_serves() {
    for is_told_itself in [false, true] {
        let mut server = Server::start(2);
        let mut client = server.connect();
        let old = server.pid;
        server.hold_at("OlderLeaving");
        server.next_has(2);
        let asking = server.ask();
        assert_eq!(server.held_at("OlderLeaving"), old);
        server.pid = serving(&asking.end().0);
        kill_process(old, Signal::TERM).unwrap();
        if is_told_itself {
            kill_process(server.pid, Signal::TERM).unwrap();
            wait_for(&server.lines, "stopping");
        }
        kill_process(old, Signal::CONT).unwrap();
        let Ok(Message::Close(Some(close))) = client.read() else { panic!("it hears of the end") };
        assert_eq!(u16::from(close.code), 1001);
        drop(client);
        for _process in ["old", "new"] {
            assert_eq!(wait_for(&server.lines, "stopped")["forced"], false);
        }
        server.wait_for_the_end();
    }
}

/// Sockets that listen on this address (`proc(5)`).
fn listener_count(address: &str) -> usize {
    let port = address.rsplit(':').next().unwrap().parse::<u16>().unwrap();
    let end = format!(":{port:04X} 00000000:0000 0A ");
    std::fs::read_to_string("/proc/net/tcp").unwrap().matches(&end).count()
}

/// A shard joined with a listener of its own after each upgrade to more shards, though the shards
/// before it had enough of them; there were more after each upgrade.
#[test]
fn upgrades_in_a_row_do_not_make_listeners_more() {
    let mut server = Server::start(2);
    for shards in [3, 2, 3, 1, 3, 2] {
        server.upgrade_to(shards);
        // The old process's copies are the same sockets. A shard that has none joins when it serves
        // already; one too many would stay, and be seen after the next upgrade.
        poll("three listeners", || (listener_count(&server.address) == 3).then_some(()));
        echo(&mut server.connect(), "served");
    }
    server.stop();
}

/// The next words for the supervisor, but that all is well.
fn news(socket: &UnixDatagram) -> String {
    let mut buffer = [0; 256];
    loop {
        let length = socket.recv(&mut buffer).unwrap();
        let text = String::from_utf8(buffer[..length].to_vec()).unwrap();
        if text != "WATCHDOG=1" {
            return text;
        }
    }
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
    let environment =
        vec![("NOTIFY_SOCKET", format!("@{name}")), ("WATCHDOG_USEC", "600000".to_owned())];
    // The watchdog is for the process that it names, and for whoever serves after it.
    let wrapper = &["sh", "-c", "export WATCHDOG_PID=$$; exec \"$0\" \"$@\""];
    let setup = Setup { wrapper, environment, ..Setup::default() };
    let mut server = Server::start_with(1, &setup);
    assert_eq!(news(&supervisor), "READY=1");
    let pid_file = server.directory.join("pid");
    assert_eq!(pid_in(&pid_file), server.pid.as_raw_nonzero().to_string());
    server.next_has(2);
    let mut client = server.connect();
    kill_process(server.pid, Signal::USR2).unwrap();
    assert!(news(&supervisor).starts_with("RELOADING=1\nMONOTONIC_USEC="));
    // The new process says whose the reload's end is, because the old one may be gone by then; the
    // old one does, because nobody but the main process is heard by some supervisors.
    let told = [news(&supervisor), news(&supervisor)];
    let pid = told.iter().find_map(|news| news.strip_suffix("\nREADY=1")?.strip_prefix("MAINPID="));
    let pid = pid.expect("the new process names itself").to_owned();
    assert!(told.contains(&format!("MAINPID={pid}")), "{told:?}");
    server.pid = Pid::from_raw(pid.parse().unwrap()).unwrap();
    echo(&mut client, "who serves?");
    assert!(server.first.wait().unwrap().success(), "the old process leaves in peace");
    assert_eq!(pid_in(&pid_file), pid);
    let mut buffer = [0; 16];
    supervisor.set_nonblocking(true).unwrap();
    while supervisor.recv(&mut buffer).is_ok() {}
    supervisor.set_nonblocking(false).unwrap();
    // The old process has ended, and what it had to say was read.
    let length = supervisor.recv(&mut buffer).unwrap();
    assert_eq!(&buffer[..length], b"WATCHDOG=1");
    kill_process(server.pid, Signal::TERM).unwrap();
    assert_eq!(news(&supervisor), "STOPPING=1");
}
