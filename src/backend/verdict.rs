//! What is answered.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::token::{Fingerprint, Overrides, TokenError};

/// What a question comes to, if it was answered at all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Verdict {
    /// To a connect: who the client is; `None` if it is nobody.
    Connect(Option<Box<ConnectResult>>),
    /// To a connection that expires: how it goes on; `None` if it does not.
    Refresh(Option<RefreshResult>),
    /// To a subscription that expires: the same, without `meta`.
    SubRefresh(Option<RefreshResult>),
    /// To a subscribe: the client may, as this.
    Subscribe(SubscribeResult),
    /// To a publish: it may be made, perhaps in other words.
    Publish(PublishResult),
    /// To a publication that was to be made once: it is made.
    Published,
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

/// Who a client is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectResult {
    /// The user; empty for nobody.
    pub user: String,
    /// When the connection expires, in seconds since the Unix epoch; 0 is never.
    pub expire_at: u64,
    /// What others are shown of it; empty for nothing.
    #[serde(with = "super::bytes")]
    pub info: Vec<u8>,
    /// What the client is told; empty for nothing.
    #[serde(with = "super::bytes")]
    pub data: Vec<u8>,
    /// What back ends are told of it, and nobody else; empty for nothing.
    #[serde(with = "super::bytes")]
    pub meta: Vec<u8>,
    /// The channels that it is put into.
    pub subs: BTreeMap<String, SubscribeResult>,
}

/// How a connection goes on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefreshResult {
    /// When it expires next, in seconds since the Unix epoch; 0 is never.
    pub expire_at: u64,
    /// What others are shown of it from now on; `None` for the same as before.
    pub info: Option<Vec<u8>>,
    /// What back ends are told of it; `None` for the same.
    pub meta: Option<Vec<u8>>,
}

/// What a client is in a channel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubscribeResult {
    /// When the subscription expires, in seconds since the Unix epoch; 0 is never.
    pub expire_at: u64,
    /// What others are shown of it there; empty for nothing.
    #[serde(with = "super::bytes")]
    pub info: Vec<u8>,
    /// What the client is told; empty for nothing.
    #[serde(with = "super::bytes")]
    pub data: Vec<u8>,
    /// Options that are others there.
    pub overrides: Overrides,
    /// As it connects it is sent the latest publication, where that is what recovering brings.
    pub recovers_cache: bool,
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
    /// Deltas are made of it.
    pub makes_delta: bool,
    /// It is made once for this key; empty for none.
    pub key: String,
    /// Which state of something it is, 0 for none: one that is no newer is not made.
    pub version: u64,
    /// What versions count in.
    pub version_epoch: String,
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
