//! The parts of a back end's keys: where it is, what headers it gets, what its statuses mean.

use super::client::HeaderName;
use super::table::tables;
use crate::config::key::Kind;
use crate::config::setting::{Item, Setting};
use crate::config::value::{Entry, Value};

/// The URL of a back end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint(pub String);

impl Item for Endpoint {
    const WHAT: &str = "URLs: http://127.0.0.1:3000/centrifugo/rpc or https://…";

    fn read(text: &str) -> Result<Self, String> {
        let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
        let host = rest.map(|rest| rest.split(['/', '?']).next().unwrap_or_default());
        match host {
            None if text.starts_with("grpc://") => Err("back ends are not called by gRPC".into()),
            None | Some("") => Err("this is no URL of http or https".to_owned()),
            Some(host) if host.contains('@') => {
                Err("a password has no place here: static_headers do".to_owned())
            }
            Some(_) if !text.bytes().all(|byte| byte.is_ascii_graphic()) => {
                Err("a URL is ASCII without blanks".to_owned())
            }
            Some(_) => Ok(Self(text.to_owned())),
        }
    }

    fn write(&self) -> String {
        self.0.clone()
    }
}

/// A header that every request has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaticHeader {
    /// Its name.
    pub name: String,
    /// What it says.
    pub value: String,
}

impl Item for StaticHeader {
    const WHAT: &str = "headers, each as a text like \"X-Key: value\"";

    fn read(text: &str) -> Result<Self, String> {
        let (name, value) = text.split_once(':').ok_or("there is no colon behind a name")?;
        if !HeaderName::is_name(name) {
            return Err("what stands before the colon is no name of a header".to_owned());
        }
        let value = value.trim();
        if value.bytes().any(|byte| byte.is_ascii_control()) {
            return Err("a header is one line of text".to_owned());
        }
        Ok(Self { name: name.to_owned(), value: value.to_owned() })
    }

    fn write(&self) -> String {
        format!("{}: {}", self.name, self.value)
    }
}

impl Item for HeaderName {
    const WHAT: &str = "names of headers such as Cookie";

    fn read(text: &str) -> Result<Self, String> {
        let name = Value::Text(text.to_owned());
        <Self as Setting>::read(&name)
    }

    fn write(&self) -> String {
        self.name().unwrap_or_default().to_owned()
    }
}

/// What clients are told for statuses other than 200.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transforms(pub Vec<Transform>);

/// What clients are told for one status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transform {
    /// The status.
    pub status: u16,
    /// What they are told.
    pub told: Told,
}

/// An error or the end.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "as the protocol has them")]
pub enum Told {
    /// The command is answered with an error.
    Error { code: u32, message: String, temporary: bool },
    /// The client is disconnected.
    Disconnect { code: u32, reason: String },
}

impl Setting for Transforms {
    const KIND: Kind = Kind::Tables(
        "a list of tables, each with a status_code, and to_error with code, message and temporary \
         or to_disconnect with code and reason; in the environment and in flags as JSON",
    );

    fn read(value: &Value) -> Result<Self, String> {
        tables(value)?
            .iter()
            .map(|table| Transform::read(table))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// The default is none, and nothing else is ever written.
    fn write(&self) -> Value {
        Value::List(Vec::new())
    }
}

impl Transform {
    fn read(table: &[Entry]) -> Result<Self, String> {
        let (mut status, mut code, mut words) = (None, None, String::new());
        let (mut temporary, mut is_end) = (false, None);
        for Entry { path, value, line } in table {
            let wrong = |says: String| format!("line {line}: {path}: {says}");
            let (of, name) = path.split_once('.').unwrap_or(("", path));
            let read = match (of, name) {
                ("", "to_error" | "to_disconnect") if *value == Value::Table => {
                    let before = is_end.replace(name == "to_disconnect");
                    if before.is_some() { Err("there are two of them".to_owned()) } else { Ok(()) }
                }
                ("", "status_code") => u16::read(value).map(|read| status = Some(read)),
                ("to_error" | "to_disconnect", "code") => {
                    u32::read(value).map(|read| code = Some(read))
                }
                ("to_error", "message") | ("to_disconnect", "reason") => {
                    String::read(value).map(|read| words = read)
                }
                ("to_error", "temporary") => bool::read(value).map(|read| temporary = read),
                _ => Err("there is no such key".to_owned()),
            };
            read.map_err(wrong)?;
        }
        let status = status.filter(|status| (100..600).contains(status) && *status != 200);
        let status = status.ok_or("a transform has no status_code other than 200")?;
        let told = match (is_end, code) {
            (Some(true), Some(code @ 3000..5000)) => Told::Disconnect { code, reason: words },
            (Some(true), _) => return Err("to_disconnect has no code from 3000 to 4999".into()),
            (Some(false), Some(code @ 1..)) => Told::Error { code, message: words, temporary },
            (Some(false), _) => return Err("to_error has no code".to_owned()),
            (None, _) => return Err("a transform has neither to_error nor to_disconnect".into()),
        };
        Ok(Self { status, told })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transforms(json: &str) -> Result<Transforms, String> {
        Transforms::read(&Value::Text(json.to_owned()))
    }

    #[test]
    fn an_endpoint_is_a_url_that_can_be_posted_to() {
        for url in ["http://a", "https://a.b:1/c?d", "http://127.0.0.1:3000/x"] {
            assert_eq!(<Endpoint as Item>::read(url), Ok(Endpoint(url.to_owned())));
        }
        for text in
            ["", "a", "http://", "http:///x", "grpc://a:1", "ftp://a", "http://ä", "http://a:b@c"]
        {
            assert!(<Endpoint as Item>::read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_static_header_is_a_name_and_a_line() {
        let header = <StaticHeader as Item>::read("X-Key:  a: b ").expect("a header");
        assert_eq!((&*header.name, &*header.value), ("X-Key", "a: b"));
        for text in ["X-Key", ": a", "X Key: a", "X-Key: a\nb"] {
            assert!(<StaticHeader as Item>::read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_status_is_an_error_or_an_end() {
        let json = r#"[{"status_code":404,"to_error":{"code":404,"message":"no","temporary":true}},
                       {"status_code":403,"to_disconnect":{"code":4403,"reason":"out"}}]"#;
        let told = Told::Error { code: 404, message: "no".to_owned(), temporary: true };
        let end = Told::Disconnect { code: 4403, reason: "out".to_owned() };
        let all = vec![Transform { status: 404, told }, Transform { status: 403, told: end }];
        assert_eq!(transforms(json), Ok(Transforms(all)));
        for (json, says) in [
            (r#"[{"to_error":{"code":1}}]"#, "no status_code"),
            (r#"[{"status_code":200,"to_error":{"code":1}}]"#, "no status_code"),
            (r#"[{"status_code":404}]"#, "neither"),
            (r#"[{"status_code":404,"to_error":{}}]"#, "no code"),
            (r#"[{"status_code":404,"to_error":{"code":1},"to_disconnect":{"code":4000}}]"#, "two"),
            (r#"[{"status_code":404,"to_disconnect":{"code":1000}}]"#, "3000 to 4999"),
            (r#"[{"status_code":404,"to_eror":{"code":1}}]"#, "no such key"),
        ] {
            assert!(transforms(json).unwrap_err().contains(says), "{json}");
        }
    }
}
