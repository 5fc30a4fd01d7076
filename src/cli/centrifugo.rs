//! `longwire check --centrifugo`: a configuration of Centrifugo as one of longwire.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use longwire::config::centrifugo::{Translation, translate};
use longwire::config::{Format, Raw};

use super::load::checked;
use super::{failure, print};

/// Something that matters was left out.
const LEFT_OUT: u8 = 3;

/// Writes the configuration, and says what is not in it.
pub(crate) fn check(path: &Path) -> ExitCode {
    let shown = path.display();
    let Some(format) = path.to_str().and_then(Format::of) else {
        return failure(&format_args!("{shown}: its name must end with .json, .yaml or .toml"));
    };
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => return failure(&format_args!("{shown}: {error}")),
    };
    let translation = match translate(format, &text) {
        Ok(translation) => translation,
        Err(error) => return failure(&format_args!("{shown}:{}: {}", error.line, error.says)),
    };
    let config = translation.config();
    let written = print(&config);
    if written != ExitCode::SUCCESS {
        return written;
    }
    report(&shown.to_string(), &translation);
    let mut raw = Raw::new();
    raw.lay_file("the configuration above", Format::Toml, &config);
    match checked(raw) {
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(LEFT_OUT)
        }
        Ok(_) if translation.is_whole() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(LEFT_OUT),
    }
}

/// What is not in it: first what matters.
fn report(file: &str, translation: &Translation) {
    let (matter, idle): (Vec<_>, Vec<_>) =
        translation.notes().iter().partition(|note| note.matters());
    for note in matter.iter().chain(&idle) {
        eprintln!("{file}:{note}");
    }
    let count = matter.len();
    if count > 0 {
        eprintln!("{count} keys that matter were left out: read what they mean before you move");
    } else {
        eprintln!("nothing that matters was left out");
    }
}
