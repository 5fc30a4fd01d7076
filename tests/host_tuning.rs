//! The scripts that tune a host.
//!
//! Setup: a copy of the kernel's settings in a folder, as a kernel has them by default. Claims:
//! `check.sh` names each setting that is too low and changes nothing; after `apply.sh` it has
//! nothing to say, whatever was low; `revert.sh` puts back every value, also after two runs of
//! `apply.sh`; a setting that this kernel does not have is no fault.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// What Linux 6.18 says on a machine with 24 GiB, and one setting that it does not have.
const DEFAULTS: [(&str, &str); 18] = [
    ("fs/file-max", "1000000"),
    ("fs/nr_open", "1048576"),
    ("net/core/somaxconn", "128"),
    ("net/ipv4/tcp_max_syn_backlog", "2048"),
    ("net/ipv4/tcp_syncookies", "0"),
    ("net/core/netdev_max_backlog", "1000"),
    ("net/ipv4/tcp_mem", "287901\t383868\t575802"),
    ("net/ipv4/tcp_rmem", "4096\t131072\t33554432"),
    ("net/ipv4/tcp_wmem", "4096\t16384\t4194304"),
    ("net/ipv4/tcp_max_orphans", "131072"),
    ("net/ipv4/tcp_max_tw_buckets", "131072"),
    ("net/ipv4/tcp_tw_reuse", "0"),
    ("net/ipv4/ip_local_port_range", "32768\t60999"),
    ("net/ipv4/ip_local_reserved_ports", ""),
    ("net/ipv4/tcp_slow_start_after_idle", "1"),
    ("net/ipv4/tcp_migrate_req", "0"),
    ("vm/max_map_count", "1000"),
    ("kernel/io_uring_disabled", "2"),
];

/// A host: its settings, and where the scripts keep theirs.
struct Host(PathBuf);

impl Host {
    fn new(name: &str) -> Self {
        let folder = format!("longwire-host-{}-{name}", std::process::id());
        let host = Self(std::env::temp_dir().join(folder));
        for (path, value) in DEFAULTS {
            let path = host.0.join("sys").join(path);
            fs::create_dir_all(path.parent().expect("a folder")).expect("it can be made");
            fs::write(path, format!("{value}\n")).expect("it can be written");
        }
        host
    }

    fn run(&self, script: &str, arguments: &[&str]) -> Output {
        Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("tuning/host").join(script))
            .args(arguments)
            .env("LONGWIRE_SYSCTL_ROOT", self.0.join("sys"))
            .env("LONGWIRE_SYSCTL_CONF", self.0.join("conf"))
            .env("LONGWIRE_SYSCTL_BEFORE", self.0.join("before"))
            .output()
            .expect("bash is there")
    }

    /// Runs it, and returns what it has said.
    #[track_caller]
    fn succeeds(&self, script: &str, arguments: &[&str]) -> String {
        let output = self.run(script, arguments);
        let text = String::from_utf8(output.stdout).expect("text");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{script} {arguments:?}: {text}{error}");
        text
    }

    fn set(&self, name: &str, value: &str) {
        let path = self.0.join("sys").join(name);
        fs::write(path, format!("{value}\n")).expect("it can be written");
    }

    fn value(&self, name: &str) -> String {
        let text = fs::read_to_string(self.0.join("sys").join(name)).expect("it is there");
        text.trim().to_owned()
    }

    fn settings(&self) -> BTreeMap<&'static str, String> {
        let read = |path: &str| fs::read_to_string(self.0.join("sys").join(path));
        let value = |path| {
            read(path).expect("it is there").split_whitespace().collect::<Vec<_>>().join(" ")
        };
        DEFAULTS.iter().map(|(path, _)| (*path, value(*path))).collect()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // What a test leaves in the folder for temporary files harms nobody.
        let _left = fs::remove_dir_all(&self.0);
    }
}

const PLAN: [&str; 4] = ["--connections", "1000000", "--ram", "24"];

#[test]
fn what_is_low_is_named_and_nothing_is_changed() {
    let host = Host::new("check");
    let before = host.settings();
    let output = host.run("check.sh", &PLAN);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).expect("text");
    // All but fs.nr_open of a plan for fewer; the firewall is not there.
    for (path, _) in DEFAULTS {
        let name = path.replace('/', ".");
        assert!(text.contains(&format!("low      {name} = ")), "{name} is missing in:\n{text}");
    }
    assert!(text.contains("absent   net.netfilter.nf_conntrack_max"), "{text}");
    assert_eq!(host.settings(), before);
    assert!(!host.0.join("conf").exists() && !host.0.join("before").exists());
}

#[test]
fn what_is_applied_passes_the_check_and_is_undone() {
    let host = Host::new("apply");
    let before = host.settings();
    host.succeeds("apply.sh", &PLAN);
    let text = host.succeeds("check.sh", &PLAN);
    assert!(!text.contains("low "), "{text}");
    let kept = fs::read_to_string(host.0.join("conf")).expect("for the next start");
    assert!(kept.contains("net.ipv4.tcp_slow_start_after_idle = 0\n"), "{kept}");
    // A second run, for more, must not take our own values for those before.
    host.succeeds("apply.sh", &["--connections", "2000000", "--ram", "48"]);
    host.succeeds("revert.sh", &[]);
    assert_eq!(host.settings(), before);
    assert!(!host.0.join("conf").exists(), "the next start would set them again");
    assert!(host.succeeds("revert.sh", &[]).contains("nothing to undo"));
}

#[test]
fn each_setting_that_is_lowered_again_is_named_alone() {
    let host = Host::new("each");
    host.succeeds("apply.sh", &PLAN);
    let good = host.settings();
    for (path, default) in DEFAULTS {
        let file = host.0.join("sys").join(path);
        fs::write(&file, default).expect("it can be written");
        let output = host.run("check.sh", &PLAN);
        let text = String::from_utf8(output.stdout).expect("text");
        let low: Vec<&str> = text.lines().filter(|line| line.starts_with("low")).collect();
        assert_eq!(low.len(), 1, "{path}: {text}");
        assert!(low[0].contains(&path.replace('/', ".")), "{text}");
        fs::write(&file, &good[path]).expect("it can be written");
    }
}

#[test]
fn more_than_the_memory_holds_is_said() {
    let host = Host::new("memory");
    let plan = ["--connections", "1000000", "--ram", "2"];
    host.succeeds("apply.sh", &plan);
    let output = host.run("check.sh", &plan);
    let text = String::from_utf8(output.stdout).expect("text");
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("low      memory: 1000000 connections need"), "{text}");
}

/// It is made when the kernel starts: nothing here can change it.
#[test]
fn a_small_table_of_connections_is_told_and_is_no_fault() {
    let host = Host::new("table");
    host.succeeds("apply.sh", &PLAN);
    let told = |places: &str| {
        let file = host.0.join("sys/net/ipv4/tcp_ehash_entries");
        fs::write(file, format!("{places}\n")).expect("it can be written");
        host.succeeds("check.sh", &PLAN)
    };
    assert!(told("512").contains("thash_entries="), "fewer places than connections");
    assert!(told("-512").contains("thash_entries="), "shared with another namespace");
    assert!(!told("16777216").contains("thash_entries="));
}

#[test]
fn a_wrong_argument_changes_nothing() {
    let host = Host::new("arguments");
    let before = host.settings();
    let ports = [["--ports", "8000,70000"], ["--ports", "8000,,9000"], ["--ports", "8000,x"]];
    let others = [&["--connections", "many"][..], &["--ram", "0"], &["--all"]];
    for arguments in others.into_iter().chain(ports.iter().map(|ports| &ports[..])) {
        assert_eq!(host.run("apply.sh", arguments).status.code(), Some(2), "{arguments:?}");
    }
    assert_eq!(host.settings(), before);
}

#[test]
fn ports_of_others_stay_reserved_beside_ours() {
    const RESERVED: &str = "net/ipv4/ip_local_reserved_ports";
    let host = Host::new("ports");
    host.set(RESERVED, "7000,7990-8010");
    host.succeeds("apply.sh", &PLAN);
    assert_eq!(host.value(RESERVED), "7000,7990-8010,9000");
    assert!(!host.succeeds("check.sh", &PLAN).contains("low "));
    let other = ["--ports", "8011", "--connections", "1000000", "--ram", "24"];
    assert_eq!(host.run("check.sh", &other).status.code(), Some(1));
    host.succeeds("revert.sh", &[]);
    assert_eq!(host.value(RESERVED), "7000,7990-8010");
}

#[test]
fn io_uring_that_is_left_to_one_group_stays_so() {
    const SWITCH: &str = "kernel/io_uring_disabled";
    let host = Host::new("ring");
    for (switch, group, expected) in [("1", "77", "1"), ("1", "-1", "0"), ("2", "77", "0")] {
        host.set(SWITCH, switch);
        host.set("kernel/io_uring_group", group);
        host.succeeds("apply.sh", &PLAN);
        assert_eq!(host.value(SWITCH), expected, "{switch}, group {group}");
    }
}

#[test]
fn memory_is_reckoned_as_the_doctor_does() {
    let knobs = Path::new(env!("CARGO_MANIFEST_DIR")).join("tuning/host/knobs.sh");
    let text = fs::read_to_string(knobs).expect("it is there");
    let bytes = longwire::limits::CONNECTION_KERNEL_BYTES;
    assert!(text.contains(&format!("\nreadonly KERNEL_BYTES_PER_CONNECTION={bytes}\n")), "{text}");
}
