//! The shape of the source, kept by a test: arrows between modules, places of `unsafe`, purity,
//! and the plain habits. It reads text, not types: comments and literals are blanked first.
//!
//! Each rule is fed a planted violation as well, because a rule that cannot fail holds nothing.

use std::fs;
use std::path::Path;

use rules::{Offence, RULES};
use source::Source;

#[path = "tidy/rules.rs"]
mod rules;
#[path = "tidy/source.rs"]
mod source;

fn tree() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = Vec::new();
    let mut folders = vec![root.join("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap();
                sources.push(Source::new(name, &fs::read_to_string(&path).unwrap()));
            }
        }
    }
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    sources
}

fn offences(rule: &str, sources: &[Source]) -> Vec<Offence> {
    let rule = RULES.iter().find(|known| known.name == rule).expect("a rule of that name");
    (rule.check)(sources)
}

#[test]
fn the_source_keeps_every_rule() {
    let sources = tree();
    assert!(sources.len() > 10, "the tree was found");
    let found: Vec<Offence> = RULES.iter().flat_map(|rule| (rule.check)(&sources)).collect();
    let lines: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert!(lines.is_empty(), "\n{}\n", lines.join("\n"));
}

/// Violations, each with its rule, the file it is planted in, and the line that must be named.
const PLANTED: [(&str, &str, &str, usize); 56] = [
    ("arrows", "src/limits.rs", "use crate::sys::cpu;", 1),
    ("arrows", "src/sys/cpu.rs", "use crate::ring::Ring;", 1),
    ("arrows", "src/ring/mod.rs", "use crate::mesh::Mesh;", 1),
    ("arrows", "src/mesh/mod.rs", "use crate::shard::Shard;", 1),
    ("arrows", "src/protocol/mod.rs", "use crate::session::Session;", 1),
    ("arrows", "src/session/mod.rs", "use crate::hub::Hub;", 1),
    ("arrows", "src/hub/mod.rs", "use crate::session::Session;", 1),
    ("arrows", "src/ws/frame.rs", "use crate::protocol::Command;", 1),
    ("arrows", "src/metrics/mod.rs", "use crate::shard::Shard;", 1),
    ("arrows", "src/config/mod.rs", "use crate::ws::Limits;", 1),
    ("arrows", "src/handler/mod.rs", "use crate::shard::Shard;", 1),
    ("arrows", "src/shard/loop.rs", "use crate::bench::Plan;", 1),
    ("arrows", "src/control/mod.rs", "use crate::shard::Shard;", 1),
    ("arrows", "src/cluster/mod.rs", "use crate::control::Api;", 1),
    ("arrows", "src/server/mod.rs", "use crate::hub::Order;", 1),
    ("arrows", "src/bench/mod.rs", "use crate::shard::Shard;", 1),
    ("arrows", "src/ws/frame.rs", "use crate::{\n    limits::X,\n    ring::Ring,\n};", 1),
    ("arrows", "src/ws/frame.rs", "fn f() {\n    crate::sys::cpu::allowed()\n}", 2),
    ("arrows", "src/ws/frame.rs", "use super::super::ring::Ring;", 1),
    ("arrows", "src/ws/mod.rs", "use super::ring::Ring;", 1),
    ("arrows", "src/ws/frame.rs", "use crate::*;", 1),
    ("arrows", "src/ws/frame.rs", "#[cfg(test)]\nmod tests {\n    use crate::ring::Ring;\n}", 3),
    ("arrows", "src/broker/mod.rs", "//! A module that nobody has agreed on.", 1),
    ("unsafe", "src/shard/loop.rs", "fn f() {\n    unsafe { g() }\n}", 2),
    ("unsafe", "src/ws/mask.rs", "#[allow(unsafe_code)]\nfn f() {}", 1),
    ("glommio", "src/shard/loop.rs", "use glommio::LocalExecutor;", 1),
    ("glommio", "src/ring/mod.rs", "fn f() { glommio::yield_if_needed() }", 1),
    ("purity", "src/ws/frame.rs", "use std::net::TcpStream;", 1),
    ("purity", "src/ws/frame.rs", "use std::{io, net::{IpAddr, UdpSocket}};", 1),
    ("purity", "src/protocol/json.rs", "use std::fs::File;", 1),
    ("purity", "src/session/mod.rs", "fn f() { std::thread::yield_now() }", 1),
    ("purity", "src/hub/mod.rs", "use std::time::Instant;\nfn f() { Instant::now(); }", 2),
    ("purity", "src/metrics/mod.rs", "use std::time::SystemTime;", 1),
    ("purity", "src/ws/frame.rs", "use std::env;", 1),
    ("purity", "src/ws/frame.rs", "use std::process::Command;", 1),
    ("purity", "src/ws/frame.rs", "fn f() { std::io::stderr(); }", 1),
    ("purity", "src/ws/frame.rs", "use std::os::fd::RawFd;", 1),
    ("purity", "src/shard/core.rs", "use libc::c_int;", 1),
    ("purity", "src/shard/core.rs", "use rustix::io;", 1),
    ("purity", "src/shard/core.rs", "use socket2::Socket;", 1),
    ("purity", "src/shard/core.rs", "use io_uring::IoUring;", 1),
    ("purity", "src/shard/wheel.rs", "use getrandom::fill;", 1),
    ("purity", "src/hub/mod.rs", "fn f() { RandomState::new(); }", 1),
    ("forbid", "src/ws/mod.rs", "//! Frames.\n\npub mod frame;", 1),
    ("forbid", "src/shard/core.rs", "//! Effects.", 1),
    (
        "columns",
        "src/lib.rs",
        "//! A line of one hundred and one columns, counted in characters and not in bytes, \
         which is too long.",
        1,
    ),
    ("markers", "src/lib.rs", "fn f() {}\n// FIXME: later", 2),
    ("markers", "src/lib.rs", "// XXX", 1),
    ("markers", "src/lib.rs", "// TODO(you): later", 1),
    ("markers", "src/lib.rs", "fn f() {\n    todo!()\n}", 2),
    ("markers", "src/lib.rs", "fn f() { unimplemented!() }", 1),
    ("names", "src/ws/utils.rs", "", 1),
    ("names", "src/common/mod.rs", "", 1),
    ("names", "src/shard/helpers/mod.rs", "", 1),
    ("dead files", "src/ws/forgotten.rs", "//! Nobody declares it.", 1),
    ("module docs", "src/ws/frame.rs", "#![forbid(unsafe_code)]\n//! Late.", 1),
];

#[test]
fn each_rule_fires_on_a_planted_violation() {
    for (rule, path, text, line) in PLANTED {
        let found = offences(rule, &[Source::new(path, text)]);
        assert_eq!(found.len(), 1, "{rule}: {path}: {text}: {found:?}");
        assert_eq!((found[0].path.as_str(), found[0].line), (path, line), "{rule}: {text}");
    }
}

#[test]
fn a_function_of_71_lines_is_too_long_and_one_of_70_is_not() {
    let function = |lines: usize| format!("fn f() {{\n{}}}\n", "    g();\n".repeat(lines - 2));
    for (lines, expected) in [(70, 0), (71, 1)] {
        let sources = [Source::new("src/lib.rs", &function(lines))];
        assert_eq!(offences("function length", &sources).len(), expected);
    }
}

#[test]
fn every_rule_has_a_planted_violation() {
    for rule in RULES {
        let planted = PLANTED.iter().any(|(name, ..)| *name == rule.name);
        assert!(planted || rule.name == "function length", "{}", rule.name);
    }
}

#[test]
fn what_is_allowed_is_not_reported() {
    let sources = [
        ("src/lib.rs", "//! Front door.\npub mod ws;\npub mod shard;\npub mod sys;\n"),
        ("src/main.rs", "//! Binary.\nmod cli;\n"),
        ("src/cli/mod.rs", "//! Command line.\nuse longwire::server::Server;\n"),
        (
            "src/ws/mod.rs",
            "//! Frames: unsafe, std::net and FIX ME in words.\n\
                           #![forbid(unsafe_code)]\nmod frame;\n",
        ),
        (
            "src/ws/frame.rs",
            "//! Frame.\nuse std::time::Instant;\nuse core::net::IpAddr;\nuse super::Close;\n\
             use crate::limits::X;\nconst S: &str = \"crate::ring unsafe\"; // crate::ring\n\
             #[cfg(test)]\nmod tests {\n    use super::*;\n    use std::thread;\n}\n",
        ),
        ("src/shard/mod.rs", "//! Shard.\nmod wait;\nmod core;\nuse crate::ring::Ring;\n"),
        ("src/shard/core.rs", "//! Core.\n#![forbid(unsafe_code)]\nuse super::Turn;\n"),
        ("src/shard/wait.rs", "//! Wait.\nuse glommio::LocalExecutor;\n"),
        ("src/sys/mod.rs", "//! System.\n#![allow(unsafe_code)]\nfn f() { unsafe { g() } }\n"),
    ];
    let sources = sources.map(|(path, text)| Source::new(path, text));
    let found: Vec<Offence> = RULES.iter().flat_map(|rule| (rule.check)(&sources)).collect();
    assert_eq!(found, []);
}
