//! A command's JSON: one object, whose fields are the command's.

use serde::Deserialize;

use super::failure::Failure;

/// The command that a body is.
pub(super) fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Failure> {
    // A list of its fields would be a command too, to the derived reader.
    if !body.trim_ascii_start().starts_with(b"{") {
        return Err(Failure::NoCommand("not an object".to_owned()));
    }
    Ok(serde_json::from_slice(body)?)
}
