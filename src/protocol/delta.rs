//! A publication as a subscription with deltas reads it (11).
//!
//! In JSON its data is always a string: that of the delta, or that of the whole value. In Protobuf
//! whole data stands as it is. Deltas are made of the data in the words of the format, which are
//! what the client has of the publication before.

use super::translate::{Instead, News, read};
use super::{Format, fossil, json};

/// A message of one publication with a delta in the place of its data, from that of another such
/// message; `None` if there is none that is shorter than the data.
pub fn delta(message: &[u8], base: &[u8], format: Format) -> Option<Vec<u8>> {
    let (news, base) = (publication(message, format)?, publication(base, format)?);
    let delta = fossil::encode(data(&base)?, data(&news)?)?;
    let said = match format {
        Format::Json => json::quoted(std::str::from_utf8(&delta).ok()?),
        Format::Protobuf => delta,
    };
    rewritten(&news, message.len(), format, Instead { data: Some((&said, true)), tag: None })
}

/// A message of one publication as it is said where there is no delta; `None` if that is as it
/// stands.
pub fn whole(message: &[u8], format: Format) -> Option<Vec<u8>> {
    if format == Format::Protobuf {
        return None;
    }
    let news = publication(message, format)?;
    let said = json::quoted(std::str::from_utf8(data(&news)?).ok()?);
    rewritten(&news, message.len(), format, Instead { data: Some((&said, false)), tag: None })
}

/// A message of one publication with one tag more; `None` if it is no such message.
pub fn tagged(message: &[u8], key: &str, value: &str, format: Format) -> Option<Vec<u8>> {
    let news = publication(message, format)?;
    let bytes = message.len() + key.len() + value.len() + TAG_BYTES;
    rewritten(&news, bytes, format, Instead { data: None, tag: Some((key, value)) })
}

/// What a tag takes beside its words, in either format.
const TAG_BYTES: usize = 16;

/// The tags of the publication of a message.
pub fn tags(message: &[u8], format: Format) -> crate::filter::Tags {
    let news = publication(message, format);
    let tags = news
        .iter()
        .filter_map(|news| news.publication.as_ref())
        .flat_map(|one| one.tags.iter().map(|(key, value)| (key.to_owned(), value.to_string())));
    tags.collect()
}

/// The only push of a message.
fn publication(message: &[u8], format: Format) -> Option<News<'_>> {
    let (news, rest) = read(message, format)?;
    (rest.is_none() && news.publication.is_some()).then_some(news)
}

fn data<'a>(news: &News<'a>) -> Option<&'a [u8]> {
    news.publication.as_ref().map(|one| one.data.bytes())
}

fn rewritten(
    news: &News<'_>,
    bytes: usize,
    format: Format,
    instead: Instead<'_>,
) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(bytes);
    news.write(&mut out, format, instead)?;
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::super::{Publication, Push};
    use super::*;

    const TAGS: &[(&str, &str)] = &[("a", "1"), ("b", "\"2\"")];

    fn message(data: &str, offset: u64, format: Format) -> Vec<u8> {
        let publication =
            Publication { data: data.as_bytes(), offset, tags: TAGS, ..Publication::default() };
        let mut out = Vec::new();
        format.write_push(&mut out, "a", &Push::Publication(publication));
        out
    }

    fn text(message: Option<Vec<u8>>) -> serde_json::Value {
        serde_json::from_slice(&message.expect("there is one")).expect("it is JSON")
    }

    const LONG: &str = r#"{"name":"größe","about":"the quick brown fox jumps over it","n":1}"#;

    #[test]
    fn in_json_data_is_a_string_whether_it_is_whole_or_a_delta() {
        let (base, next) = (LONG, LONG.replace("\"n\":1", "\"n\":2"));
        let said = text(whole(&message(base, 7, Format::Json), Format::Json));
        assert_eq!(said["push"]["pub"]["data"], base);
        assert_eq!(said["push"]["pub"]["delta"], serde_json::Value::Null);
        let (base, next) = (message(base, 7, Format::Json), message(&next, 8, Format::Json));
        let said = text(delta(&next, &base, Format::Json));
        let publication = &said["push"]["pub"];
        let patch = publication["data"].as_str().expect("a string");
        let patched = fossil::decode(LONG.as_bytes(), patch.as_bytes()).expect("a delta");
        assert_eq!(patched, LONG.replace("\"n\":1", "\"n\":2").into_bytes());
        let rest = (&publication["delta"], &publication["offset"], &publication["tags"]["b"]);
        assert_eq!(rest, (&true.into(), &8.into(), &"\"2\"".into()));
    }

    #[test]
    fn in_protobuf_only_a_delta_differs() {
        let (base, next) = (LONG.to_owned(), LONG.replace("\"n\":1", "\"n\":2"));
        let next = message(&next, 8, Format::Protobuf);
        assert_eq!(whole(&next, Format::Protobuf), None);
        let said = delta(&next, &message(&base, 7, Format::Protobuf), Format::Protobuf).unwrap();
        assert!(said.len() < next.len());
        let part = Format::Protobuf.publication_part(&said).expect("a publication");
        assert!(said[part].windows(2).any(|field| field == [8 << 3, 1]), "it says so");
    }

    #[test]
    fn what_has_no_shorter_delta_or_is_no_publication_has_none() {
        for format in [Format::Json, Format::Protobuf] {
            let (one, other) = (message("1", 1, format), message("2", 2, format));
            assert_eq!(delta(&other, &one, format), None);
            let join = br#"{"push":{"channel":"a","join":{"info":{"user":"","client":""}}}}"#;
            assert_eq!(whole(join, format), None);
            assert_eq!(whole(&[&one[..], format.separator(), &other].concat(), format), None);
            assert_eq!(tags(join, format), []);
        }
    }

    #[test]
    fn a_tag_is_added_behind_those_that_are_there() {
        for format in [Format::Json, Format::Protobuf] {
            let one = tagged(&message("{}", 3, format), "lw_id", "1f", format).unwrap();
            let again = tagged(&one, "lw_try", "2", format).unwrap();
            let all = tags(&again, format);
            let all: Vec<_> = all.iter().map(|(key, value)| (&**key, &**value)).collect();
            assert_eq!(all, [TAGS, &[("lw_id", "1f"), ("lw_try", "2")]].concat());
            assert!(format.publication_part(&again).is_some());
            assert_eq!(tagged(b"{}", "a", "b", format), None);
        }
    }

    #[test]
    fn tags_are_read_in_either_format() {
        let expected: Vec<_> =
            TAGS.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect();
        for format in [Format::Json, Format::Protobuf] {
            assert_eq!(tags(&message("1", 1, format), format), expected);
        }
    }
}
