//! `longwire serve` as a process of its own, and the processes that take over from it, one after
//! the other, each started by the one before.
#![allow(dead_code)] // each test uses a part of it

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::Receiver;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::session::{PATIENCE, Patient};

#[path = "lines.rs"]
mod lines;
#[path = "steps.rs"]
pub(crate) mod steps;

use steps::{STEPS, Steps};

const LONGWIRE: &str = env!("CARGO_BIN_EXE_longwire");

/// A directory of a test's own, removed with it.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("longwire-successors-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _left = std::fs::remove_dir_all(&self.0);
    }
}

/// A server and its successors, which write their logs into the same pipe. All read the same
/// configuration, so what one is to have otherwise is written there before it starts.
pub(crate) struct Succession {
    first: Child,
    /// The process that serves now.
    pid: Pid,
    log: Receiver<String>,
    pub(crate) address: SocketAddr,
    /// Where processes are held.
    pub(crate) steps: Steps,
    /// Everything in the configuration but the number of shards.
    config: String,
    directory: Directory,
}

impl Succession {
    /// Starts a server with so many shards, and this in its configuration.
    pub(crate) fn start(shards: u32, config: &str) -> Self {
        Self::start_with(shards, config, |_| Vec::new())
    }

    /// The same with more flags, which are told the server's own directory.
    pub(crate) fn start_with(
        shards: u32,
        config: &str,
        flags: impl FnOnce(&Path) -> Vec<String>,
    ) -> Self {
        let directory = Directory::new();
        let path = directory.0.join("config.toml");
        write_config(&path, shards, config);
        let steps = Steps::new(directory.0.join("steps"));
        let next = directory.0.join("next");
        symlink(LONGWIRE, &next).unwrap();
        let mut first = Command::new(LONGWIRE)
            .env_clear()
            .env(STEPS, &steps.0)
            .args(["serve", "--log-format=json", "--listen=127.0.0.1:0"])
            .args(["--http-server-internal-port=0", "--max-connections=4000"])
            // Pings would be lines between others.
            .args(["--client-ping-interval=off", "--http-api-key=key"])
            // Nothing is late by itself, on whatever machine.
            .args(["--upgrade-ready-timeout=2m", "--upgrade-freeze-timeout=2m"])
            .args(flags(&directory.0))
            .arg(format!("--config={}", path.display()))
            .arg(format!("--upgrade-binary={}", next.display()))
            .arg(format!("--upgrade-socket={}", directory.0.join("socket").display()))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = lines::lines_of(first.stderr.take().unwrap());
        let pid = Pid::from_child(&first);
        let address = wait_for(&log, "listening")["address"].as_str().unwrap().parse().unwrap();
        wait_for(&log, "serving");
        Self { first, pid, log, address, steps, config: config.to_owned(), directory }
    }

    /// What the next processes are, where that is not the same build.
    pub(crate) fn next_is(&self, binary: &Path) {
        let next = self.directory.0.join("next");
        std::fs::remove_file(&next).unwrap();
        symlink(binary, next).unwrap();
    }

    /// What asks for an upgrade to a process with so many shards, or for its rehearsal.
    fn asking(&self, shards: u32, flags: &[&str]) -> Command {
        write_config(&self.directory.0.join("config.toml"), shards, &self.config);
        let mut command = Command::new(LONGWIRE);
        command.arg("upgrade").arg("--socket").arg(self.directory.0.join("socket"));
        command.args(flags);
        command
    }

    fn ask(&self, shards: u32, flags: &[&str]) -> Output {
        self.asking(shards, flags).output().unwrap()
    }

    /// Asks for an upgrade to a process with so many shards, and leaves it to go its way.
    pub(crate) fn begin(&self, shards: u32) -> Child {
        let mut asking = self.asking(shards, &[]);
        asking.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
    }

    /// Upgrades to a process with so many shards, which has to succeed; returns what was said.
    pub(crate) fn upgrade_to(&mut self, shards: u32) -> String {
        let asking = self.begin(shards);
        self.finish(asking)
    }

    /// Waits for the end of an upgrade, which has to succeed; returns what was said.
    pub(crate) fn finish(&mut self, asking: Child) -> String {
        let Output { status, stdout, .. } = asking.wait_with_output().unwrap();
        let said = String::from_utf8(stdout).unwrap();
        assert!(status.success(), "{said}\n{}", self.logged());
        let pid = said.split("done: process ").nth(1).and_then(|rest| rest.split(' ').next());
        self.pid = Pid::from_raw(pid.unwrap().parse().unwrap()).unwrap();
        wait_for(&self.log, "serving");
        said
    }

    /// Asks for an upgrade that has to fail; returns the last line of what was said.
    pub(crate) fn fails_to_upgrade(&self, shards: u32) -> String {
        let Output { status, stdout, .. } = self.ask(shards, &[]);
        let said = String::from_utf8(stdout).unwrap();
        assert!(!status.success(), "{said}");
        said.lines().last().unwrap_or_default().to_owned()
    }

    /// Rehearses an upgrade, which has to succeed.
    pub(crate) fn rehearse(&self, shards: u32) {
        let Output { status, stdout, .. } = self.ask(shards, &["--check"]);
        assert!(status.success(), "{}", String::from_utf8_lossy(&stdout));
    }

    /// Everything in the log that nobody has waited for.
    fn logged(&self) -> String {
        self.log.try_iter().collect::<Vec<_>>().join("\n")
    }

    /// Publishes through the HTTP API of whoever serves now.
    pub(crate) fn publish(&self, channel: &str, data: &str) -> Value {
        self.api("publish", &format!(r#"{{"channel":"{channel}","data":{data}}}"#))
    }

    /// The result of a method of the HTTP API.
    pub(crate) fn api(&self, method: &str, body: &str) -> Value {
        let mut stream = Patient::connect(self.address);
        let request = format!(
            "POST /api/{method} HTTP/1.1\r\nHost: a\r\nX-API-Key: key\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        assert!(head.starts_with("HTTP/1.1 200"), "{answer}");
        let answer: Value = serde_json::from_str(body).expect("JSON");
        assert!(answer.get("error").is_none(), "{method} {request}: {answer}");
        answer["result"].clone()
    }

    /// Where it is looked into: what its main thread listens on, for the shards have descriptors of
    /// their own.
    pub(crate) fn internal_address(&self) -> SocketAddr {
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let listeners: Vec<(String, u16)> = table
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>())
            .filter(|words| words[3] == "0A")
            .map(|words| {
                let (_, port) = words[1].split_once(':').unwrap();
                (format!("socket:[{}]", words[9]), u16::from_str_radix(port, 16).unwrap())
            })
            .collect();
        let folder = format!("/proc/{}/fd", self.pid.as_raw_nonzero());
        let links = std::fs::read_dir(folder).unwrap();
        let names = links.filter_map(|link| std::fs::read_link(link.ok()?.path()).ok());
        let port = names.filter_map(|name| {
            let name = name.to_str()?;
            listeners.iter().find(|(known, _)| known == name).map(|(_, port)| *port)
        });
        // It may have two descriptors of it.
        let ports: Vec<u16> = port.collect::<std::collections::BTreeSet<_>>().into_iter().collect();
        assert_eq!(ports.len(), 1, "the internal port alone: {ports:?}");
        ([127, 0, 0, 1], ports[0]).into()
    }

    /// Stops the process that serves, and waits for the end of all.
    pub(crate) fn stop(self) {
        self.stop_and_look(|| {});
    }

    /// The same, and looks at what is left before the directory is removed.
    pub(crate) fn stop_and_look(self, look: impl FnOnce()) {
        kill_process(self.pid, Signal::TERM).unwrap();
        while self.log.recv_timeout(PATIENCE).is_ok() {}
        look();
    }
}

impl Drop for Succession {
    fn drop(&mut self) {
        let _ended_already = self.first.kill();
        let _reaped_already = self.first.wait();
        if self.pid != Pid::from_child(&self.first) {
            let _ended_already = kill_process(self.pid, Signal::KILL);
        }
    }
}

fn write_config(path: &Path, shards: u32, more: &str) {
    std::fs::write(path, format!("shards = {shards}\n{more}")).unwrap();
}

/// Waits for a message of the log.
fn wait_for(log: &Receiver<String>, message: &str) -> Value {
    let mut before = Vec::new();
    loop {
        let Ok(line) = log.recv_timeout(PATIENCE) else {
            panic!("{message} was not logged, but:\n{}", before.join("\n"));
        };
        match serde_json::from_str::<Value>(&line) {
            Ok(line) if line["message"] == message => return line,
            _ => before.push(line),
        }
    }
}
