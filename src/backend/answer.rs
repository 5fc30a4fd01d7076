//! A back end's answer: JSON in, a verdict out.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::{Disconnect, Event, Fault, PublishResult, RpcResult, Verdict};

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
}

impl fmt::Display for AnswerError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed { column } => {
                write!(out, "the answer is not as it has to be, at column {column}")
            }
            Self::Code { code } => write!(out, "no client may be told the code {code}"),
            Self::Base64 => out.write_str("b64data is not base64"),
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
            Event::Publish { .. } => match open::<Publication>(answer)? {
                Err(verdict) => Ok(verdict),
                Ok(result) => {
                    let Publication { data, b64data, skip_history, tags } =
                        result.unwrap_or_default();
                    Ok(Self::Publish(PublishResult {
                        data: Payload { data, b64data }.bytes()?,
                        skips_history: skip_history,
                        tags: tags.unwrap_or_default(),
                    }))
                }
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
        };
        let answer = r#"{"result":{"data":{"a": 1.0},"skip_history":true,"tags":{"k":"v"}}}"#;
        assert_eq!(read(answer), Ok(Verdict::Publish(other)));
        assert!(read(r#"{"result":{"tags":[1]}}"#).is_err());
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
