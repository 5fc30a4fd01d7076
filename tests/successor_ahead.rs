//! Copies of descriptors that are sent ahead, while the older process serves.
//!
//! Setup: `longwire raw echo`, clients, and a new process that is held when it has a copy of each
//! of their sockets. Claims: who ends meanwhile, by either side, sees the end at once, and no reset
//! in its place, though the new process has the socket open; who stays goes on by the copy, who
//! comes goes on too; the counts say which; and no descriptor is left over anywhere, whether the
//! upgrade comes to its end, is only rehearsed, or is given up in the middle.
#![cfg(debug_assertions)]

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use longwire::limits::STILL_MAX;
use rustix::process::{Pid, Signal, kill_process};
use tungstenite::{Message, WebSocket};

use successor::{
    Asking, Patient, Server, Setup, echo, has_ended, hear, poll, say, serving, wait_for,
};

#[path = "support/successor.rs"]
mod successor;

type Client = WebSocket<Patient>;

fn go_on(held: &Held) {
    kill_process(held.0, Signal::CONT).unwrap();
}

/// An upgrade to so many shards whose new process is held with all copies.
fn held_with_copies(server: &Server, shards: u32) -> (Asking, Held) {
    server.next_has(shards);
    server.hold_at("NewerCopied");
    let asking = server.ask();
    let newer = server.held_at("NewerCopied");
    (asking, Held(newer))
}

fn finish(server: &mut Server, asking: &Asking) -> Vec<String> {
    let said: Vec<String> = asking.lines.iter().collect();
    let last = said.last().expect("it says how it went");
    server.pid = serving(last);
    wait_for(&server.lines, "serving");
    said
}

fn all_echo(clients: &mut [Client], text: &str) {
    for client in clients {
        echo(client, text);
    }
}

/// The stream below a client.
fn stream(client: &Client) -> Patient {
    let stream = client.get_ref().0.try_clone().unwrap();
    // Whoever does not see its end is not waited for as long as others.
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    Patient(stream)
}

/// Reads to the end, which is one and no reset; returns what came before it but for pings, which
/// come on a slow machine.
fn read_to_end(mut stream: Patient) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("an end, and no reset");
    while bytes.starts_with(&[0x89, 0]) {
        bytes.drain(..2);
    }
    bytes
}

/// Every way in which a connection ends that the server or its peer begins to end.
fn end_in_every_way(mut clients: [Client; 6]) {
    let [closes, closes_and_ends, ends, ends_in_a_frame, violates, resets] = &mut clients;
    closes.close(None).unwrap();
    closes.flush().unwrap();
    while closes.read().is_ok() {}
    assert_eq!(read_to_end(stream(closes)), b"", "the end follows the server's Close");

    // A Close, and the end right behind it: nothing but the server's end is to come.
    let mut both = stream(closes_and_ends);
    both.write_all(&[0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8]).unwrap();
    both.0.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_to_end(both), [0x88, 2, 0x03, 0xe8]);

    for (client, beginning) in [(ends, &b""[..]), (ends_in_a_frame, &[0x81, 0x85, 0, 0])] {
        let mut end = stream(client);
        end.write_all(beginning).unwrap();
        end.0.shutdown(Shutdown::Write).unwrap();
        read_to_end(end);
    }

    // Without a mask: the server closes, and the client only waits.
    let mut wrong = stream(violates);
    wrong.write_all(&[0x81, 1, b'x']).unwrap();
    let close = read_to_end(wrong);
    assert_eq!((close[0], &close[2..4]), (0x88, &[0x03, 0xea][..]));

    longwire::sys::socket::reset_on_close(&resets.get_ref().0).unwrap();
}

/// Ends a process that is held when a test fails: nobody else would.
struct Held(Pid);

impl Drop for Held {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ended_already = kill_process(self.0, Signal::KILL);
        }
    }
}

/// Sockets that the shards of a process have open, connections and others, but for their standard
/// input: that of a process which has taken over was one.
fn socket_count(pid: Pid) -> usize {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", pid.as_raw_nonzero())).unwrap();
    let count = tasks.map(|task| {
        let path = task.unwrap().path();
        let is_shard = std::fs::read_to_string(path.join("comm"))
            .is_ok_and(|name| name.strip_prefix("longwire-").is_some_and(is_number));
        let descriptors = std::fs::read_dir(path.join("fd")).ok().filter(|_| is_shard);
        let links = descriptors.into_iter().flatten();
        links
            .map(|one| one.unwrap().path())
            .filter(|path| !path.ends_with("0"))
            .filter_map(|path| std::fs::read_link(path).ok())
            .filter(|link| link.to_str().is_some_and(|link| link.starts_with("socket:")))
            .count()
    });
    count.sum()
}

fn is_number(name: &str) -> bool {
    name.trim_end().parse::<u32>().is_ok()
}

/// Upgrades in a row between so many shards, with six that end while they are copied in each.
fn upgrades_with_ends(from: u32, to: u32, expect: impl Fn(&[String])) {
    let mut server = Server::start(to);
    let mut clients: Vec<Client> = (0..40).map(|_| server.connect()).collect();
    all_echo(&mut clients, "taken");
    let before = socket_count(server.pid);
    for _again in 0..3 {
        server.upgrade_to(from);
        let (asking, newer) = held_with_copies(&server, to);
        let ending: Vec<Client> = clients.drain(..6).collect();
        end_in_every_way(ending.try_into().unwrap());
        // Others come, into the same slots.
        clients.extend((0..6).map(|_| server.connect()));
        all_echo(&mut clients, "served by the old process");
        let older = server.pid;
        go_on(&newer);
        expect(&finish(&mut server, &asking));
        all_echo(&mut clients, "served by the new process");
        poll("the old process is gone", || has_ended(older).then_some(()));
        // As many clients as before, and as many shards: so as many sockets.
        poll("no socket is left over", || (socket_count(server.pid) == before).then_some(()));
    }
    drop(clients);
    server.stop();
}

#[test]
fn who_ends_meanwhile_sees_it_at_once_and_all_others_go_on() {
    upgrades_with_ends(1, 1, |said| {
        assert!(said.contains(&"copied 40 connections ahead".to_owned()), "{said:?}");
        let sent = "sent 40 connections, 6 of them not copied ahead".to_owned();
        assert!(said.contains(&sent), "{said:?}");
    });
}

/// When the new process is held, some shards have not sent all of their copies.
#[test]
fn so_it_is_whatever_the_number_of_shards() {
    upgrades_with_ends(2, 3, |said| {
        assert!(said.iter().any(|line| line.starts_with("sent 40 connections, ")), "{said:?}");
    });
}

#[test]
fn requests_under_way_when_they_are_copied_are_answered_once() {
    let mut server = Server::start(3);
    let mut clients: Vec<Client> = (0..20).map(|_| server.connect()).collect();
    let (asking, newer) = held_with_copies(&server, 2);
    for (number, client) in clients.iter_mut().enumerate() {
        // Answered by the old process, whose descriptor takes the bytes.
        echo(client, &format!("{number}"));
        say(client, &format!("{number} again"));
    }
    go_on(&newer);
    finish(&mut server, &asking);
    for (number, client) in clients.iter_mut().enumerate() {
        assert_eq!(hear(client), format!("{number} again"));
        echo(client, "and on");
    }
    server.stop();
}

/// The new process ends with its copies, or is made to; the connections are the old one's as ever,
/// can end as ever, and are copied again the next time.
#[test]
fn copies_of_an_upgrade_that_was_given_up_are_forgotten() {
    let mut server = Server::start(2);
    let mut clients: Vec<Client> = (0..30).map(|_| server.connect()).collect();
    let before = socket_count(server.pid);
    for _again in 0..2 {
        let (asking, newer) = held_with_copies(&server, 3);
        kill_process(newer.0, Signal::KILL).unwrap();
        let (said, succeeded) = asking.end();
        assert!(!succeeded && said.contains("ended before it took over"), "{said}");
        all_echo(&mut clients, "as ever");
        let ending: Vec<Client> = clients.drain(..6).collect();
        end_in_every_way(ending.try_into().unwrap());
        clients.extend((0..6).map(|_| server.connect()));
        poll("no way is left over", || (socket_count(server.pid) == before).then_some(()));
    }
    let said = server.upgrade_to(3);
    assert!(said.contains("sent 30 connections, 0 of them not copied ahead"), "{said}");
    all_echo(&mut clients, "and after an upgrade");
    drop(clients);
    server.stop();
}

#[test]
fn a_rehearsal_copies_ahead_and_lets_go_again() {
    let mut server = Server::start(2);
    let mut clients: Vec<Client> = (0..30).map(|_| server.connect()).collect();
    let before = socket_count(server.pid);
    server.next_has(3);
    for _again in 0..2 {
        let output = server.asking(&["--check"]).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{said}");
        assert!(said.ends_with("all went well; 30 connections were copied ahead\n"), "{said}");
        poll("no way is left over", || (socket_count(server.pid) == before).then_some(()));
        all_echo(&mut clients, "as before");
        // What is copied no more ends as ever, whether or not the copy is still there.
        let ending: Vec<Client> = clients.drain(..6).collect();
        end_in_every_way(ending.try_into().unwrap());
        clients.extend((0..6).map(|_| server.connect()));
    }
    server.upgrade_to(1);
    all_echo(&mut clients, "and after an upgrade");
    drop(clients);
    server.stop();
}

/// Clients that come and go while the new process takes nothing out.
#[test]
fn however_many_come_and_go_meanwhile_nothing_is_left_over() {
    let mut server = Server::start(1);
    let mut staying: Vec<Client> = (0..10).map(|_| server.connect()).collect();
    let before = socket_count(server.pid);
    let (asking, newer) = held_with_copies(&server, 1);
    for _visit in 0..500 {
        let mut visitor = server.connect();
        echo(&mut visitor, "here");
        visitor.close(None).unwrap();
        while visitor.read().is_ok() {}
    }
    go_on(&newer);
    let said = finish(&mut server, &asking);
    assert!(said.contains(&"sent 10 connections, 0 of them not copied ahead".to_owned()));
    poll("no socket is left over", || (socket_count(server.pid) == before).then_some(()));
    all_echo(&mut staying, "still there");
    server.stop();
}

/// The peer's reset is noticed, though somebody else has the socket open.
#[test]
fn a_message_to_who_has_gone_ends_nobody_else() {
    let mut server = Server::start(1);
    let mut clients: Vec<Client> = (0..4).map(|_| server.connect()).collect();
    let (asking, newer) = held_with_copies(&server, 2);
    let mut gone = clients.remove(0);
    gone.send(Message::text("x".repeat(100_000))).unwrap();
    longwire::sys::socket::reset_on_close(&gone.get_ref().0).unwrap();
    drop(gone);
    all_echo(&mut clients, "served");
    go_on(&newer);
    finish(&mut server, &asking);
    all_echo(&mut clients, "served");
    let mut stream = stream(&clients[0]);
    stream.0.set_nonblocking(true).unwrap();
    let nothing = stream.read(&mut [0]).unwrap_err();
    assert_eq!(nothing.kind(), ErrorKind::WouldBlock);
    server.stop();
}

/// The new process's clock begins when it is made, long before it is handed anything.
#[test]
fn nobody_is_late_for_having_been_copied_long_before() {
    const IDLE: Duration = Duration::from_secs(4);
    let flags = &["--idle-timeout", "4s", "--ping-interval", "off"];
    let mut server = Server::start_with(1, &Setup { flags, ..Setup::default() });
    let mut clients: Vec<Client> = (0..4).map(|_| server.connect()).collect();
    let (asking, newer) = held_with_copies(&server, 1);
    let held = Instant::now();
    while held.elapsed() < IDLE + STILL_MAX + Duration::from_secs(1) {
        all_echo(&mut clients, "not idle");
        std::thread::sleep(Duration::from_millis(200));
    }
    go_on(&newer);
    finish(&mut server, &asking);
    // Whoever was taken for idle has been closed by the time that the next one is answered.
    echo(&mut server.connect(), "new");
    all_echo(&mut clients, "not idle still");
    server.stop();
}

/// Time stands still with the process, and goes on with it.
#[test]
fn after_an_upgrade_that_was_given_up_deadlines_come_as_ever() {
    let flags = &["--idle-timeout", "2s", "--ping-interval", "off"];
    let server = Server::start_with(2, &Setup { flags, ..Setup::default() });
    let before = server.connect();
    server.next_has(1);
    server.hold_at("NewerHeardStill");
    let asking = server.ask();
    let newer = Held(server.held_at("NewerHeardStill"));
    kill_process(newer.0, Signal::KILL).unwrap();
    let (said, succeeded) = asking.end();
    assert!(!succeeded, "{said}");
    read_to_end(stream(&before));
    read_to_end(stream(&server.connect()));
    server.stop();
}
