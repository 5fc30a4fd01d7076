//! The back ends that there are, and how they are called.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Verdict;
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
    /// Headers of the client's upgrade request that are passed on, by their names.
    pub http_headers: Vec<String>,
    /// Those of its connect command.
    pub emulated_headers: Vec<String>,
    /// Headers that every call has.
    pub static_headers: Vec<(String, String)>,
    /// It is told what `meta` the connection has.
    pub has_meta: bool,
    /// What clients send goes as base64, and may be any bytes.
    pub is_binary: bool,
    /// What statuses other than 200 mean.
    pub statuses: BTreeMap<u16, Verdict>,
}

impl Default for Proxy {
    fn default() -> Self {
        Self {
            endpoints: Vec::new(),
            timeout: BACKEND_TIMEOUT_DEFAULT,
            http_headers: Vec::new(),
            emulated_headers: Vec::new(),
            static_headers: Vec::new(),
            has_meta: false,
            is_binary: false,
            statuses: BTreeMap::new(),
        }
    }
}
