//! What is answered.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::token::{Fingerprint, TokenError};

/// What a question comes to, if it was answered at all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Verdict {
    /// To a publish: it may be made, perhaps in other words.
    Publish(PublishResult),
    /// To a procedure: what it returns.
    Rpc(RpcResult),
    /// The client is answered with an error.
    Fault(Fault),
    /// The client is disconnected.
    Disconnect(Disconnect),
    /// To a token: whether its signature is right.
    Token(TokenVerdict),
}

/// What is known of a token's signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenVerdict {
    /// The token that is signed, or what is wrong.
    pub result: Result<Fingerprint, TokenError>,
    /// It did not have to be checked: somebody has brought it before.
    pub was_known: bool,
}

impl Verdict {
    /// Its form on the way back to the session.
    pub fn encode(&self) -> Box<[u8]> {
        serde_json::to_vec(self).expect("plain data").into()
    }

    /// The verdict that these bytes are; `None` if they are none.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }
}

/// How a publication is made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishResult {
    /// What is published in the place of what the client sent; empty for the same.
    #[serde(with = "super::bytes")]
    pub data: Vec<u8>,
    /// It is not kept, whatever the channel's options say.
    pub skips_history: bool,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
}

/// What a procedure returns.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RpcResult {
    /// JSON, or any bytes.
    #[serde(with = "super::bytes")]
    pub data: Vec<u8>,
}

/// An error in the words of a back end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Fault {
    /// What the client goes by: from 400 on the application's own.
    pub code: u32,
    /// What a person goes by.
    pub message: String,
    /// Whether the same may succeed later.
    pub temporary: bool,
}

/// The end of a connection in the words of a back end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Disconnect {
    /// What the client goes by.
    pub code: u32,
    /// What a person goes by.
    pub reason: String,
}

/// Why there is no verdict. The client is told 100, which is temporary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unanswered {
    /// Too much is asked at once, or the way to the control thread is full.
    Busy,
    /// The back end did not answer in time, or not so that it could be understood.
    Failed,
}
