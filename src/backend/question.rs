//! What is asked.

use serde::{Deserialize, Serialize};

use crate::token::Purpose;

/// Something that only the control thread can answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Question {
    /// What a back end says.
    Call(Box<Call>),
    /// To make a publication once, or only if it is news.
    Publish(Box<PublishOnce>),
    /// Whether this token is signed by one of the public keys for its purpose.
    Token {
        /// What it is for.
        purpose: Purpose,
        /// The token.
        token: String,
    },
}

/// One call of a back end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// The name of the [`Proxy`](super::Proxy) that is called.
    pub proxy: String,
    /// The client that it is about.
    pub caller: Caller,
    /// What happens.
    pub event: Event,
}

/// A publication that is made once for its key, and only if it is news.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishOnce {
    /// Where.
    pub channel: String,
    /// The message for the channel's members.
    #[serde(with = "super::bytes")]
    pub message: Vec<u8>,
    /// It is Protobuf, and else JSON.
    pub is_binary: bool,
    /// If it is kept: beside how many, for how many seconds, and the position for how many.
    pub kept: Option<[u32; 3]>,
    /// Deltas are made of it.
    pub makes_delta: bool,
    /// Which state of something it is: a number in an epoch.
    pub version: Option<(u64, String)>,
    /// It is made once for this; empty for none.
    pub key: String,
}

/// A client, as back ends are told of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caller {
    /// Its id.
    pub client: String,
    /// Its user, empty if it is nobody's.
    pub user: String,
    /// How it is connected: `websocket`, `http_stream`, `sse`.
    pub transport: String,
    /// What it speaks: `json`, `protobuf`.
    pub protocol: String,
    /// What its token, or a back end, has said of it for back ends only; empty for nothing.
    #[serde(with = "super::bytes")]
    pub meta: Vec<u8>,
    /// Headers of its upgrade request, by lower-case name.
    pub headers: Vec<(String, String)>,
    /// Those of its connect command.
    pub emulated_headers: Vec<(String, String)>,
}

/// What happens to a client, or what it wants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Event {
    /// It connects, and brings no token.
    Connect {
        /// What it has to say.
        #[serde(with = "super::bytes")]
        data: Vec<u8>,
        /// What kind of client it is.
        name: String,
        /// Its version.
        version: String,
        /// The channels that it was in.
        channels: Vec<String>,
    },
    /// Its connection expires.
    Refresh,
    /// Its subscription expires.
    SubRefresh {
        /// To this.
        channel: String,
    },
    /// It subscribes, and brings no token.
    Subscribe {
        /// To this.
        channel: String,
        /// What it has to say.
        #[serde(with = "super::bytes")]
        data: Vec<u8>,
    },
    /// It publishes.
    Publish {
        /// Where.
        channel: String,
        /// What: JSON if it speaks JSON, else any bytes.
        #[serde(with = "super::bytes")]
        data: Vec<u8>,
    },
    /// It calls a procedure.
    Rpc {
        /// Which.
        method: String,
        /// With this: JSON if it speaks JSON, else any bytes.
        #[serde(with = "super::bytes")]
        data: Vec<u8>,
    },
}

impl Question {
    /// Its form on the way to the control thread.
    pub fn encode(&self) -> Box<[u8]> {
        serde_json::to_vec(self).expect("plain data").into()
    }

    /// The question that these bytes are; `None` if they are none.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }
}

impl Event {
    /// Its name in metrics and logs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Connect { .. } => "connect",
            Self::Refresh => "refresh",
            Self::SubRefresh { .. } => "sub_refresh",
            Self::Subscribe { .. } => "subscribe",
            Self::Publish { .. } => "publish",
            Self::Rpc { .. } => "rpc",
        }
    }
}
