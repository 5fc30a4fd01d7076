//! Replies and pushes to their text (2, 3, 4, 5).

use super::super::code::is_terminal;
use super::super::{
    ClientInfo, ConnectResult, HistoryResult, Publication, Push, Reply, StreamNames,
    SubscribeResult, Subscription,
};
use super::object::Object;

/// Appends the reply to command `id`.
pub fn write_reply(out: &mut Vec<u8>, id: u32, reply: &Reply<'_>) {
    let mut object = Object::begin(out);
    object.number("id", id.into());
    match reply {
        Reply::Error(error) => {
            let mut object = object.object("error");
            object.number("code", error.code.code().into());
            object.text("message", error.message);
            object.flag("temporary", error.code.is_temporary());
            object.end();
        }
        Reply::Failure(failure) => {
            let mut object = object.object("error");
            object.number("code", failure.code.into());
            object.text("message", failure.message);
            object.flag("temporary", failure.is_temporary);
            object.end();
        }
        Reply::Connect(result) => write_connect_result(object.object("connect"), result),
        Reply::Subscribe(result) => write_subscribe_result(object.object("subscribe"), result),
        Reply::Unsubscribe => object.object("unsubscribe").end(),
        Reply::Publish => object.object("publish").end(),
        Reply::Presence(clients) => {
            let mut object = object.object("presence");
            object.encoded_object("presence", clients);
            object.end();
        }
        Reply::PresenceStats(result) => {
            let mut object = object.object("presence_stats");
            object.number_always("num_clients", result.clients.into());
            object.number_always("num_users", result.users.into());
            object.end();
        }
        Reply::History(result) => write_history_result(object.object("history"), result),
        Reply::Rpc(data) => {
            let mut object = object.object("rpc");
            object.raw("data", data);
            object.end();
        }
        Reply::Refresh(result) => {
            let mut object = object.object("refresh");
            write_expiry(&mut object, result.ttl_s);
            object.end();
        }
        Reply::SubRefresh(result) => {
            let mut object = object.object("sub_refresh");
            write_expiry(&mut object, result.ttl_s);
            object.end();
        }
    }
    object.end();
}

/// Appends news of `channel`: a whole message, for one client or for all in the channel.
pub fn write_push(out: &mut Vec<u8>, channel: &str, push: &Push<'_>) {
    let mut envelope = Object::begin(out);
    let mut object = envelope.object("push");
    object.text("channel", channel);
    match push {
        Push::Publication(publication) => write_publication(object.object("pub"), publication),
        Push::Join(info) => write_member(object.object("join"), info),
        Push::Leave(info) => write_member(object.object("leave"), info),
        Push::Subscribe(subscription) => {
            write_subscription(object.object("subscribe"), subscription);
        }
        Push::Unsubscribe(code) => {
            let mut object = object.object("unsubscribe");
            object.number("code", code.code().into());
            object.text("reason", code.text());
            object.end();
        }
        Push::Message(data) => {
            let mut object = object.object("message");
            object.raw("data", data);
            object.end();
        }
        Push::Disconnect(farewell) => {
            let mut object = object.object("disconnect");
            object.number("code", farewell.code.into());
            object.text("reason", farewell.reason);
            object.flag("reconnect", !is_terminal(farewell.code));
            object.end();
        }
    }
    object.end();
    envelope.end();
}

fn write_expiry(object: &mut Object<'_>, ttl_s: Option<u32>) {
    object.flag("expires", ttl_s.is_some());
    object.number("ttl", ttl_s.unwrap_or(0).into());
}

fn write_connect_result(mut object: Object<'_>, result: &ConnectResult<'_>) {
    object.client("client", result.client);
    object.text("version", result.version);
    write_expiry(&mut object, result.ttl_s);
    object.raw("data", result.data);
    if !result.subs.is_empty() {
        let mut subs = object.object("subs");
        for (channel, result) in result.subs {
            write_subscribe_result(subs.object(channel), result);
        }
        subs.end();
    }
    object.number("ping", result.ping_s.into());
    object.flag("pong", result.pong);
    if let Some(StreamNames { session, node }) = result.stream {
        object.text("session", session);
        object.text("node", node);
    }
    object.end();
}

fn write_subscribe_result(mut object: Object<'_>, result: &SubscribeResult<'_>) {
    write_expiry(&mut object, result.ttl_s);
    object.flag("recoverable", result.recoverable);
    object.text("epoch", result.epoch);
    if !result.publications.is_empty() {
        object.encoded_list("publications", result.publications);
    }
    object.flag("recovered", result.recovered);
    object.number("offset", result.offset);
    object.flag("positioned", result.positioned);
    object.raw("data", result.data);
    object.flag("was_recovering", result.was_recovering);
    object.flag("delta", result.delta);
    object.end();
}

fn write_history_result(mut object: Object<'_>, result: &HistoryResult<'_>) {
    object.encoded_list("publications", result.publications);
    object.text_always("epoch", result.epoch);
    object.number_always("offset", result.offset);
    object.end();
}

/// Its place stands last, where [`numbered`](super::numbered) puts it.
fn write_publication(mut object: Object<'_>, publication: &Publication<'_>) {
    object.raw("data", publication.data);
    if let Some(info) = &publication.info {
        write_info(object.object("info"), info);
    }
    if !publication.tags.is_empty() {
        let mut tags = object.object("tags");
        for (key, value) in publication.tags {
            tags.text_always(key, value);
        }
        tags.end();
    }
    object.flag("delta", publication.delta);
    write_place(&mut object, publication.offset, publication.epoch);
    object.end();
}

pub(super) fn write_place(object: &mut Object<'_>, offset: u64, epoch: &str) {
    object.number("offset", offset);
    object.text("epoch", epoch);
}

fn write_subscription(mut object: Object<'_>, subscription: &Subscription<'_>) {
    object.flag("recoverable", subscription.recoverable);
    object.text("epoch", subscription.epoch);
    object.number("offset", subscription.offset);
    object.flag("positioned", subscription.positioned);
    object.raw("data", subscription.data);
    object.end();
}

/// Appends these clients as a list, by their names.
pub fn write_clients<'a>(out: &mut Vec<u8>, clients: impl Iterator<Item = ClientInfo<'a>>) {
    let mut list = Object::inside(out);
    for info in clients {
        let name = info.client.text();
        let name = std::str::from_utf8(&name).expect("digits and dashes");
        write_info(list.object(name), &info);
    }
}

/// Appends encoded publications as a list.
pub fn write_publications<'a>(out: &mut Vec<u8>, publications: impl Iterator<Item = &'a [u8]>) {
    for (place, publication) in publications.enumerate() {
        if place > 0 {
            out.push(b',');
        }
        out.extend_from_slice(publication);
    }
}

fn write_member(mut object: Object<'_>, info: &ClientInfo<'_>) {
    write_info(object.object("info"), info);
    object.end();
}

fn write_info(mut object: Object<'_>, info: &ClientInfo<'_>) {
    object.text_always("user", info.user);
    object.client("client", info.client);
    object.raw("conn_info", info.connection_info);
    object.raw("chan_info", info.channel_info);
    object.end();
}
