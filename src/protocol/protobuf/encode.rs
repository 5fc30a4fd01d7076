//! Replies and pushes to their bytes (2, 3, 4, 5).

use super::super::code::is_terminal;
use super::super::{
    ClientId, ClientInfo, ConnectResult, HistoryResult, Publication, PublicationList, Push, Reply,
    StreamNames, SubscribeResult, Subscription,
};
use super::writer::{Message, write_bytes};

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
        Reply::Failure(failure) => {
            let mut message = message.message(2);
            message.number(1, failure.code.into());
            message.text(2, failure.message);
            message.flag(3, failure.is_temporary);
            message.end();
        }
        Reply::Connect(result) => write_connect_result(message.message(5), result),
        Reply::Subscribe(result) => write_subscribe_result(message.message(6), result),
        Reply::Unsubscribe => message.message(7).end(),
        Reply::Publish => message.message(8).end(),
        Reply::Presence(clients) => {
            let mut message = message.message(9);
            message.encoded(clients);
            message.end();
        }
        Reply::PresenceStats(result) => {
            let mut message = message.message(10);
            message.number(1, result.clients.into());
            message.number(2, result.users.into());
            message.end();
        }
        Reply::History(result) => write_history_result(message.message(11), result),
        Reply::Rpc(data) => {
            let mut message = message.message(13);
            message.bytes(1, data);
            message.end();
        }
        Reply::Refresh(result) => {
            let mut message = message.message(14);
            write_expiry(&mut message, result.ttl_s);
            message.end();
        }
        Reply::SubRefresh(result) => {
            let mut message = message.message(15);
            write_subscription_expiry(&mut message, result.ttl_s);
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
        Push::Subscribe(subscription) => write_subscription(message.message(9), subscription),
        Push::Unsubscribe(code) => {
            let mut message = message.message(7);
            message.number(2, code.code().into());
            message.text(3, code.text());
            message.end();
        }
        Push::Message(data) => {
            let mut message = message.message(8);
            message.bytes(1, data);
            message.end();
        }
        Push::Disconnect(farewell) => {
            let mut message = message.message(11);
            message.number(1, farewell.code.into());
            message.text(2, farewell.reason);
            message.flag(3, !is_terminal(farewell.code));
            message.end();
        }
    }
    message.end();
    envelope.end();
}

/// Fields 1 and 2 of the results about subscriptions.
fn write_subscription_expiry(message: &mut Message<'_>, ttl_s: Option<u32>) {
    message.flag(1, ttl_s.is_some());
    message.number(2, ttl_s.unwrap_or(0).into());
}

/// Fields 3 and 4 of the results about connections.
fn write_expiry(message: &mut Message<'_>, ttl_s: Option<u32>) {
    message.flag(3, ttl_s.is_some());
    message.number(4, ttl_s.unwrap_or(0).into());
}

fn write_connect_result(mut message: Message<'_>, result: &ConnectResult<'_>) {
    client(&mut message, 1, result.client);
    message.text(2, result.version);
    write_expiry(&mut message, result.ttl_s);
    message.bytes(5, result.data);
    for (channel, result) in result.subs {
        let mut entry = message.message(6);
        entry.text(1, channel);
        write_subscribe_result(entry.message(2), result);
        entry.end();
    }
    message.number(7, result.ping_s.into());
    message.flag(8, result.pong);
    if let Some(StreamNames { session, node }) = result.stream {
        message.text(9, session);
        message.text(10, node);
    }
    message.end();
}

fn write_subscribe_result(mut message: Message<'_>, result: &SubscribeResult<'_>) {
    write_subscription_expiry(&mut message, result.ttl_s);
    message.flag(3, result.recoverable);
    message.text(6, result.epoch);
    message.encoded(result.publications);
    message.flag(8, result.recovered);
    message.number(9, result.offset);
    message.flag(10, result.positioned);
    message.bytes(11, result.data);
    message.flag(12, result.was_recovering);
    message.flag(13, result.delta);
    message.end();
}

fn write_history_result(mut message: Message<'_>, result: &HistoryResult<'_>) {
    message.encoded(result.publications);
    message.text(2, result.epoch);
    message.number(3, result.offset);
    message.end();
}

/// Its place stands last, where [`numbered`](super::numbered) puts it.
fn write_publication(mut message: Message<'_>, publication: &Publication<'_>) {
    message.bytes(4, publication.data);
    if let Some(info) = &publication.info {
        write_info(message.message(5), info);
    }
    for (key, value) in publication.tags {
        let mut tag = message.message(7);
        tag.text(1, key);
        tag.text(2, value);
        tag.end();
    }
    message.flag(8, publication.delta);
    write_place(&mut message, publication.offset, publication.epoch);
    message.end();
}

pub(super) fn write_place(message: &mut Message<'_>, offset: u64, epoch: &str) {
    message.number(6, offset);
    message.text(14, epoch);
}

fn write_subscription(mut message: Message<'_>, subscription: &Subscription<'_>) {
    message.flag(1, subscription.recoverable);
    message.text(4, subscription.epoch);
    message.number(5, subscription.offset);
    message.flag(6, subscription.positioned);
    message.bytes(7, subscription.data);
    message.end();
}

/// Appends these clients as a list, by their names.
pub fn write_clients<'a>(out: &mut Vec<u8>, clients: impl Iterator<Item = ClientInfo<'a>>) {
    for info in clients {
        let mut entry = Message::field(out, 1);
        client(&mut entry, 1, info.client);
        write_info(entry.message(2), &info);
        entry.end();
    }
}

/// Appends encoded publications as a list of this kind.
pub fn write_publications<'a>(
    out: &mut Vec<u8>,
    list: PublicationList,
    publications: impl Iterator<Item = &'a [u8]>,
) {
    let field = match list {
        PublicationList::Subscribe => 7,
        PublicationList::History => 1,
    };
    for publication in publications {
        write_bytes(out, field, publication);
    }
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
