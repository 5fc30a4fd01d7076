//! Replies and pushes to their bytes (2, 3, 4, 5).

use super::super::{ClientId, ClientInfo, Publication, Push, Reply, SubscribeResult};
use super::writer::Message;

/// Appends the reply to command `id`.
pub fn write_reply(out: &mut Vec<u8>, id: u32, reply: &Reply<'_>) {
    let mut message = Message::begin(out);
    message.number(1, id.into());
    match reply {
        Reply::Error(error) => {
            let mut message = message.message(2);
            message.number(1, error.code.code().into());
            message.text(2, error.message);
            message.flag(3, error.code.is_temporary());
            message.end();
        }
        Reply::Connect(result) => {
            let mut message = message.message(5);
            client(&mut message, 1, result.client);
            message.text(2, result.version);
            write_expiry(&mut message, result.ttl_s);
            message.number(7, result.ping_s.into());
            message.flag(8, result.pong);
            message.end();
        }
        Reply::Subscribe(result) => write_subscribe_result(message.message(6), result),
        Reply::Unsubscribe => message.message(7).end(),
        Reply::Publish => message.message(8).end(),
        Reply::PresenceStats(result) => {
            let mut message = message.message(10);
            message.number(1, result.clients.into());
            message.number(2, result.users.into());
            message.end();
        }
        Reply::Refresh(result) => {
            let mut message = message.message(14);
            write_expiry(&mut message, result.ttl_s);
            message.end();
        }
    }
    message.end();
}

/// Appends news of `channel`: a whole message, for one client or for all in the channel.
pub fn write_push(out: &mut Vec<u8>, channel: &str, push: &Push<'_>) {
    let mut envelope = Message::begin(out);
    let mut message = envelope.message(4);
    message.text(2, channel);
    match push {
        Push::Publication(publication) => write_publication(message.message(4), publication),
        Push::Join(info) => write_member(message.message(5), info),
        Push::Leave(info) => write_member(message.message(6), info),
        Push::Unsubscribe(code) => {
            let mut message = message.message(7);
            message.number(2, code.code().into());
            message.text(3, code.text());
            message.end();
        }
    }
    message.end();
    envelope.end();
}

/// Fields 3 and 4 of both results that have them.
fn write_expiry(message: &mut Message<'_>, ttl_s: Option<u32>) {
    message.flag(3, ttl_s.is_some());
    message.number(4, ttl_s.unwrap_or(0).into());
}

fn write_subscribe_result(mut message: Message<'_>, result: &SubscribeResult<'_>) {
    message.flag(3, result.recoverable);
    message.text(6, result.epoch);
    for publication in result.publications {
        write_publication(message.message(7), publication);
    }
    message.flag(8, result.recovered);
    message.number(9, result.offset);
    message.flag(10, result.positioned);
    message.flag(12, result.was_recovering);
    message.end();
}

fn write_publication(mut message: Message<'_>, publication: &Publication<'_>) {
    message.bytes(4, publication.data);
    if let Some(info) = &publication.info {
        write_info(message.message(5), info);
    }
    message.number(6, publication.offset);
    for (key, value) in publication.tags {
        let mut tag = message.message(7);
        tag.text(1, key);
        tag.text(2, value);
        tag.end();
    }
    message.end();
}

fn write_member(mut message: Message<'_>, info: &ClientInfo<'_>) {
    write_info(message.message(1), info);
    message.end();
}

fn write_info(mut message: Message<'_>, info: &ClientInfo<'_>) {
    message.text(1, info.user);
    client(&mut message, 2, info.client);
    message.bytes(3, info.connection_info);
    message.bytes(4, info.channel_info);
    message.end();
}

fn client(message: &mut Message<'_>, field: u32, client: ClientId) {
    message.bytes(field, &client.text());
}
