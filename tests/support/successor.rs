//! `longwire raw echo` as a process of its own, its successors started by it, and their clients.
#![allow(dead_code)] // each property uses a part of it
#![allow(clippy::unwrap_used, reason = "tests panic on purpose")]

use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::Receiver;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tungstenite::{Message, WebSocket, client};

#[path = "lines.rs"]
mod lines;
#[path = "patient.rs"]
mod patient;
#[path = "steps.rs"]
mod steps;

pub(crate) use lines::lines_of;
pub(crate) use patient::Patient;
use steps::STEPS;
pub(crate) use steps::{Steps, has_ended, poll, state_of};

/// Far beyond what anything here takes.
pub(crate) const PATIENCE: Duration = Duration::from_mins(2);

pub(crate) const LONGWIRE: &str = env!("CARGO_BIN_EXE_longwire");

/// A directory of a test's own, removed with it.
pub(crate) struct Directory(PathBuf);

impl Directory {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("longwire-successor-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// A script that stands for a new binary.
    pub(crate) fn script(&self, text: &str) -> PathBuf {
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

/// What a server is started with, and its successors too.
#[derive(Clone, Default)]
pub(crate) struct Setup {
    /// A command in front of the server's own, for the first process only.
    pub(crate) wrapper: &'static [&'static str],
    pub(crate) flags: &'static [&'static str],
    /// What else it finds in its environment.
    pub(crate) environment: Vec<(&'static str, String)>,
}

/// A server and its successors, which write their logs into the same pipe.
pub(crate) struct Server {
    pub(crate) first: Child,
    /// The process that serves now.
    pub(crate) pid: Pid,
    pub(crate) lines: Receiver<String>,
    pub(crate) address: String,
    pub(crate) directory: Directory,
    steps: Steps,
    setup: Setup,
}

impl Server {
    pub(crate) fn start(shards: u32) -> Self {
        Self::start_with(shards, &Setup::default())
    }

    pub(crate) fn start_with(shards: u32, setup: &Setup) -> Self {
        let directory = Directory::new();
        directory.script("exit 1");
        let steps = Steps::new(directory.join("steps"));
        let words: Vec<_> = setup.wrapper.iter().copied().chain([LONGWIRE]).collect();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).args(["raw", "echo", "--listen", "127.0.0.1:0"]);
        command.args(arguments(shards, &directory, setup)).stderr(Stdio::piped());
        command.env(STEPS, &steps.0);
        command.envs(setup.environment.clone());
        let mut first = command.spawn().unwrap();
        let lines = lines_of(first.stderr.take().unwrap());
        let pid = Pid::from_child(&first);
        let address = wait_for(&lines, "listening")["address"].as_str().unwrap().to_owned();
        wait_for(&lines, "serving");
        Self { first, pid, lines, address, directory, steps, setup: setup.clone() }
    }

    /// What the next process is: the same binary, with so many shards.
    pub(crate) fn next_has(&self, shards: u32) {
        self.next_is("", shards);
    }

    /// The same behind something of a shell that ends before it.
    pub(crate) fn next_is(&self, before: &str, shards: u32) {
        let arguments = arguments(shards, &self.directory, &self.setup).join(" ");
        let address = &self.address;
        self.directory
            .script(&format!("{before}\nexec {LONGWIRE} raw echo --listen {address} {arguments}"));
    }

    pub(crate) fn asking(&self, flags: &[&str]) -> Command {
        let mut command = Command::new(LONGWIRE);
        command.arg("upgrade").arg("--socket").arg(self.directory.join("socket")).args(flags);
        command
    }

    /// Asks for an upgrade, and leaves it to go its way.
    pub(crate) fn ask(&self) -> Asking {
        let mut asking = self.asking(&[]);
        // That a server was killed is no news to a test that has killed it.
        let mut child = asking.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let lines = lines_of(child.stdout.take().unwrap());
        Asking { child, lines }
    }

    /// Upgrades to a process with so many shards, which has to succeed; returns what was said.
    pub(crate) fn upgrade_to(&mut self, shards: u32) -> String {
        self.next_has(shards);
        self.upgrade()
    }

    /// Upgrades to what is next, which has to succeed; returns what was said.
    pub(crate) fn upgrade(&mut self) -> String {
        let Output { status, stdout, .. } = self.asking(&[]).output().unwrap();
        let said = String::from_utf8(stdout).unwrap();
        assert!(status.success(), "{said}");
        self.pid = serving(&said);
        wait_for(&self.lines, "serving");
        said
    }

    /// Asks for what has to fail; returns the last line of what was said.
    pub(crate) fn fails(&self, flags: &[&str]) -> String {
        let Output { status, stdout, .. } = self.asking(flags).output().unwrap();
        let said = String::from_utf8(stdout).unwrap();
        assert!(!status.success(), "{said}");
        said.lines().last().unwrap_or_default().to_owned()
    }

    /// From now on the first process that comes to a step is held there.
    pub(crate) fn hold_at(&self, step: &str) {
        self.steps.hold_at(step);
    }

    /// Waits until a process is held at this step.
    pub(crate) fn held_at(&self, step: &str) -> Pid {
        self.steps.held_at(step)
    }

    /// The same, unless the upgrade ends before: on a machine that has other things to do it may
    /// take longer than it may.
    pub(crate) fn held_in_time(&self, step: &str, asking: &mut Asking) -> Option<Pid> {
        let come = poll("a process comes to the step, or is late", || {
            let come = self.steps.come_to(step).map(Some);
            // One that succeeds may end before a process comes to the last steps.
            let mut is_late = || Some(!asking.child.try_wait().unwrap()?.success());
            come.or_else(|| (is_late() == Some(true)).then_some(None))
        });
        let pid = come.filter(|&pid| {
            poll("it is stopped", || (has_ended(pid) || state_of(pid)? == 'T').then_some(()));
            !has_ended(pid)
        });
        if pid.is_none() {
            self.steps.forget(step);
        }
        pid
    }

    pub(crate) fn stream(&self) -> Patient {
        let stream = Patient::connect(self.address.parse().unwrap());
        stream.0.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    pub(crate) fn connect(&self) -> WebSocket<Patient> {
        client(format!("ws://{}/", self.address), self.stream()).unwrap().0
    }

    /// Stops the process that serves, and waits for the end of all.
    pub(crate) fn stop(self) {
        kill_process(self.pid, Signal::TERM).unwrap();
        self.wait_for_the_end();
    }

    /// Waits until every process has ended: none holds the log open.
    pub(crate) fn wait_for_the_end(&self) {
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

fn arguments(shards: u32, directory: &Directory, setup: &Setup) -> Vec<String> {
    let path = |name: &str| directory.join(name).to_str().unwrap().to_owned();
    let mut arguments = vec!["--log-format=json".to_owned()];
    for (flag, number) in [("--max-connections", 1000), ("--shards", shards)] {
        arguments.extend([flag.to_owned(), number.to_string()]);
    }
    for (flag, name) in
        [("--upgrade-binary", "next"), ("--upgrade-socket", "socket"), ("--pid-file", "pid")]
    {
        arguments.extend([flag.to_owned(), path(name)]);
    }
    // Nothing is late by itself, on whatever machine.
    if !setup.flags.contains(&"--upgrade-ready-timeout") {
        let patient = ["--upgrade-ready-timeout=2m", "--upgrade-freeze-timeout=2m"];
        arguments.extend(patient.map(str::to_owned));
    }
    arguments.extend(setup.flags.iter().map(ToString::to_string));
    arguments
}

/// Somebody who waits for the end of an upgrade.
pub(crate) struct Asking {
    child: Child,
    pub(crate) lines: Receiver<String>,
}

impl Asking {
    /// The number of the process that was started.
    pub(crate) fn started(&self) -> Pid {
        let line = self.lines.recv_timeout(PATIENCE).expect("it says what it has started");
        let pid = line.rsplit(' ').next().unwrap().parse().expect(&line);
        Pid::from_raw(pid).unwrap()
    }

    /// The last line, and whether it succeeded.
    pub(crate) fn end(mut self) -> (String, bool) {
        let mut last = String::new();
        while let Ok(line) = self.lines.recv_timeout(PATIENCE) {
            last = line;
        }
        (last, self.child.wait().unwrap().success())
    }
}

/// Who serves after an upgrade that said this.
pub(crate) fn serving(said: &str) -> Pid {
    let pid = said.split("done: process ").nth(1).and_then(|rest| rest.split(' ').next());
    Pid::from_raw(pid.expect(said).parse().unwrap()).unwrap()
}

/// Waits for a message of the log.
pub(crate) fn wait_for(lines: &Receiver<String>, message: &str) -> serde_json::Value {
    loop {
        let line = lines.recv_timeout(PATIENCE).expect("a server logs this");
        let Ok(line) = serde_json::from_str::<serde_json::Value>(&line) else { continue };
        if line["message"] == message {
            return line;
        }
    }
}

/// Says more than the kernel keeps for a client that does not read, until the server reads no more;
/// returns how many messages. Each begins with its number. The last of them is in part in the
/// client's own buffer, and leaves with the next flush.
pub(crate) fn overfill(slow: &mut WebSocket<Patient>) -> usize {
    let filling = "x".repeat(60_000);
    let stream = slow.get_ref().0.try_clone().unwrap();
    socket2::SockRef::from(&stream).set_recv_buffer_size(256 * 1024).unwrap();
    stream.set_nonblocking(true).unwrap();
    let (mut sent, mut misses) = (0, 0);
    while misses < 100 {
        let said = if misses == 0 {
            assert!(sent < 1000, "it is not read from for ever");
            sent += 1;
            slow.send(Message::text(format!("{}{filling}", sent - 1)))
        } else {
            slow.flush()
        };
        match said {
            Ok(()) => misses = 0,
            Err(tungstenite::Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => {
                misses += 1;
                std::thread::sleep(Duration::from_millis(2));
            }
            Err(error) => panic!("{error}"),
        }
    }
    stream.set_nonblocking(false).unwrap();
    sent
}

pub(crate) fn say(socket: &mut WebSocket<Patient>, text: &str) {
    socket.send(Message::text(text)).unwrap();
}

pub(crate) fn hear(socket: &mut WebSocket<Patient>) -> String {
    loop {
        match socket.read().unwrap() {
            Message::Text(text) => return text.to_string(),
            Message::Ping(_) | Message::Pong(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

pub(crate) fn echo(socket: &mut WebSocket<Patient>, text: &str) {
    say(socket, text);
    assert_eq!(hear(socket), text);
}
