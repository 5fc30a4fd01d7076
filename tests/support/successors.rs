//! `longwire serve` as a process of its own, and the processes that take over from it, one after
//! the other, each started by the one before.
#![allow(dead_code)] // each test uses a part of it

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::Receiver;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::session::{PATIENCE, Patient};

#[path = "lines.rs"]
mod lines;

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
    /// Everything in the configuration but the number of shards.
    config: String,
    directory: Directory,
}

impl Succession {
    /// Starts a server with so many shards, and this in its configuration.
    pub(crate) fn start(shards: u32, config: &str) -> Self {
        let directory = Directory::new();
        let path = directory.0.join("config.toml");
        write_config(&path, shards, config);
        let mut first = Command::new(LONGWIRE)
            .env_clear()
            .args(["serve", "--log-format=json", "--listen=127.0.0.1:0"])
            .args(["--http-server-internal-port=0", "--max-connections=4000"])
            // Pings would be lines between others.
            .args(["--client-ping-interval=off", "--http-api-key=key"])
            // Nothing is late by itself, on whatever machine.
            .args(["--upgrade-ready-timeout=2m", "--upgrade-freeze-timeout=2m"])
            .arg(format!("--config={}", path.display()))
            .arg(format!("--upgrade-socket={}", directory.0.join("socket").display()))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = lines::lines_of(first.stderr.take().unwrap());
        let pid = Pid::from_child(&first);
        let address = wait_for(&log, "listening")["address"].as_str().unwrap().parse().unwrap();
        wait_for(&log, "serving");
        Self { first, pid, log, address, config: config.to_owned(), directory }
    }

    /// Asks for an upgrade to a process with so many shards, or for its rehearsal.
    fn ask(&self, shards: u32, flags: &[&str]) -> Output {
        write_config(&self.directory.0.join("config.toml"), shards, &self.config);
        let mut command = Command::new(LONGWIRE);
        command.arg("upgrade").arg("--socket").arg(self.directory.0.join("socket"));
        command.args(flags).output().unwrap()
    }

    /// Upgrades to a process with so many shards, which has to succeed; returns what was said.
    pub(crate) fn upgrade_to(&mut self, shards: u32) -> String {
        let Output { status, stdout, .. } = self.ask(shards, &[]);
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

    /// Stops the process that serves, and waits for the end of all.
    pub(crate) fn stop(self) {
        kill_process(self.pid, Signal::TERM).unwrap();
        while self.log.recv_timeout(PATIENCE).is_ok() {}
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
