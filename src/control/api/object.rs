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

/// What was given.
#[derive(Clone, Debug)]
pub(super) struct Value<'a> {
    pub(super) bytes: Cow<'a, [u8]>,
    /// What is given in base64 need not be.
    pub(super) is_json: bool,
}

impl<'a> Given<'a> {
    /// The value, if there is one.
    pub(super) fn value(self) -> Result<Option<Value<'a>>, ApiError> {
        let Some(base64) = self.base64.filter(|base64| !base64.is_empty()) else {
            let bytes = self.json.map(|json| Cow::Borrowed(json.get().as_bytes()));
            return Ok(bytes.map(|bytes| Value { bytes, is_json: true }));
        };
        let bytes = STANDARD.decode(base64).map_err(|_| self.refused("is not base64"))?;
        let is_json = serde_json::from_slice::<&RawValue>(&bytes).is_ok();
        Ok(Some(Value { bytes: Cow::Owned(bytes), is_json }))
    }

    /// The value to be kept, if it is one, and JSON: it is sent to clients within some.
    pub(super) fn owned(self) -> Result<Option<Box<RawValue>>, ApiError> {
        match self.value()? {
            Some(Value { is_json: false, .. }) => Err(self.refused("is not JSON")),
            Some(Value { bytes, .. }) if *bytes != *b"null" => {
                Ok(Some(serde_json::from_slice(&bytes).expect("it was read before")))
            }
            _ => Ok(None),
        }
    }

    fn refused(self, what: &str) -> ApiError {
        ApiError::new(Code::BadRequest, &format!("{} {what}", self.name))
    }
}
