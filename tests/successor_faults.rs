//! What stands in the way of an upgrade beside the end of a process.
//!
//! Setup: `longwire raw echo`, a few clients, and steps at which a process is held while something
//! is taken from it: descriptors, memory, room on a disk; or a word of the other process is played
//! by this test. Claims: the old process serves on, says why, and can be upgraded as soon as it is
//! given back; what only takes longer is waited for; a stop comes first.
#![cfg(debug_assertions)]

use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use longwire::sys::fdpass;
use rustix::process::{Pid, Resource, Rlimit, Signal, geteuid, getrlimit, kill_process, prlimit};
use tungstenite::{Message, WebSocket};

use successor::{LONGWIRE, PATIENCE, Patient, Server, Setup, echo, has_ended, poll, wait_for};

#[path = "support/successor.rs"]
mod successor;

fn go_on(pid: Pid) {
    kill_process(pid, Signal::CONT).unwrap();
}

/// No descriptor from this number on; what is open stays so.
fn limit_descriptors(pid: Pid, count: u64) {
    let maximum = getrlimit(Resource::Nofile).maximum;
    prlimit(Some(pid), Resource::Nofile, Rlimit { current: Some(count), maximum }).unwrap();
}

/// A server with so many clients, and an upgrade to one shard that is held at a step.
fn held(
    step: &str,
    client_count: usize,
) -> (Server, Vec<WebSocket<Patient>>, successor::Asking, Pid) {
    let server = Server::start(2);
    let clients = (0..client_count).map(|_| server.connect()).collect();
    server.next_has(1);
    server.hold_at(step);
    let asking = server.ask();
    let pid = server.held_at(step);
    (server, clients, asking, pid)
}

fn all_serve_on(mut server: Server, mut clients: Vec<WebSocket<Patient>>) {
    for socket in &mut clients {
        echo(socket, "still there");
    }
    server.upgrade_to(3);
    for socket in &mut clients {
        echo(socket, "and after an upgrade");
    }
    server.stop();
}

/// It hears that the server goes, and nothing else before.
fn is_told_to_come_again(mut socket: WebSocket<Patient>) {
    let heard = socket.read().unwrap();
    assert!(
        matches!(&heard, Message::Close(Some(close)) if close.code == 1001.into()),
        "{heard:?}"
    );
    while socket.read().is_ok() {}
}

#[test]
fn an_old_process_without_descriptors_serves_on() {
    let (server, clients, asking, pid) = held("OlderHeardBuilt", 3);
    limit_descriptors(pid, 3);
    go_on(pid);
    let (said, succeeded) = asking.end();
    assert!(!succeeded, "{said}");
    assert!(said.starts_with("failed: the way to the new process broke: Too many open"), "{said}");
    limit_descriptors(pid, getrlimit(Resource::Nofile).maximum.unwrap_or(4096));
    all_serve_on(server, clients);
}

#[test]
fn a_new_process_without_descriptors_says_so_before_anything_is_lost() {
    let cases = [
        ("NewerSaidBuilt", "the control thread"),
        ("NewerHasWays", "a shard"),
        // While everything is served.
        ("NewerTaking", "a shard"),
    ];
    for (step, whose) in cases {
        let (server, clients, asking, pid) = held(step, 40);
        limit_descriptors(pid, 3);
        go_on(pid);
        let (said, succeeded) = asking.end();
        assert!(!succeeded, "{said}");
        let expected = format!("failed: the new process cannot take over: {whose} has no descrip");
        assert!(said.starts_with(&expected), "{said}");
        all_serve_on(server, clients);
    }
}

#[test]
fn a_new_process_without_memory_is_not_waited_for() {
    let mut server = Server::start(1);
    let mut client = server.connect();
    server.next_is("ulimit -v 30000", 1);
    let said = server.fails(&[]);
    assert!(said.starts_with("failed: the new process "), "{said}");
    echo(&mut client, "still there");
    server.upgrade_to(2);
    echo(&mut client, "and after an upgrade");
    server.stop();
}

/// `RLIMIT_NOFILE` bounds what a user has on its way between processes too (`unix(7)`), unless it
/// is privileged.
#[test]
fn more_descriptors_on_their_way_than_the_kernel_allows_are_waited_for() {
    const UNPRIVILEGED: [&str; 4] = [
        "setpriv",
        "--inh-caps=-sys_resource,-sys_admin",
        "--bounding-set=-sys_resource,-sys_admin",
        "--",
    ];
    let wrapper: &[&str] = if geteuid().is_root() { &UNPRIVILEGED } else { &[] };
    let mut server = Server::start_with(2, &Setup { wrapper, ..Setup::default() });
    let mut clients: Vec<_> = (0..360).map(|_| server.connect()).collect();
    server.next_has(1);
    server.hold_at("OlderCopying");
    server.hold_at("NewerTaking");
    let asking = server.ask();
    let older = server.held_at("OlderCopying");
    // It has all that it needs.
    limit_descriptors(older, 60);
    go_on(older);
    let newer = server.held_at("NewerTaking");
    // Nothing is taken out at the other end.
    wait_for(&server.lines, "waiting until fewer descriptors are on their way");
    // All are served meanwhile, and some of whose copies wait here end.
    for socket in &mut clients {
        echo(socket, "served by the old process");
    }
    limit_descriptors(older, getrlimit(Resource::Nofile).maximum.unwrap_or(4096));
    for number in (0..360).step_by(7) {
        clients[number] = server.connect();
    }
    go_on(newer);
    let (said, succeeded) = asking.end();
    assert!(succeeded, "{said}");
    server.pid = newer;
    for socket in &mut clients {
        echo(socket, "served");
    }
    server.stop();
}

#[test]
fn a_disk_without_room_for_the_pid_file_is_found_out_ahead() {
    let mut server = Server::start(1);
    let mut client = server.connect();
    let beside = server.directory.join("pid.new");
    std::os::unix::fs::symlink("/dev/full", &beside).unwrap();
    server.next_has(2);
    let said = server.fails(&[]);
    assert!(said.starts_with("failed: the new process cannot take over: the pid file "), "{said}");
    assert!(said.contains("No space left"), "{said}");
    let number = |server: &Server| {
        let text = std::fs::read_to_string(server.directory.join("pid")).unwrap();
        Pid::from_raw(text.trim().parse().unwrap()).unwrap()
    };
    assert_eq!(number(&server), server.pid);
    echo(&mut client, "still there");
    let _removed_already = std::fs::remove_file(&beside);
    server.upgrade_to(2);
    assert_eq!(number(&server), server.pid);
    server.stop();
}

/// Version 2, and a record that only it may know.
const UNKNOWN: [u8; 7] = [2, 0, 77, 0, 0, 0, 0];

#[test]
fn a_new_process_of_another_version_is_refused_before_anything_moves() {
    let server = Server::start(1);
    let mut client = server.connect();
    let octal: Vec<_> = UNKNOWN.iter().map(|byte| format!("\\{byte:03o}")).collect();
    server.directory.script(&format!("printf '{}' >&0\nexec sleep 1000", octal.concat()));
    let asking = server.ask();
    let newer = asking.started();
    let (said, succeeded) = asking.end();
    assert!(!succeeded && said.contains("version 2 of the format"), "{said}");
    poll("it is not kept", || has_ended(newer).then_some(()));
    echo(&mut client, "still there");
    server.stop();
}

#[test]
fn an_old_process_of_another_version_is_told_so() {
    let (ours, theirs) = fdpass::pair().unwrap();
    fdpass::send(&ours, &UNKNOWN, &[]).unwrap();
    let mut newer = Command::new(LONGWIRE);
    newer.args(["raw", "echo", "--listen", "127.0.0.1:0"]).stdin(Stdio::from(theirs));
    let status = newer.env("PREDECESSOR_OF_LONGWIRE", "stdin").stderr(Stdio::null()).status();
    assert!(!status.unwrap().success());
    drop(newer);
    let mut buffer = [0; 4096];
    fdpass::wait(&[ours.as_fd()]).unwrap();
    let received = fdpass::receive(&ours, &mut buffer, 0, &mut Vec::new()).unwrap();
    let said = String::from_utf8_lossy(&buffer[..received.payload_bytes]);
    assert!(said.contains("version 2 of the format"), "{said}");
}

#[test]
fn a_stop_in_the_middle_of_an_upgrade_comes_first() {
    let (server, clients, asking, newer) = held("NewerTaking", 3);
    assert_eq!(server.fails(&[]), "failed: another upgrade is under way");
    kill_process(server.pid, Signal::TERM).unwrap();
    assert_eq!(asking.end(), ("failed: the server is to stop".to_owned(), false));
    clients.into_iter().for_each(is_told_to_come_again);
    server.wait_for_the_end();
    poll("the new process is gone", || has_ended(newer).then_some(()));
}

#[test]
fn there_is_no_upgrade_of_a_server_that_stops() {
    let flags = &["--drain-timeout=2m"];
    let server = Server::start_with(1, &Setup { flags, ..Setup::default() });
    // It does not answer the Close, which the server waits for.
    let silent = server.connect();
    server.next_has(1);
    kill_process(server.pid, Signal::STOP).unwrap();
    poll("it is stopped", || (successor::state_of(server.pid)? == 'T').then_some(()));
    let mut asking = UnixStream::connect(server.directory.join("socket")).unwrap();
    asking.set_read_timeout(Some(PATIENCE)).unwrap();
    asking.write_all(b"upgrade\n").unwrap();
    kill_process(server.pid, Signal::TERM).unwrap();
    go_on(server.pid);
    let said: Vec<_> = BufReader::new(asking).lines().map(Result::unwrap).collect();
    let last = said.last().map_or("", |line| line);
    // Either may be looked at first.
    let expected = ["failed: the server is stopping", "failed: the server is to stop"];
    assert!(expected.contains(&last), "{said:?}");
    wait_for(&server.lines, "stopping");
    assert_eq!(server.fails(&[]), expected[0]);
    drop(silent);
    server.wait_for_the_end();
}

/// The upgrade is done; but who stops the server means whichever process serves.
#[test]
fn a_stop_that_comes_too_late_for_the_old_process_is_one_of_the_new() {
    let (mut server, clients, asking, older) = held("OlderHeardCommitted", 3);
    kill_process(older, Signal::TERM).unwrap();
    go_on(older);
    let (said, succeeded) = asking.end();
    assert!(succeeded, "{said}");
    server.pid = successor::serving(&said);
    clients.into_iter().for_each(is_told_to_come_again);
    for _process in ["old", "new"] {
        assert_eq!(wait_for(&server.lines, "stopped")["forced"], false);
    }
    server.wait_for_the_end();
}
