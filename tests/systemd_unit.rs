//! The shipped unit is one that systemd understands, and its commands are ones that longwire does.
//!
//! Setup: the unit as it is, but with the binary under test in the place of the installed one.

use std::path::Path;
use std::process::Command;

const UNIT: &str = include_str!("../tuning/host/longwire.service");
const INSTALLED: &str = "/usr/local/bin/longwire";
const LONGWIRE: &str = env!("CARGO_BIN_EXE_longwire");

/// What follows a key, its continued lines included.
fn value_of(key: &str) -> String {
    let unit = UNIT.replace("\\\n", " ");
    let line = unit.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    line.unwrap_or_else(|| panic!("the unit has {key}")).to_owned()
}

#[test]
fn systemd_finds_nothing_wrong_with_the_unit() {
    let folder = std::env::temp_dir().join(format!("longwire-unit-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let path = folder.join("longwire.service");
    std::fs::write(&path, UNIT.replace(INSTALLED, LONGWIRE)).expect("written");
    let verified =
        Command::new("systemd-analyze").arg("verify").arg("--man=no").arg(&path).output();
    let verified = verified.expect("systemd-analyze is there: apt-get install systemd");
    std::fs::remove_dir_all(&folder).expect("removed");
    let said = String::from_utf8_lossy(&verified.stderr);
    let of_ours: Vec<_> = said.lines().filter(|line| line.contains("longwire.service")).collect();
    assert!(verified.status.success() && of_ours.is_empty(), "{said}");
}

#[test]
fn the_commands_of_the_unit_are_understood() {
    for key in ["ExecStart", "ExecReload"] {
        let line = value_of(key);
        let mut words = line.split_whitespace();
        assert_eq!(words.next(), Some(INSTALLED), "{key}");
        let name = words.next().expect("a command of longwire's");
        let help = Command::new(LONGWIRE).args([name, "--help"]).output().expect("it runs");
        assert!(help.status.success(), "{key}: no command {name}");
        let help = String::from_utf8(help.stdout).expect("text");
        let flags: Vec<_> = words.filter(|word| word.starts_with("--")).collect();
        assert!(!flags.is_empty(), "{key} names its files");
        for flag in flags {
            assert!(help.contains(&format!("{flag} <")), "{key}: no {flag} in\n{help}");
        }
    }
}

/// systemd hears of a process that takes over only if it listens to more than the main one, and
/// whoever asks for a reload reaches the server only where it listens.
#[test]
fn a_reload_is_an_upgrade_that_systemd_hears_of() {
    assert_eq!((&*value_of("Type"), &*value_of("NotifyAccess")), ("notify", "all"));
    let socket = |key, flag: &str| {
        let line = value_of(key);
        let socket = line.split_whitespace().skip_while(|word| *word != flag).nth(1);
        socket.expect(flag).to_owned()
    };
    let path = socket("ExecReload", "--socket");
    assert_eq!(socket("ExecStart", "--upgrade-socket"), path);
    let folder = Path::new("/run").join(value_of("RuntimeDirectory"));
    assert_eq!(Path::new(&path).parent(), Some(&*folder));
}
