//! The rules, each a function from all sources to its offences.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::source::{Source, words};

/// One place that breaks one rule.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Offence {
    pub(crate) path: String,
    pub(crate) line: usize,
    pub(crate) says: String,
}

impl fmt::Display for Offence {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}: {}", self.path, self.line, self.says)
    }
}

/// A rule with the name that its planted violation is filed under.
pub(crate) struct Rule {
    pub(crate) name: &'static str,
    pub(crate) check: fn(&[Source]) -> Vec<Offence>,
}

pub(crate) const RULES: [Rule; 11] = [
    Rule { name: "arrows", check: arrows },
    Rule { name: "unsafe", check: unsafe_places },
    Rule { name: "glommio", check: glommio_places },
    Rule { name: "purity", check: purity },
    Rule { name: "forbid", check: pure_modules_forbid_unsafe },
    Rule { name: "columns", check: columns },
    Rule { name: "markers", check: markers },
    Rule { name: "names", check: names },
    Rule { name: "dead files", check: dead_files },
    Rule { name: "function length", check: function_length },
    Rule { name: "module docs", check: module_docs },
];

/// Which modules a module may name beside itself and `limits`. Complete: what is not here is an
/// offence.
const ARROWS: [(&str, &[&str]); 22] = [
    ("limits", &[]),
    ("sys", &[]),
    ("ring", &["sys"]),
    ("mesh", &["sys", "ring"]),
    // Pure, beside the agreed modules: which publications a subscription gets.
    ("filter", &[]),
    ("protocol", &["filter"]),
    // Pure: what back ends are asked, and tokens, which sessions and those who answer them have in
    // common.
    ("token", &[]),
    ("backend", &["token", "protocol"]),
    // `handover`, because only a session knows what of it the next process needs.
    ("session", &["protocol", "filter", "token", "backend", "handover"]),
    ("hub", &["protocol", "filter"]),
    ("ws", &[]),
    // Pure: what a process says to its successor.
    ("handover", &[]),
    ("metrics", &[]),
    ("config", &["token", "backend"]),
    // Pure, beside the agreed modules: who is at the other end, and by what transport.
    ("address", &["config", "protocol"]),
    // Beside the agreed arrow: `metrics`, because an application counts where its shard does, and
    // `address`, because a request is somebody's.
    ("handler", &["ws", "metrics", "address", "filter"]),
    // `sys` beside the agreed arrows: a shard's loop shuts sockets down, passes them on and reads
    // the clock, none of which is the ring's.
    (
        "shard",
        &[
            "handler", "session", "hub", "ws", "protocol", "ring", "mesh", "metrics", "config",
            "sys", "address", "filter", "token", "backend", "handover",
        ],
    ),
    // `ws` beside the agreed arrows: a request head must mean the same to the shard that hands its
    // connection over and to the control thread that reads the next one, so both have one parser.
    // `address`, because whom a request is from is told by its head. `sys` for its clock: what is
    // revoked is dated.
    (
        "control",
        &["mesh", "protocol", "metrics", "config", "ws", "address", "token", "backend", "sys"],
    ),
    ("cluster", &["mesh", "protocol", "metrics", "config"]),
    // Beside the agreed arrows: a server is generic over its handler, builds the mesh, sizes the
    // rings and sums the metrics.
    (
        "server",
        &[
            "shard", "control", "cluster", "sys", "config", "handler", "mesh", "metrics", "ring",
            "address", "token", "backend", "handover",
        ],
    ),
    ("bench", &["ws", "protocol", "ring", "sys"]),
    ("cli", &["*"]),
];

/// The crate's roots: `lib` shows all modules, `main` stands on them.
const ROOTS: [&str; 2] = ["lib", "main"];

fn arrows(sources: &[Source]) -> Vec<Offence> {
    let mut offences = Vec::new();
    for source in sources.iter().filter(|source| !ROOTS.contains(&source.module())) {
        let from = source.module();
        let Some((_, targets)) = ARROWS.iter().find(|(module, _)| *module == from) else {
            let says = format!("module `{from}` has no arrows: agree on them and add it here");
            offences.push(offence(source, 1, says));
            continue;
        };
        for mention in source.mentions() {
            let to = mention.module.as_str();
            let allowed = [from, "limits", "self"].contains(&to)
                || targets.contains(&to)
                || targets.contains(&"*");
            if !allowed {
                let says = format!("`{from}` may not name `{to}`: see the arrows in tests/tidy");
                offences.push(offence(source, mention.line, says));
            }
        }
    }
    offences
}

fn unsafe_places(sources: &[Source]) -> Vec<Offence> {
    let elsewhere = sources.iter().filter(|source| !["ring", "sys"].contains(&source.module()));
    let mut offences = Vec::new();
    for source in elsewhere {
        for word in ["unsafe", "unsafe_code"] {
            for at in words(&source.code, word) {
                let line = source.line_of(at);
                let text = source.code.lines().nth(line - 1).unwrap_or_default();
                if !text.contains("forbid(unsafe_code)") {
                    let says = "unsafe code lives in `ring` and `sys`".to_owned();
                    offences.push(offence(source, line, says));
                }
            }
        }
    }
    offences
}

fn glommio_places(sources: &[Source]) -> Vec<Offence> {
    let allowed = |source: &Source| {
        source.path == "src/shard/wait.rs" || ["server", "bench"].contains(&source.module())
    };
    let mut offences = Vec::new();
    for source in sources.iter().filter(|source| !allowed(source)) {
        for at in words(&source.code, "glommio") {
            let says = "glommio is named in shard/wait.rs, server and bench only".to_owned();
            offences.push(offence(source, source.line_of(at), says));
        }
    }
    offences
}

/// What a pure module may not reach for, with what it gets instead.
const IMPURE: [(&str, &str); 15] = [
    ("std::net", "sockets belong to `shard`; addresses, which are data, are in `core::net`"),
    ("std::os", "descriptors belong to `ring` and `sys`"),
    ("std::fs", "files belong to `server` and `cli`"),
    ("std::thread", "threads belong to `server`"),
    ("std::env", "the environment belongs to `cli`"),
    ("std::process", "processes belong to `server` and `cli`"),
    ("std::io::std", "terminals belong to `cli`"),
    ("Instant::now", "time is an argument"),
    ("SystemTime", "time is an argument"),
    ("libc", "system calls belong to `sys`"),
    ("rustix", "system calls belong to `sys`"),
    ("socket2", "sockets belong to `sys`"),
    ("io_uring", "the ring belongs to `ring`"),
    ("getrandom", "randomness is an argument: pass a seed"),
    ("RandomState::new", "randomness is an argument: take the hasher from the caller"),
];

fn is_pure(source: &Source) -> bool {
    let pure = [
        "address", "filter", "token", "backend", "handover", "ws", "protocol", "session", "hub",
        "metrics",
    ];
    pure.contains(&source.module())
        || source.path.starts_with("src/shard/core")
        || ["src/shard/slab.rs", "src/shard/wheel.rs"].contains(&source.path.as_str())
}

fn purity(sources: &[Source]) -> Vec<Offence> {
    let mut offences = Vec::new();
    for source in sources.iter().filter(|source| is_pure(source)) {
        let flat = flat_uses(&source.code);
        for (what, instead) in IMPURE {
            for &(line, ref code) in &flat {
                if names_path(code, what) {
                    let says = format!("pure code may not name `{what}`: {instead}");
                    offences.push(offence(source, line, says));
                }
            }
        }
    }
    offences.sort();
    offences.dedup();
    offences
}

/// The code by line, with each `use` of a group written out, so that `use std::{fs, net::TcpStream}`
/// reads as `std::fs` and `std::net::TcpStream`. Tests are left out: a test has threads and seeds.
fn flat_uses(code: &str) -> Vec<(usize, String)> {
    let end = code.find("#[cfg(test)]").unwrap_or(code.len());
    let mut flat = Vec::new();
    for (index, line) in code[..end].lines().enumerate() {
        flat.push((index + 1, line.to_owned()));
    }
    for at in words(&code[..end], "use") {
        let Some(length) = code[at..].find(';') else { continue };
        let line = code[..at].matches('\n').count() + 1;
        let mut paths = Vec::new();
        let tree: String = code[at + 3..at + length].split_whitespace().collect();
        expand(&tree, "", &mut paths);
        flat.extend(paths.into_iter().map(|path| (line, path)));
    }
    flat
}

fn expand(tree: &str, prefix: &str, paths: &mut Vec<String>) {
    let Some(open) = tree.find('{') else {
        paths.push(format!("{prefix}{tree}"));
        return;
    };
    let prefix = format!("{prefix}{}", &tree[..open]);
    let (mut depth, mut start) = (0, open + 1);
    for (at, c) in tree.char_indices().skip_while(|&(at, _)| at <= open) {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                expand(&tree[start..at], &prefix, paths);
                start = at + 1;
            }
            _ => {}
        }
    }
}

fn names_path(code: &str, what: &str) -> bool {
    code.match_indices(what).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let after = code[at + what.len()..].chars().next();
        // `std::io::std` is the beginning of a name, the others are whole ones.
        let open = what.ends_with("::std");
        let name = |c: char| c.is_alphanumeric() || c == '_';
        !before.is_some_and(name) && (open || !after.is_some_and(name))
    })
}

fn pure_modules_forbid_unsafe(sources: &[Source]) -> Vec<Offence> {
    let mut offences = Vec::new();
    for source in sources.iter().filter(|source| is_pure(source)) {
        let covered = sources.iter().any(|other| {
            other.code.contains("#![forbid(unsafe_code)]")
                && (other.path == source.path
                    || other.path == format!("src/{}/mod.rs", source.module()))
        });
        if !covered {
            let says = "a pure module starts with #![forbid(unsafe_code)]".to_owned();
            offences.push(offence(source, 1, says));
        }
    }
    offences
}

fn columns(sources: &[Source]) -> Vec<Offence> {
    let mut offences = Vec::new();
    for source in sources {
        for (index, line) in source.text.lines().enumerate() {
            if line.chars().count() > COLUMNS_MAX {
                let says = format!("longer than {COLUMNS_MAX} columns");
                offences.push(offence(source, index + 1, says));
            }
        }
    }
    offences
}

const COLUMNS_MAX: usize = 100;

fn markers(sources: &[Source]) -> Vec<Offence> {
    let mut offences = Vec::new();
    for source in sources {
        for marker in ["FIXME", "XXX", "TODO", "HACK"] {
            for at in words(&source.text, marker) {
                let line = source.text[..at].matches('\n').count() + 1;
                offences.push(offence(source, line, format!("{marker}: do it, or open an issue")));
            }
        }
        for mark in ["todo", "unimplemented"] {
            for at in words(&source.code, mark) {
                if source.code[at + mark.len()..].starts_with('!') {
                    let line = source.line_of(at);
                    offences.push(offence(source, line, format!("{mark}!: nothing is a stub")));
                }
            }
        }
    }
    offences
}

fn names(sources: &[Source]) -> Vec<Offence> {
    const BANNED: [&str; 8] =
        ["utils", "util", "common", "helpers", "helper", "manager", "misc", "shared"];
    let mut offences = Vec::new();
    for source in sources {
        let stems = source.path.trim_end_matches(".rs").split('/');
        for stem in stems.filter(|stem| BANNED.contains(stem)) {
            let says = format!("`{stem}` says nothing: name the noun that the module is about");
            offences.push(offence(source, 1, says));
        }
    }
    offences
}

fn dead_files(sources: &[Source]) -> Vec<Offence> {
    let by_path: BTreeMap<&str, &Source> =
        sources.iter().map(|source| (source.path.as_str(), source)).collect();
    let mut reached = BTreeSet::new();
    let mut open = vec!["src/lib.rs".to_owned(), "src/main.rs".to_owned()];
    while let Some(path) = open.pop() {
        let Some(source) = by_path.get(path.as_str()) else { continue };
        if !reached.insert(path.clone()) {
            continue;
        }
        let folder = match path.rsplit_once('/') {
            Some((folder, "lib.rs" | "main.rs" | "mod.rs")) => folder.to_owned(),
            _ => path.trim_end_matches(".rs").to_owned(),
        };
        for name in modules_declared(&source.code) {
            open.push(format!("{folder}/{name}.rs"));
            open.push(format!("{folder}/{name}/mod.rs"));
        }
        for target in paths_given(&source.text) {
            open.push(format!("{}/{target}", path.rsplit_once('/').map_or("", |split| split.0)));
        }
    }
    let dead = sources.iter().filter(|source| !reached.contains(&source.path));
    dead.map(|source| offence(source, 1, "no `mod` leads here: delete it".to_owned())).collect()
}

fn modules_declared(code: &str) -> Vec<String> {
    let mut declared = Vec::new();
    for at in words(code, "mod") {
        let rest = code[at + 3..].trim_start();
        let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '#'));
        let (name, rest) = rest.split_at(end.unwrap_or(rest.len()));
        if rest.trim_start().starts_with(';') {
            declared.push(name.trim_start_matches("r#").to_owned());
        }
    }
    declared
}

fn paths_given(text: &str) -> Vec<&str> {
    let given = text.match_indices("#[path = \"").filter_map(|(at, mark)| {
        let rest = &text[at + mark.len()..];
        rest.find('"').map(|end| &rest[..end])
    });
    given.collect()
}

fn function_length(sources: &[Source]) -> Vec<Offence> {
    let mut offences = Vec::new();
    for source in sources {
        for (line, length) in source.functions() {
            if length > FUNCTION_LINES_MAX {
                let says = format!("{length} lines, at most {FUNCTION_LINES_MAX}: split by noun");
                offences.push(offence(source, line, says));
            }
        }
    }
    offences
}

const FUNCTION_LINES_MAX: usize = 70;

fn module_docs(sources: &[Source]) -> Vec<Offence> {
    let without = sources.iter().filter(|source| !source.text.starts_with("//!"));
    without
        .map(|source| {
            let says = "starts with `//!`: what it turns into what, and the invariant".to_owned();
            offence(source, 1, says)
        })
        .collect()
}

fn offence(source: &Source, line: usize, says: String) -> Offence {
    Offence { path: source.path.clone(), line, says }
}
