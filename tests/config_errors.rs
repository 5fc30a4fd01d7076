//! What a wrong configuration is answered with: `longwire check` over each case of
//! `tests/config_errors`, compared with the file beside it.
//!
//! A case is a configuration file, or the arguments of one command line (`.args`, one a line), or
//! the variables of one environment (`.env`). After a change that is meant, `BLESS=1 cargo test
//! --test config_errors` writes the files anew, and the difference is looked at.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config_errors")
}

/// What the command says, and that it fails as it should.
fn answer(case: &Path) -> String {
    let name = case.file_name().unwrap().to_str().unwrap();
    let lines = || fs::read_to_string(case).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_longwire"));
    command.arg("check").env_clear().current_dir(folder());
    match case.extension().unwrap().to_str().unwrap() {
        "args" => {
            command.args(lines().lines());
        }
        "env" => {
            command.envs(lines().lines().map(|line| line.split_once('=').expect("NAME=value")));
        }
        _ => {
            command.args(["--config", name]);
        }
    }
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{name} is refused");
    assert!(output.stdout.is_empty(), "{name}: errors belong to standard error");
    String::from_utf8(output.stderr).unwrap()
}

fn cases() -> BTreeSet<PathBuf> {
    let entries = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.extension().unwrap() != "expected").collect()
}

#[test]
fn each_error_names_its_place_and_what_mends_it() {
    let mut wrong = Vec::new();
    let cases = cases();
    assert!(cases.len() > 20, "the cases were found");
    for case in cases {
        let expected = case.with_extension("expected");
        let answer = answer(&case);
        assert!(answer.contains("\nmend: "), "{}: {answer}", case.display());
        assert!(!answer.contains("hush"), "a secret is shown: {answer}");
        if std::env::var_os("BLESS").is_some() {
            fs::write(&expected, &answer).unwrap();
        }
        if fs::read_to_string(&expected).ok().as_ref() != Some(&answer) {
            wrong.push(format!("{}:\n{answer}", case.display()));
        }
    }
    assert!(wrong.is_empty(), "other than expected:\n\n{}", wrong.join("\n"));
}

#[test]
fn every_expected_answer_has_its_case() {
    let stems: BTreeSet<_> = cases().iter().map(|case| case.with_extension("")).collect();
    for entry in fs::read_dir(folder()).unwrap() {
        let stem = entry.unwrap().path().with_extension("");
        assert!(stems.contains(&stem), "{} is left over", stem.display());
    }
    assert_eq!(stems.len(), cases().len(), "two cases would share an answer");
}

#[test]
fn the_default_configuration_passes_the_check_in_every_format() {
    let folder = std::env::temp_dir().join(format!("longwire-defaults-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    for format in ["toml", "json", "yaml"] {
        let longwire = || {
            let mut command = Command::new(env!("CARGO_BIN_EXE_longwire"));
            command.env_clear();
            command
        };
        let written = longwire().args(["default-config", "--format", format]).output().unwrap();
        assert!(written.status.success());
        let path = folder.join(format!("longwire.{format}"));
        fs::write(&path, &written.stdout).unwrap();
        let checked = longwire().args(["check", "--config"]).arg(&path).output().unwrap();
        assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    }
    fs::remove_dir_all(&folder).unwrap();
}
