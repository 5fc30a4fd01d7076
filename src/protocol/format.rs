//! Which of the protocol's two formats a connection speaks: settled by the opening handshake (1).

use std::ops::Range;

use super::{ClientInfo, Push, Reply, json, protobuf};

/// A format of the protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// JSON lines in text messages: what a client gets that asks for nothing.
    #[default]
    Json,
    /// Length-prefixed Protobuf in binary messages.
    Protobuf,
}

impl Format {
    /// The sub-protocol of JSON. No SDK sends it; it is echoed to those who do.
    pub const JSON_PROTOCOL: &str = "centrifuge-json";
    /// The sub-protocol of Protobuf.
    pub const PROTOBUF_PROTOCOL: &str = "centrifuge-protobuf";

    /// What an opening handshake asks for: by the sub-protocols it offers, the first known one
    /// first, or by the query.
    ///
    /// Returns the format and, if it was chosen from those offered, the sub-protocol to echo.
    pub fn asked<'a>(
        offered: impl Iterator<Item = &'a str>,
        query: &str,
    ) -> (Self, Option<&'static str>) {
        for protocol in offered {
            match protocol {
                Self::JSON_PROTOCOL => return (Self::Json, Some(Self::JSON_PROTOCOL)),
                Self::PROTOBUF_PROTOCOL => return (Self::Protobuf, Some(Self::PROTOBUF_PROTOCOL)),
                _ => {}
            }
        }
        let by_query = ["format=protobuf", "cf_protocol=protobuf"];
        let is_protobuf = query.split('&').any(|pair| by_query.contains(&pair));
        (if is_protobuf { Self::Protobuf } else { Self::Json }, None)
    }

    /// The sub-protocol that asks for it.
    pub fn subprotocol(self) -> &'static str {
        match self {
            Self::Json => Self::JSON_PROTOCOL,
            Self::Protobuf => Self::PROTOBUF_PROTOCOL,
        }
    }

    /// The one of the two that this one is not.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Json => Self::Protobuf,
            Self::Protobuf => Self::Json,
        }
    }

    /// A ping, and its answer.
    pub fn ping(self) -> &'static [u8] {
        match self {
            Self::Json => json::PING.as_bytes(),
            Self::Protobuf => protobuf::PING,
        }
    }

    /// What stands between two replies, or two commands, of one message.
    pub fn separator(self) -> &'static [u8] {
        match self {
            Self::Json => b"\n",
            Self::Protobuf => b"",
        }
    }

    /// Appends the reply to command `id`.
    pub fn write_reply(self, out: &mut Vec<u8>, id: u32, reply: &Reply<'_>) {
        match self {
            Self::Json => json::write_reply(out, id, reply),
            Self::Protobuf => protobuf::write_reply(out, id, reply),
        }
    }

    /// Appends news of `channel`.
    pub fn write_push(self, out: &mut Vec<u8>, channel: &str, push: &Push<'_>) {
        match self {
            Self::Json => json::write_push(out, channel, push),
            Self::Protobuf => protobuf::write_push(out, channel, push),
        }
    }

    /// Appends encoded publications, as [`publication_part`](Self::publication_part) finds them,
    /// as a list for a result.
    pub fn write_publications<'a>(
        self,
        out: &mut Vec<u8>,
        list: PublicationList,
        publications: impl Iterator<Item = &'a [u8]>,
    ) {
        match self {
            Self::Json => json::write_publications(out, publications),
            Self::Protobuf => protobuf::write_publications(out, list, publications),
        }
    }

    /// Appends clients as a list for the result of a presence.
    pub fn write_clients<'a>(
        self,
        out: &mut Vec<u8>,
        clients: impl Iterator<Item = ClientInfo<'a>>,
    ) {
        match self {
            Self::Json => json::write_clients(out, clients),
            Self::Protobuf => protobuf::write_clients(out, clients),
        }
    }

    /// Where the publication stands in a message that [`write_push`](Self::write_push) has made of
    /// one publication; `None` if it is no such message.
    pub fn publication_part(self, message: &[u8]) -> Option<Range<usize>> {
        match self {
            Self::Json => json::publication_part(message),
            Self::Protobuf => protobuf::publication_part(message),
        }
    }

    /// The same message, its publication with its place in a history, of which it had none;
    /// `None` if it is no such message. The epoch goes with the first place of a history, where
    /// a client that came before has to learn it (5).
    pub fn numbered(self, message: &[u8], offset: u64, epoch: &str) -> Option<Vec<u8>> {
        let epoch = if offset == 1 { epoch } else { "" };
        match self {
            Self::Json => json::numbered(message, offset, epoch),
            Self::Protobuf => protobuf::numbered(message, offset, epoch),
        }
    }
}

/// Which result a list of publications is for: in Protobuf its entries say so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PublicationList {
    /// That of a subscribe.
    Subscribe,
    /// That of a history.
    History,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_handshake_settles_the_format() {
        let json = Some(Format::JSON_PROTOCOL);
        let protobuf = Some(Format::PROTOBUF_PROTOCOL);
        let cases = [
            (&[][..], "", (Format::Json, None)),
            (&["chat"][..], "", (Format::Json, None)),
            (&["centrifuge-json"], "", (Format::Json, json)),
            (&["centrifuge-protobuf"], "", (Format::Protobuf, protobuf)),
            (&["chat", "centrifuge-protobuf", "centrifuge-json"], "", (Format::Protobuf, protobuf)),
            (&[], "format=protobuf", (Format::Protobuf, None)),
            (&[], "a=b&cf_protocol=protobuf", (Format::Protobuf, None)),
            (&[], "cf_protocol_version=v2&xformat=protobuf", (Format::Json, None)),
        ];
        for (offered, query, expected) in cases {
            assert_eq!(Format::asked(offered.iter().copied(), query), expected, "{offered:?}");
        }
    }
}
