//! A server that is replaced by another build of it, and by the first build again.
//!
//! Setup: this crate built once more, as the release after the next: another version, no debug
//! assertions, a binary of another name, from a folder with links to the sources, and with the
//! dependencies that are built already. Claims: sessions, streams and requests go on from build
//! to build, upwards and downwards.

#[path = "support/session.rs"]
mod session;
#[path = "support/successors.rs"]
mod successors;

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use session::Client;
use successors::Succession;

const LONGWIRE: &str = env!("CARGO_BIN_EXE_longwire");
const VERSION: &str = env!("CARGO_PKG_VERSION");
const OTHER_VERSION: &str = "99.0.0";

/// The other build's binary, which lies beside ours.
fn other_build() -> PathBuf {
    let beside = Path::new(LONGWIRE).parent().unwrap();
    let target = beside.parent().unwrap();
    // Always the same, so that what was built once is built again only when it has changed.
    let folder = target.join("other-build");
    lay_out(&folder);
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["test", "--no-run", "--offline", "--test", "none"]).current_dir(folder);
    if beside.ends_with("release") {
        cargo.arg("--release");
    }
    let built = cargo.env("CARGO_TARGET_DIR", target).output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    beside.join("longwire-other")
}

/// A crate that differs in its manifest only.
fn lay_out(folder: &Path) {
    let ours = Path::new(env!("CARGO_MANIFEST_DIR"));
    // With a test there are the same dependencies as those of the build that runs this one.
    std::fs::create_dir_all(folder.join("tests")).unwrap();
    std::fs::write(folder.join("tests/none.rs"), "").unwrap();
    for name in ["src", "benches", "build.rs", "README.md"] {
        let link = folder.join(name);
        if std::fs::read_link(&link).ok() != Some(ours.join(name)) {
            let _elsewhere = std::fs::remove_file(&link);
            symlink(ours.join(name), link).unwrap();
        }
    }
    // Cargo notes the other version in its own copy.
    std::fs::copy(ours.join("Cargo.lock"), folder.join("Cargo.lock")).unwrap();
    let manifest = std::fs::read_to_string(ours.join("Cargo.toml")).unwrap();
    std::fs::write(folder.join("Cargo.toml"), other_manifest(&manifest)).unwrap();
}

fn other_manifest(ours: &str) -> String {
    let mut other = ours.to_owned();
    for (from, to) in [
        (format!("version = \"{VERSION}\""), format!("version = \"{OTHER_VERSION}\"")),
        ("default-run = \"longwire\"\n".to_owned(), String::new()),
        (
            "[[bin]]\nname = \"longwire\"".to_owned(),
            "[[bin]]\nname = \"longwire-other\"".to_owned(),
        ),
    ] {
        assert_eq!(other.matches(&from).count(), 1, "{from}");
        other = other.replace(&from, &to);
    }
    other + "\n[profile.dev.package.longwire]\ndebug = false\ndebug-assertions = false\n"
}

const KEPT: &str = "[client]\ninsecure = true\n[channel.without_namespace]\nhistory_size = 10\n\
                    history_ttl = \"10m\"\nforce_recovery = true\npresence = true\n";

#[test]
fn sessions_go_on_in_another_build_and_come_back() {
    let other = other_build();
    let mut server = Succession::start(2, KEPT);
    let mut clients: Vec<Client> = (0..9).map(|_| Client::connect(server.address)).collect();
    for client in &mut clients {
        assert_eq!(client.recoverable("all"), 0);
    }
    let builds = [(other.as_path(), OTHER_VERSION), (Path::new(LONGWIRE), VERSION)];
    let rounds = builds.into_iter().cycle().zip([3, 2, 1, 2]);
    for (offset, ((binary, version), shards)) in (1..).zip(rounds) {
        server.next_is(binary);
        let said = server.upgrade_to(shards);
        assert!(said.contains(&format!("the new process is ready: {version}, ")), "{said}");
        assert_eq!(server.publish("all", &offset.to_string())["offset"], json!(offset));
        for client in &mut clients {
            let line = client.line();
            let heard = &line["push"]["pub"];
            let place = [&heard["data"], &heard["offset"]];
            assert_eq!(place, [&json!(offset), &json!(offset)], "{line} of {version}");
        }
        let mut late = Client::connect(server.address);
        assert_eq!(late.recoverable("all"), offset);
        clients.push(late);
        let stats = server.api("presence_stats", r#"{"channel":"all"}"#);
        assert_eq!(stats["num_clients"], json!(clients.len()));
    }
    drop(clients);
    server.stop();
}
