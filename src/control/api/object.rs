//! A command's JSON: one object, whose fields are the command's.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::failure::{ApiError, Code, Failure};

/// The command that a body is.
pub(super) fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Failure> {
    // A list of its fields would be a command too, to the derived reader.
    if !body.trim_ascii_start().starts_with(b"{") {
        return Err(Failure::NoCommand("not an object".to_owned()));
    }
    Ok(serde_json::from_slice(body)?)
}

/// A JSON value that a command gives as it is, or in base64, which then counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Given<'a> {
    /// What the field in base64 is called, for who has to mend it.
    pub(super) name: &'static str,
    pub(super) json: Option<&'a RawValue>,
    pub(super) base64: Option<&'a str>,
}

impl<'a> Given<'a> {
    /// The value; `None` if there is none. It is sent to clients within JSON, and has to be some.
    pub(super) fn value(self) -> Result<Option<Cow<'a, [u8]>>, ApiError> {
        let Some(base64) = self.base64.filter(|base64| !base64.is_empty()) else {
            return Ok(self.json.map(|json| Cow::Borrowed(json.get().as_bytes())));
        };
        let refused =
            |what: &str| ApiError::new(Code::BadRequest, &format!("{} {what}", self.name));
        let bytes = STANDARD.decode(base64).map_err(|_| refused("is not base64"))?;
        if serde_json::from_slice::<&RawValue>(&bytes).is_err() {
            return Err(refused("is not JSON"));
        }
        Ok(Some(Cow::Owned(bytes)))
    }

    /// The same to be kept.
    pub(super) fn owned(self) -> Result<Option<Box<RawValue>>, ApiError> {
        let value = self.value()?.filter(|value| **value != *b"null");
        Ok(value.map(|value| serde_json::from_slice(&value).expect("it was read before")))
    }
}
