//! The back ends that there are, and how they are called.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::limits::BACKEND_TIMEOUT_DEFAULT;

/// All back ends, by the names that questions call them by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxies(pub BTreeMap<String, Proxy>);

/// How one kind of question reaches a back end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// Where: the first is asked, and the next if that fails.
    pub endpoints: Vec<String>,
    /// Time for an answer, all tries together.
    pub timeout: Duration,
    /// Headers that every call has.
    pub static_headers: Vec<(String, String)>,
    /// What clients send goes as base64, and may be any bytes.
    pub is_binary: bool,
}

impl Default for Proxy {
    fn default() -> Self {
        Self {
            endpoints: Vec::new(),
            timeout: BACKEND_TIMEOUT_DEFAULT,
            static_headers: Vec::new(),
            is_binary: false,
        }
    }
}
