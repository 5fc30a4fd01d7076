//! A filter by tags in the words of a subscribe (12).

use super::Format;
use super::protobuf;
use crate::filter::{Filter, FilterError, Node};
use crate::limits::FILTER_BYTES_MAX;

/// Why there is no filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TagsFilterError {
    /// The bytes are none of its format.
    Malformed,
    /// What they say cannot be asked.
    Filter(FilterError),
}

impl Format {
    /// The filter that a subscribe holds as its field `tf`.
    pub fn tags_filter(self, bytes: &[u8]) -> Result<Filter, TagsFilterError> {
        if bytes.len() > FILTER_BYTES_MAX {
            let error = FilterError::TooLong { bytes: bytes.len() };
            return Err(TagsFilterError::Filter(error));
        }
        let node: Option<Node> = match self {
            Self::Json => serde_json::from_slice(bytes).ok(),
            Self::Protobuf => protobuf::read_filter(bytes).ok(),
        };
        Filter::of(node.ok_or(TagsFilterError::Malformed)?).map_err(TagsFilterError::Filter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `{op: "and", nodes: [{key: "a", cmp: "eq", val: "1"}, {key: "b", cmp: "in", vals: [x, y]}]}`
    /// by hand.
    const BYTES: &[u8] = b"\x0a\x03and\x32\x0a\x12\x01a\x1a\x02eq\x22\x011\
        \x32\x0d\x12\x01b\x1a\x02in\x2a\x01x\x2a\x01y";

    #[test]
    fn both_formats_say_the_same() {
        let text = br#"{"op":"and","nodes":[{"key":"a","cmp":"eq","val":"1"},
            {"key":"b","cmp":"in","vals":["x","y"]}]}"#;
        let filter = Format::Json.tags_filter(text).unwrap();
        assert_eq!(Format::Protobuf.tags_filter(BYTES), Ok(filter));
    }

    #[test]
    fn what_is_none_is_named() {
        let malformed = Err(TagsFilterError::Malformed);
        assert_eq!(Format::Json.tags_filter(b"{\"op\":1}"), malformed);
        assert_eq!(Format::Json.tags_filter(b"\xff"), malformed);
        assert_eq!(Format::Protobuf.tags_filter(b"\x0a\x09and"), malformed);
        let operation = Err(TagsFilterError::Filter(FilterError::Operation));
        assert_eq!(Format::Protobuf.tags_filter(b"\x0a\x03xor"), operation);
        let bytes = vec![b' '; FILTER_BYTES_MAX + 1];
        for format in [Format::Json, Format::Protobuf] {
            let refused = format.tags_filter(&bytes);
            assert!(matches!(refused, Err(TagsFilterError::Filter(FilterError::TooLong { .. }))));
        }
    }

    /// A message within a message costs two bytes, and is read by recursion.
    #[test]
    fn a_filter_of_nothing_but_depth_ends_at_the_bound() {
        let mut bytes = Vec::new();
        while bytes.len() + 4 < FILTER_BYTES_MAX {
            let mut outer = vec![0x32];
            let [low, high] = u16::try_from(bytes.len()).expect("short").to_le_bytes();
            // In seven bits each.
            match (high << 1) | (low >> 7) {
                0 => outer.push(low),
                rest => outer.extend([low | 128, rest]),
            }
            outer.extend(bytes);
            bytes = outer;
        }
        assert_eq!(Format::Protobuf.tags_filter(&bytes), Err(TagsFilterError::Malformed));
        let text = r#"{"nodes":["#.repeat(FILTER_BYTES_MAX / 10);
        assert_eq!(Format::Json.tags_filter(text.as_bytes()), Err(TagsFilterError::Malformed));
    }
}
