//! What was published in one format, said in the other.
//!
//! A publication is encoded in its publisher's format, joins and leaves are in one of the two.
//! Where a channel has members of the other one, a message is read back and encoded anew, once
//! for all of them. Every JSON value is bytes, but not all bytes are a JSON value: then there is
//! no translation.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::text::{Entries, Raw, Text};
use super::{ClientId, ClientInfo, Format, Publication, Push, protobuf};

/// The same pushes, of publications, joins and leaves, in the other format than `format`; `None`
/// if one of them cannot be said in it.
pub fn translate(message: &[u8], format: Format) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(message.len() + ENVELOPE_BYTES);
    let mut rest = Some(message);
    while let Some(pushes) = rest {
        let news;
        (news, rest) = read(pushes, format)?;
        if format == Format::Protobuf && !news.values().all(is_json) {
            return None;
        }
        if !out.is_empty() {
            out.extend_from_slice(format.other().separator());
        }
        news.write(&mut out, format.other(), Instead::default())?;
    }
    Some(out)
}

/// The first push of a message, and the others.
pub(super) fn read(pushes: &[u8], format: Format) -> Option<(News<'_>, Option<&[u8]>)> {
    match format {
        Format::Json => read_line(pushes),
        Format::Protobuf => read_message(pushes),
    }
}

/// The push on the first line, and the other lines.
fn read_line(lines: &[u8]) -> Option<(News<'_>, Option<&[u8]>)> {
    let (line, rest) = match memchr::memchr(b'\n', lines) {
        Some(end) => (&lines[..end], Some(&lines[end + 1..])),
        None => (lines, None),
    };
    Some((serde_json::from_slice::<Envelope<'_>>(line).ok()?.push, rest))
}

/// The first push behind its length, and what follows it.
fn read_message(messages: &[u8]) -> Option<(News<'_>, Option<&[u8]>)> {
    let (reply, rest) = protobuf::split_first(messages).ok()?;
    let news = protobuf::read_push(reply).ok()?;
    Some((news, Some(rest).filter(|rest| !rest.is_empty())))
}

/// What JSON takes more than Protobuf for the names of the fields.
const ENVELOPE_BYTES: usize = 128;

/// What is said of a publication in another way than it was.
#[derive(Clone, Copy, Default)]
pub(super) struct Instead<'a> {
    /// Its data, and whether they are a delta.
    pub(super) data: Option<(&'a [u8], bool)>,
    /// One tag more.
    pub(super) tag: Option<(&'a str, &'a str)>,
}

/// A push as it is read back.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct News<'a> {
    #[serde(borrow)]
    pub(super) channel: Text<'a>,
    #[serde(borrow, rename = "pub")]
    pub(super) publication: Option<Published<'a>>,
    #[serde(borrow)]
    pub(super) join: Option<Member<'a>>,
    #[serde(borrow)]
    pub(super) leave: Option<Member<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Envelope<'a> {
    #[serde(borrow)]
    push: News<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Published<'a> {
    #[serde(borrow)]
    pub(super) data: Raw<'a>,
    #[serde(borrow)]
    pub(super) info: Option<Who<'a>>,
    pub(super) offset: u64,
    #[serde(borrow)]
    pub(super) tags: Entries<'a, Text<'a>>,
    #[serde(borrow)]
    pub(super) epoch: Text<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Member<'a> {
    #[serde(borrow)]
    pub(super) info: Option<Who<'a>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Who<'a> {
    #[serde(borrow)]
    pub(super) user: Text<'a>,
    #[serde(borrow)]
    pub(super) client: Text<'a>,
    #[serde(borrow, rename = "conn_info")]
    pub(super) connection_info: Raw<'a>,
    #[serde(borrow, rename = "chan_info")]
    pub(super) channel_info: Raw<'a>,
}

impl<'a> News<'a> {
    fn infos(&self) -> impl Iterator<Item = &Who<'a>> {
        let publisher = self.publication.as_ref().and_then(|one| one.info.as_ref());
        let members = [&self.join, &self.leave].into_iter().flatten();
        publisher.into_iter().chain(members.filter_map(|one| one.info.as_ref()))
    }

    /// What applications have embedded. Nothing is said by leaving it out, in either format.
    fn values(&self) -> impl Iterator<Item = Raw<'a>> {
        let data = self.publication.iter().map(|one| one.data);
        let infos = self.infos().flat_map(|info| [info.connection_info, info.channel_info]);
        data.chain(infos).filter(|value| !value.is_empty())
    }

    /// Appends the same news in `format`, but for what is to be said in its place; `None` if there
    /// is none.
    pub(super) fn write(
        &self,
        out: &mut Vec<u8>,
        format: Format,
        instead: Instead<'_>,
    ) -> Option<()> {
        let tags: Vec<(&str, &str)>;
        let push = match self {
            Self { publication: Some(one), .. } => {
                let info = match &one.info {
                    Some(info) => Some(info.read()?),
                    None => None,
                };
                let told = one.tags.iter().map(|(key, value)| (key, &**value));
                tags = told.chain(instead.tag).collect();
                let (data, delta) = instead.data.unwrap_or((one.data.bytes(), false));
                let (offset, epoch) = (one.offset, &*one.epoch);
                Push::Publication(Publication { data, info, offset, tags: &tags, epoch, delta })
            }
            Self { join: Some(one), .. } => Push::Join(one.info.as_ref()?.read()?),
            Self { leave: Some(one), .. } => Push::Leave(one.info.as_ref()?.read()?),
            _ => return None,
        };
        format.write_push(out, &self.channel, &push);
        Some(())
    }
}

impl Who<'_> {
    /// `None` if the client's name is none of ours.
    fn read(&self) -> Option<ClientInfo<'_>> {
        Some(ClientInfo {
            user: &self.user,
            client: ClientId::parse(&self.client)?,
            connection_info: self.connection_info.bytes(),
            channel_info: self.channel_info.bytes(),
        })
    }
}

/// Whether these bytes are one JSON value.
fn is_json(value: Raw<'_>) -> bool {
    serde_json::from_slice::<&RawValue>(value.bytes()).is_ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Lineage, UnsubscribeCode};
    use super::*;

    const CLIENT: ClientId = ClientId { random: 77, lineage: Lineage::ZERO };

    fn written(format: Format, push: &Push<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        format.write_push(&mut out, "news:\"1\"", push);
        out
    }

    fn assert_translated(push: &Push<'_>) {
        for format in [Format::Json, Format::Protobuf] {
            let expected = Some(written(format.other(), push));
            assert_eq!(translate(&written(format, push), format), expected, "{push:?}");
        }
    }

    #[test]
    fn joins_and_leaves_are_the_same_in_both_formats() {
        let info = ClientInfo {
            user: "42",
            connection_info: br#"{"name":"A"}"#,
            channel_info: b"[1]",
            ..ClientInfo::of("", CLIENT)
        };
        assert_translated(&Push::Join(info));
        assert_translated(&Push::Leave(ClientInfo::of("", CLIENT)));
    }

    #[test]
    fn several_pushes_of_one_message_stay_together_and_in_order() {
        let clients = [1, 2, 3].map(|random| ClientId { random, lineage: Lineage::ZERO });
        let pushes = clients.map(|client| Push::Join(ClientInfo::of("42", client)));
        let message = |format: Format| {
            let one = |push: &Push<'_>| written(format, push);
            pushes.iter().map(one).collect::<Vec<_>>().join(format.separator())
        };
        for format in [Format::Json, Format::Protobuf] {
            let whole = message(format);
            assert_eq!(translate(&whole, format), Some(message(format.other())));
            let rest_is_none = [&whole, format.separator(), format.ping()].concat();
            assert_eq!(translate(&rest_is_none, format), None, "what follows is no push");
            assert_eq!(translate(&whole[..whole.len() - 1], format), None, "it is cut");
        }
    }

    #[test]
    fn bytes_that_are_no_json_have_no_translation() {
        let other: [&[u8]; 7] =
            [b"{", b"1 2", b"}},", b"\xff", b"\"\xff\"", b"{\"a\":}", b"\"\n\""];
        for data in other {
            let push = Push::Publication(Publication { data, ..Publication::default() });
            let published = written(Format::Protobuf, &push);
            assert_eq!(translate(&published, Format::Protobuf), None, "{data:?}");
            let info = ClientInfo { connection_info: data, ..ClientInfo::of("", CLIENT) };
            let info = Some(info);
            let push =
                Push::Publication(Publication { data: b"1", info, ..Publication::default() });
            let published = written(Format::Protobuf, &push);
            assert_eq!(translate(&published, Format::Protobuf), None, "{data:?}");
        }
        assert_translated(&Push::Publication(Publication::default()));
    }

    #[test]
    fn line_feeds_between_values_are_not_said_again() {
        let data = b" {\n\"a\":\n[1,\r\n2]}\n";
        let push = Push::Publication(Publication { data, ..Publication::default() });
        let text = translate(&written(Format::Protobuf, &push), Format::Protobuf).unwrap();
        assert!(!text.contains(&b'\n'), "it is one line");
        let value: serde_json::Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(value["push"]["pub"]["data"], serde_json::json!({ "a": [1, 2] }));
    }

    #[test]
    fn what_is_no_news_of_a_channel_has_no_translation() {
        let push = Push::Unsubscribe(UnsubscribeCode::Server);
        for format in [Format::Json, Format::Protobuf] {
            assert_eq!(translate(&written(format, &push), format), None);
            for other in [&b""[..], b"{}", b"x", &[0], &[0, 0], &[5, 1], format.ping()] {
                assert_eq!(translate(other, format), None, "{format:?} {other:?}");
            }
        }
        let stranger = br#"{"push":{"channel":"a","join":{"info":{"client":"c1"}}}}"#;
        assert_eq!(translate(stranger, Format::Json), None);
    }

    fn json() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<i64>().prop_map(serde_json::Value::from),
            ".{0,200}".prop_map(serde_json::Value::from),
        ];
        let value = leaf.prop_recursive(3, 8, 3, |inner| {
            proptest::collection::vec(inner, 0..3).prop_map(serde_json::Value::from)
        });
        value.prop_map(|value| value.to_string())
    }

    proptest! {
        #[test]
        fn a_publication_is_the_same_in_both_formats(
            data in json(), random in any::<u64>(), lineage in any::<u64>(), user in ".{0,4}",
            has_info in any::<bool>(), offset in any::<u64>(), about in json(), epoch in ".{0,3}",
            tags in proptest::collection::vec((".{0,3}", ".{0,3}"), 0..4),
        ) {
            let client = ClientId { random, lineage: Lineage::new(lineage) };
            let info = ClientInfo {
                user: &user,
                client,
                connection_info: about.as_bytes(),
                channel_info: b"",
            };
            let tags: Vec<_> = tags.iter().map(|(key, value)| (&**key, &**value)).collect();
            let publication = Publication {
                data: data.as_bytes(),
                info: has_info.then_some(info),
                offset,
                tags: &tags,
                epoch: &epoch,
                delta: false,
            };
            assert_translated(&Push::Publication(publication));
        }

        #[test]
        fn random_bytes_are_translated_to_what_they_say_or_not_at_all(
            data in proptest::collection::vec(any::<u8>(), 0..60),
        ) {
            let push = Push::Publication(Publication { data: &data, ..Publication::default() });
            let text = translate(&written(Format::Protobuf, &push), Format::Protobuf);
            let value: Option<serde_json::Value> = serde_json::from_slice(&data).ok();
            prop_assert_eq!(text.is_some(), value.is_some() || data.is_empty());
            let _no_panic = translate(&data, Format::Protobuf);
            let _no_panic = translate(&data, Format::Json);
        }
    }
}
