//! `http_api`: the API for back ends.

use std::path::PathBuf;

use crate::config::section::section;
use crate::config::setting::{Secret, words};

section! {
    /// The API for back ends.
    pub struct HttpApi in "http_api." {
        /// What a back end authenticates itself with. Without it, every request is refused.
        key: Secret = Secret::default();
        /// A file with the key in it, in place of `http_api.key`.
        key_file: PathBuf = PathBuf::new();
        /// Whether the API is open to everybody but pages of other hosts. For development.
        insecure: bool = false;
        /// How errors are told: body for status 200 and the error in the answer, transport for a
        /// status that fits.
        error_mode: ErrorMode = ErrorMode::Body;
    }
}

/// How the API tells errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorMode {
    /// Status 200, and the error in the body.
    Body,
    /// A status that fits the error.
    Transport,
}

words!(ErrorMode { "body" => Body, "transport" => Transport });
