//! Back ends as a member of the mesh that has no connections of its own speaks for them: what it
//! sends to channels' homes, and what they answer in the words of the server API.

use std::sync::Arc;

use super::message::{Ask, Message, Place, PublishKept, Version};
use crate::handler::{ConnectionId, Keep, MessageKind, Question};
use crate::hub::Homes;
use crate::mesh::MemberId;
use crate::ring::Frame;
use crate::ws::encode_header;

/// Knows the homes of channels, and puts messages into frames.
pub(crate) struct BackEnd {
    homes: Homes,
}

impl BackEnd {
    /// For a process of so many shards.
    pub(crate) fn new(shard_count: usize) -> Self {
        Self { homes: Homes::dealt(shard_count) }
    }

    /// The home of a channel.
    pub(crate) fn home_of(&self, channel: &str) -> MemberId {
        MemberId::new(self.homes.home_of_channel(channel).index())
    }

    /// One message for all members of a channel.
    pub(crate) fn frame(kind: MessageKind, payload: &[u8]) -> Frame {
        let header = encode_header(true, kind.into(), payload.len(), None);
        [&header, payload].concat().into()
    }

    /// A publication that is kept, and whose place is asked for by this number.
    pub(crate) fn place(
        ask: u32,
        channel: &str,
        frame: Frame,
        keep: Keep,
        version: Option<Version>,
    ) -> Message {
        let publication = PublishKept { channel: channel.into(), frame, keep };
        Message::Place(Box::new(Place { ask, version, publication }))
    }

    /// A question, asked by this number.
    pub(crate) fn question(ask: u32, channel: &str, question: Question) -> Message {
        // No connection asks: the number alone says whose answer it is.
        let connection = ConnectionId::new(0, 0);
        let channel = Arc::from(channel);
        Message::Ask(Box::new(Ask { channel, connection, id: ask, question }))
    }
}

/// Answers of homes as the server API gives them.
pub(crate) mod in_words {
    use super::super::client_words::{format_of, shown};
    use crate::handler::{Message, MessageKind, Present, Publications};
    use crate::protocol::{Format, PublicationList, translate};

    /// A list in JSON; `None` if a publication cannot be said in it.
    pub(crate) fn publications(publications: &Publications) -> Option<String> {
        let into = |message: Message<'_>| translate(message.payload(), format_of(message.kind()));
        let payloads: Option<Vec<_>> = publications.payloads(MessageKind::Text, into).collect();
        let payloads = payloads?;
        let parts = payloads
            .iter()
            .map(|payload| Format::Json.publication_part(payload).map(|part| &payload[part]));
        let parts: Option<Vec<&[u8]>> = parts.collect();
        let mut list = b"[".to_vec();
        Format::Json.write_publications(&mut list, PublicationList::History, parts?.into_iter());
        list.push(b']');
        Some(text(list))
    }

    /// An object in JSON, by the names of the clients.
    pub(crate) fn clients(clients: &[Present]) -> String {
        let mut list = b"{".to_vec();
        Format::Json.write_clients(&mut list, clients.iter().map(shown));
        list.push(b'}');
        text(list)
    }

    fn text(json: Vec<u8>) -> String {
        String::from_utf8(json).expect("JSON is text")
    }
}
