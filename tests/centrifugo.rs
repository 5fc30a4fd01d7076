//! What `longwire check --centrifugo` makes of configurations of Centrifugo 6.
//!
//! Setup: the files of `tests/centrifugo`, each with what is to be said of it beside it, but one
//! that has every key and changes with every key that longwire gets. Claims: no key is dropped in
//! silence; what is written is valid; the exit code tells whether anything that matters was left
//! out. After a change that is meant, `BLESS=1 cargo test --test centrifugo` writes the files anew.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use longwire::config::{Entry, Format, Value};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/centrifugo")
}

fn longwire(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_longwire"));
    command.arg("check").args(arguments).env_clear().current_dir(folder());
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// The configuration that is written for a file, what is said, and the exit code.
fn translated(name: &str) -> (String, String, i32) {
    let output = longwire(&["--centrifugo", name]);
    let code = output.status.code().unwrap();
    (text(&output.stdout).to_owned(), text(&output.stderr).to_owned(), code)
}

fn assert_valid(name: &str, config: &str) {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("centrifugo-{name}.toml"));
    fs::write(&path, config).unwrap();
    let output = longwire(&["--config", path.to_str().unwrap()]);
    assert!(output.status.success(), "{name}: {}\n{config}", text(&output.stderr));
}

/// All keys of a file, those of namespaces by their names there.
fn keys(format: Format, text: &str) -> Vec<Entry> {
    let entries = format.entries(text).unwrap();
    entries.into_iter().filter(|entry| entry.value != Value::Table).collect()
}

#[test]
fn each_file_becomes_what_stands_beside_it() {
    for (name, code) in
        [("chat.json", 0), ("small.toml", 0), ("back_ends.json", 0), ("cluster.yaml", 3)]
    {
        let (config, said, exit) = translated(name);
        assert_eq!(exit, code, "{name}: {said}");
        assert_valid(name, &config);
        let answer = format!("{config}--- standard error\n{said}");
        let expected = folder().join(format!("{name}.expected"));
        if std::env::var_os("BLESS").is_some() {
            fs::write(&expected, &answer).unwrap();
        }
        assert_eq!(fs::read_to_string(&expected).unwrap_or_default(), answer, "{name}");
    }
}

#[test]
fn no_key_is_dropped_in_silence() {
    for name in ["everything.yaml", "chat.json", "small.toml", "back_ends.json", "cluster.yaml"] {
        let (config, said, _) = translated(name);
        let format = Format::of(name).unwrap();
        let written: BTreeSet<String> =
            keys(Format::Toml, &config).into_iter().map(|entry| entry.path).collect();
        let file = fs::read_to_string(folder().join(name)).unwrap();
        for Entry { path, .. } in keys(format, &file) {
            let is_named = said.contains(&format!(": {path}: "));
            assert!(is_named || written.contains(&path), "{name}: nothing is said of {path}");
        }
    }
}

/// The default configuration of Centrifugo asks for nothing that longwire does not have.
#[test]
fn every_key_at_rest_is_known_and_costs_nothing() {
    let (config, said, code) = translated("everything.yaml");
    assert_eq!(code, 0, "{said}");
    assert!(!said.contains("UNKNOWN") && !said.contains("NOT "), "{said}");
    assert_valid("everything.yaml", &config);
    // What is open to everybody there, for it is not served there, is not opened here.
    assert!(!config.contains("internal_"), "{config}");
}

#[test]
fn what_cannot_be_read_is_an_error_of_its_own() {
    for (name, expected) in [("none.json", "No such file"), ("README", "its name must end with")] {
        let (config, said, code) = translated(name);
        assert_eq!((&*config, code), ("", 1), "{said}");
        assert!(said.contains(expected), "{said}");
    }
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("broken.json");
    fs::write(&path, "{\n\"client\": {\n").unwrap();
    let output = longwire(&["--centrifugo", path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("broken.json:3: "), "{}", text(&output.stderr));
}
