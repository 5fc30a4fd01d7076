//! A back end's answer: JSON in, a verdict out.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::{
    ConnectResult, Disconnect, Event, Fault, PublishResult, RefreshResult, RpcResult,
    SubscribeResult, Verdict,
};
use crate::limits::{CONNECTION_INFO_BYTES_MAX, VERSION_EPOCH_BYTES_MAX};
use crate::token::Overrides;

/// An answer that says nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AnswerError {
    /// It is not the JSON that it has to be.
    Malformed {
        /// Where, in bytes of its line.
        column: usize,
    },
    /// A code that no client may be told.
    Code {
        /// The code.
        code: u32,
    },
    /// Bytes that are no base64.
    Base64,
    /// What the versions of a publication count in has too long a name.
    EpochTooLong {
        /// How long.
        bytes: usize,
    },
    /// More is to be shown of a client than is kept.
    InfoTooLong {
        /// How much.
        bytes: usize,
    },
}

impl fmt::Display for AnswerError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed { column } => {
                write!(out, "the answer is not as it has to be, at column {column}")
            }
            Self::Code { code } => write!(out, "no client may be told the code {code}"),
            Self::Base64 => out.write_str("b64data is not base64"),
            Self::EpochTooLong { bytes } => {
                write!(
                    out,
                    "version_epoch has {bytes} bytes, and at most {VERSION_EPOCH_BYTES_MAX}"
                )
            }
            Self::InfoTooLong { bytes } => {
                write!(
                    out,
                    "info or meta has {bytes} bytes, and at most {CONNECTION_INFO_BYTES_MAX}"
                )
            }
        }
    }
}

impl std::error::Error for AnswerError {}

impl From<serde_json::Error> for AnswerError {
    fn from(error: serde_json::Error) -> Self {
        Self::Malformed { column: error.column() }
    }
}

/// What all answers have in common.
#[derive(Deserialize)]
#[serde(bound = "R: DeserializeOwned")]
struct Envelope<R> {
    #[serde(default = "none")]
    result: Option<R>,
    #[serde(default)]
    error: Option<Fault>,
    #[serde(default)]
    disconnect: Option<Disconnect>,
}

fn none<R>() -> Option<R> {
    None
}

/// A payload, in one of the two ways in which it may come.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Payload {
    data: Option<Box<RawValue>>,
    b64data: String,
}

impl Payload {
    fn bytes(self) -> Result<Vec<u8>, AnswerError> {
        if !self.b64data.is_empty() {
            return STANDARD.decode(&self.b64data).map_err(|_| AnswerError::Base64);
        }
        let data = self.data.map(|data| data.get().as_bytes().to_vec());
        Ok(data.unwrap_or_default())
    }
}

/// What is published, and how.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Publication {
    data: Option<Box<RawValue>>,
    b64data: String,
    skip_history: bool,
    tags: Option<BTreeMap<String, String>>,
    delta: bool,
    idempotency_key: String,
    version: u64,
    version_epoch: String,
}

impl Publication {
    fn read(self) -> Result<PublishResult, AnswerError> {
        let bytes = self.version_epoch.len();
        if bytes > VERSION_EPOCH_BYTES_MAX {
            return Err(AnswerError::EpochTooLong { bytes });
        }
        Ok(PublishResult {
            data: Payload { data: self.data, b64data: self.b64data }.bytes()?,
            skips_history: self.skip_history,
            tags: self.tags.unwrap_or_default(),
            makes_delta: self.delta,
            key: self.idempotency_key,
            version: self.version,
            version_epoch: self.version_epoch,
        })
    }
}

/// Who a client is.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Identity {
    user: String,
    expire_at: u64,
    info: Option<Box<RawValue>>,
    b64info: String,
    data: Option<Box<RawValue>>,
    b64data: String,
    channels: Option<Vec<String>>,
    subs: Option<BTreeMap<String, Option<Membership>>>,
    meta: Option<Box<RawValue>>,
}

/// How a connection goes on.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Prolongation {
    expired: bool,
    expire_at: u64,
    info: Option<Box<RawValue>>,
    b64info: String,
    meta: Option<Box<RawValue>>,
}

/// What a client is in a channel.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Membership {
    expire_at: u64,
    info: Option<Box<RawValue>>,
    b64info: String,
    data: Option<Box<RawValue>>,
    b64data: String,
    #[serde(rename = "override")]
    overrides: Option<Overrides>,
    cache_recover: bool,
}

impl Identity {
    fn read(self) -> Result<ConnectResult, AnswerError> {
        let plain = self.channels.into_iter().flatten().map(|name| (name, None));
        let all = plain.chain(self.subs.into_iter().flatten());
        let read = |(name, said): (String, Option<Membership>)| {
            Ok((name, said.unwrap_or_default().read()?))
        };
        Ok(ConnectResult {
            user: self.user,
            expire_at: self.expire_at,
            info: info(self.info, self.b64info)?,
            data: Payload { data: self.data, b64data: self.b64data }.bytes()?,
            meta: self.meta.map(short).transpose()?.unwrap_or_default(),
            subs: all.map(read).collect::<Result<_, AnswerError>>()?,
        })
    }
}

impl Prolongation {
    /// `None` if the connection is over.
    fn read(self) -> Result<Option<RefreshResult>, AnswerError> {
        if self.expired {
            return Ok(None);
        }
        let is_shown = self.info.is_some() || !self.b64info.is_empty();
        let info = info(self.info, self.b64info)?;
        Ok(Some(RefreshResult {
            expire_at: self.expire_at,
            info: is_shown.then_some(info),
            meta: self.meta.map(short).transpose()?,
        }))
    }
}

impl Membership {
    fn read(self) -> Result<SubscribeResult, AnswerError> {
        Ok(SubscribeResult {
            expire_at: self.expire_at,
            info: info(self.info, self.b64info)?,
            data: Payload { data: self.data, b64data: self.b64data }.bytes()?,
            overrides: self.overrides.unwrap_or_default(),
            recovers_cache: self.cache_recover,
        })
    }
}

/// What is kept with each connection, or membership, has a bound.
fn info(data: Option<Box<RawValue>>, b64data: String) -> Result<Vec<u8>, AnswerError> {
    let bytes = Payload { data, b64data }.bytes()?;
    if bytes.len() > CONNECTION_INFO_BYTES_MAX {
        return Err(AnswerError::InfoTooLong { bytes: bytes.len() });
    }
    Ok(bytes)
}

fn short(meta: Box<RawValue>) -> Result<Vec<u8>, AnswerError> {
    info(Some(meta), String::new())
}

/// The error or the end that the answer is, or else its result.
fn open<R: DeserializeOwned>(bytes: &[u8]) -> Result<Result<Option<R>, Verdict>, AnswerError> {
    // A list of its fields would be an answer too, to the derived reader.
    if !bytes.trim_ascii_start().starts_with(b"{") {
        return Err(AnswerError::Malformed { column: 1 });
    }
    let envelope: Envelope<R> = serde_json::from_slice(bytes)?;
    if let Some(end) = envelope.disconnect {
        // Close codes of applications, and those that the server itself may use.
        return match end.code {
            3000..5000 => Ok(Err(Verdict::Disconnect(end))),
            code => Err(AnswerError::Code { code }),
        };
    }
    match envelope.error {
        Some(fault) if fault.code == 0 => Err(AnswerError::Code { code: 0 }),
        Some(fault) => Ok(Err(Verdict::Fault(fault))),
        None => Ok(Ok(envelope.result)),
    }
}

impl Verdict {
    /// Reads the answer to an event.
    pub fn read(event: &Event, answer: &[u8]) -> Result<Self, AnswerError> {
        match event {
            Event::Connect { .. } => match open::<Identity>(answer)? {
                Err(verdict) => Ok(verdict),
                Ok(None) => Ok(Self::Connect(None)),
                Ok(Some(result)) => Ok(Self::Connect(Some(Box::new(result.read()?)))),
            },
            Event::Refresh => match open::<Prolongation>(answer)? {
                Err(verdict) => Ok(verdict),
                Ok(None) => Ok(Self::Refresh(None)),
                Ok(Some(result)) => result.read().map(Self::Refresh),
            },
            Event::SubRefresh { .. } => match open::<Prolongation>(answer)? {
                Err(verdict) => Ok(verdict),
                Ok(None) => Ok(Self::SubRefresh(None)),
                Ok(Some(result)) => result.read().map(Self::SubRefresh),
            },
            Event::Subscribe { .. } => match open::<Membership>(answer)? {
                Err(verdict) => Ok(verdict),
                Ok(result) => result.unwrap_or_default().read().map(Self::Subscribe),
            },
            Event::Publish { .. } => match open::<Publication>(answer)? {
                Err(verdict) => Ok(verdict),
                Ok(result) => result.unwrap_or_default().read().map(Self::Publish),
            },
            Event::Rpc { .. } => match open::<Payload>(answer)? {
                Err(verdict) => Ok(verdict),
                Ok(result) => {
                    let data = result.unwrap_or_default().bytes()?;
                    Ok(Self::Rpc(RpcResult { data }))
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(answer: &str) -> Result<Verdict, AnswerError> {
        let event = Event::Rpc { method: String::new(), data: Vec::new() };
        Verdict::read(&event, answer.as_bytes())
    }

    fn data(data: &[u8]) -> Verdict {
        Verdict::Rpc(RpcResult { data: data.to_vec() })
    }

    #[test]
    fn a_result_brings_data_in_either_form_or_none() {
        assert_eq!(read(r#"{"result":{"data":{"a": 1.0}}}"#), Ok(data(br#"{"a": 1.0}"#)));
        assert_eq!(read(r#"{"result":{"b64data":"/wA="}}"#), Ok(data(b"\xff\x00")));
        for empty in ["{}", r#"{"result":{}}"#, r#"{"result":null}"#, r#"{"more":1}"#] {
            assert_eq!(read(empty), Ok(data(b"")), "{empty}");
        }
    }

    #[test]
    fn a_client_is_who_the_back_end_says_and_where() {
        let event = Event::Connect {
            data: vec![],
            name: String::new(),
            version: String::new(),
            channels: vec![],
        };
        let read = |answer: &str| Verdict::read(&event, answer.as_bytes());
        let answer = r#"{"result":{"user":"ann","expire_at":7,"info":{"n":1},"b64data":"/w==",
            "channels":["a","b"],
            "subs":{"b":{"data":1,"override":{"presence":{"value":true}},"cache_recover":true}},
            "meta":{"m":2}}}"#;
        let Ok(Verdict::Connect(Some(result))) = read(answer) else { panic!("{:?}", read(answer)) };
        assert_eq!((&*result.user, result.expire_at), ("ann", 7));
        assert_eq!((&*result.info, &*result.data), (&b"{\"n\":1}"[..], &b"\xff"[..]));
        assert_eq!(result.meta, b"{\"m\":2}");
        assert_eq!(result.subs["a"], SubscribeResult::default());
        assert!(result.subs["b"].recovers_cache && !result.subs["a"].recovers_cache);
        assert!(result.subs["b"].data == b"1" && result.subs["b"].overrides.presence.is_some());
        assert_eq!(read(r#"{"result":null}"#), Ok(Verdict::Connect(None)));
        assert_eq!(read("{}"), Ok(Verdict::Connect(None)));
        let long =
            format!(r#"{{"result":{{"info":"{}"}}}}"#, "x".repeat(CONNECTION_INFO_BYTES_MAX));
        assert!(matches!(read(&long), Err(AnswerError::InfoTooLong { .. })));
        let long = long.replacen("info", "meta", 1);
        assert!(matches!(read(&long), Err(AnswerError::InfoTooLong { .. })));
    }

    #[test]
    fn a_connection_goes_on_or_is_over() {
        let read = |answer: &str| Verdict::read(&Event::Refresh, answer.as_bytes());
        let none = RefreshResult { expire_at: 9, info: None, meta: None };
        assert_eq!(read(r#"{"result":{"expire_at":9}}"#), Ok(Verdict::Refresh(Some(none))));
        let stay = Event::SubRefresh { channel: "a".to_owned() };
        let info = r#"{"result":{"expire_at":9,"info":[1]}}"#;
        let some = RefreshResult { expire_at: 9, info: Some(b"[1]".to_vec()), meta: None };
        assert_eq!(Verdict::read(&stay, info.as_bytes()), Ok(Verdict::SubRefresh(Some(some))));
        for over in [r#"{"result":{"expired":true}}"#, r#"{"result":null}"#, "{}"] {
            assert_eq!(read(over), Ok(Verdict::Refresh(None)), "{over}");
            let read = Verdict::read(&stay, over.as_bytes());
            assert_eq!(read, Ok(Verdict::SubRefresh(None)), "{over}");
        }
    }

    #[test]
    fn a_publication_may_be_made_in_other_words() {
        let event = Event::Publish { channel: String::new(), data: Vec::new() };
        let read = |answer: &str| Verdict::read(&event, answer.as_bytes());
        let same = Ok(Verdict::Publish(PublishResult::default()));
        assert_eq!(read(r#"{"result":{}}"#), same);
        assert_eq!(read("{}"), same);
        let other = PublishResult {
            data: b"{\"a\": 1.0}".to_vec(),
            skips_history: true,
            tags: [("k".to_owned(), "v".to_owned())].into(),
            makes_delta: true,
            key: "once".to_owned(),
            version: 7,
            version_epoch: "e".to_owned(),
        };
        let answer = r#"{"result":{"data":{"a": 1.0},"skip_history":true,"tags":{"k":"v"},
            "delta":true,"idempotency_key":"once","version":7,"version_epoch":"e"}}"#;
        assert_eq!(read(answer), Ok(Verdict::Publish(other)));
        assert!(read(r#"{"result":{"tags":[1]}}"#).is_err());
        let bytes = VERSION_EPOCH_BYTES_MAX + 1;
        let long = format!(r#"{{"result":{{"version_epoch":"{}"}}}}"#, "e".repeat(bytes));
        assert_eq!(read(&long), Err(AnswerError::EpochTooLong { bytes }));
    }

    #[test]
    fn an_error_and_an_end_are_in_the_back_ends_own_words() {
        let fault = Fault { code: 1000, message: "no".to_owned(), temporary: true };
        let answer = r#"{"error":{"code":1000,"message":"no","temporary":true}}"#;
        assert_eq!(read(answer), Ok(Verdict::Fault(fault)));
        let end = Disconnect { code: 4500, reason: "away".to_owned() };
        let answer = r#"{"disconnect":{"code":4500,"reason":"away"}}"#;
        assert_eq!(read(answer), Ok(Verdict::Disconnect(end)));
    }

    #[test]
    fn what_cannot_be_understood_is_no_verdict() {
        for answer in ["", "[]", "<html>", r#"{"result":7}"#, r#"{"result":{}} x"#, "null"] {
            assert!(matches!(read(answer), Err(AnswerError::Malformed { .. })), "{answer}");
        }
        for code in [0, 1000, 2999, 5000] {
            let answer = format!(r#"{{"disconnect":{{"code":{code}}}}}"#);
            assert_eq!(read(&answer), Err(AnswerError::Code { code }), "{answer}");
        }
        assert_eq!(read(r#"{"error":{}}"#), Err(AnswerError::Code { code: 0 }));
        assert_eq!(read(r#"{"result":{"b64data":"?"}}"#), Err(AnswerError::Base64));
    }
}
