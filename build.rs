//! Tells the binary which commit it was made of, for `longwire --version`.
//!
//! `LONGWIRE_COMMIT` in the environment of the build wins, for builds without the repository.
//! Debug builds do not ask git: they would be compiled anew after every commit.

use std::env;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=LONGWIRE_COMMIT");
    let is_release = env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let commit = env::var("LONGWIRE_COMMIT").ok().or_else(|| is_release.then(from_git).flatten());
    let unknown = if is_release { "unknown commit" } else { "debug build" };
    // Under another name: cargo run hands it on, and LONGWIRE_* is the server's configuration.
    println!("cargo::rustc-env=BUILD_COMMIT={}", commit.as_deref().unwrap_or(unknown));
}

/// The commit that is checked out; nothing without git or its repository.
fn from_git() -> Option<String> {
    for file in ["HEAD", "logs/HEAD"] {
        // The log of HEAD grows with each commit, also where HEAD only names a branch.
        println!("cargo::rerun-if-changed={}", git(&["rev-parse", "--git-path", file])?);
    }
    git(&["rev-parse", "--short=12", "HEAD"])
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let line = text.trim();
    (output.status.success() && !line.is_empty()).then(|| line.to_owned())
}
