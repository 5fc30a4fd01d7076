//! Facts that Centrifugo exposes too, under its names with our prefix.
//!
//! A dashboard has to be told the prefix, and that counters end in `_total` and durations in
//! `_seconds`, as the text format wants it. Labels are those that are counted by: errors by code
//! but not by method, messages by transport but not by the kind of frame or the namespace.
//!
//! Only what is counted stands here: a name with a zero that means "not known" would be a lie. So
//! users have a name here only while there is a limit for their connections.

use std::fmt;

use super::metrics::Metrics;
use crate::metrics::{Closes, Counters, Snapshot};

/// Writes all of them.
pub(super) fn encode(
    metrics: &mut Metrics<'_>,
    snapshot: &Snapshot,
    connections_max: u64,
) -> fmt::Result {
    for (name, help, value) in [
        ("node_num_clients", "Clients connected to this node", snapshot.clients()),
        ("node_num_subscriptions", "Memberships in channels on this node", snapshot.subscriptions),
        ("node_num_channels", "Channels on this node", snapshot.channels),
        ("client_subscriptions_inflight", "Memberships in channels", snapshot.subscriptions),
        ("node_num_nodes", "Nodes of this system", 1),
        ("node_client_connection_limit", "Connections that this node takes", connections_max),
    ] {
        metrics.gauge(name, help, None, value)?;
    }
    if snapshot.users > 0 {
        metrics.gauge("node_num_users", super::USERS_HELP, None, snapshot.users)?;
    }
    let counters = &snapshot.counters;
    metrics.gauges(
        "client_connections_inflight",
        "Clients connected",
        "transport",
        &by_transport(
            snapshot.clients(),
            counters.client_connects_http_stream.saturating_sub(counters.client_ends_http_stream),
            counters.client_connects_sse.saturating_sub(counters.client_ends_sse),
        ),
    )?;
    for Counted { name, help, label, values } in families(&snapshot.counters) {
        metrics.counters(name, help, label, &values)?;
    }
    let subscriptions = snapshot.counters.client_subscribes;
    metrics.counter("client_subscriptions_accepted", "Subscriptions", None, subscriptions)?;
    closes(metrics, &snapshot.details.closes)?;
    metrics.histogram(
        "client_command_duration",
        "Time spent on commands of clients, without the wait for a channel's or user's home",
        &snapshot.details.command_seconds,
    )
}

/// Close frames by code.
fn closes(metrics: &mut Metrics<'_>, closes: &Closes) -> fmt::Result {
    let codes: Vec<(String, u64)> = closes
        .iter()
        .map(|(code, count)| (code.map_or("other".to_owned(), |code| code.to_string()), count))
        .collect();
    let values: Vec<_> = codes.iter().map(|(code, count)| (code.as_str(), *count)).collect();
    metrics.counters("transport_outgoing_close_count", "Close frames sent", "code", &values)
}

/// A family of counters with one label.
struct Counted {
    name: &'static str,
    help: &'static str,
    label: &'static str,
    values: Vec<(&'static str, u64)>,
}

fn families(counters: &Counters) -> Vec<Counted> {
    let family = |name, help, label, values: &[_]| {
        let values = values.to_vec();
        Counted { name, help, label, values }
    };
    let sent = counters.messages_sent + counters.deliveries;
    let publications = [("publication", counters.published)];
    vec![
        family(
            "client_connections_accepted",
            "Clients that connected",
            "transport",
            &by_transport(
                counters.client_connects,
                counters.client_connects_http_stream,
                counters.client_connects_sse,
            ),
        ),
        family(
            "transport_messages_received",
            "Messages from clients, also of those over HTTP: a WebSocket carries them inside",
            "transport",
            &[("websocket", counters.messages_received)],
        ),
        family(
            "transport_messages_sent",
            "Messages to clients, publications included, also to those over HTTP",
            "transport",
            &[("websocket", sent)],
        ),
        family(
            "transport_messages_received_size",
            "Bytes of messages from clients, without the headers of their frames",
            "transport",
            &[("websocket", counters.messages_received_bytes)],
        ),
        family(
            "transport_messages_sent_size",
            "Bytes of messages to clients, with the headers of their frames",
            "transport",
            &[("websocket", counters.messages_sent_bytes + counters.deliveries_bytes)],
        ),
        family(
            "node_messages_received_count",
            "Publications of clients and back ends",
            "type",
            &publications,
        ),
        family(
            "node_messages_sent_count",
            "Publications to members of channels",
            "type",
            &[("publication", counters.deliveries)],
        ),
        family("node_action_count", "What was done", "action", &actions(counters)),
        family("client_num_reply_errors", "Error replies", "code", &reply_errors(counters)),
        family(
            "client_num_server_disconnects",
            "Clients that the server disconnected",
            "code",
            &disconnects(counters),
        ),
        family(
            "client_num_server_unsubscribes",
            "Subscriptions that the server ended",
            "code",
            &[("2500", counters.unsubscribes_insufficient_state)],
        ),
    ]
}

/// A count of clients by what carries them, from that of all and of those over HTTP.
fn by_transport(all: u64, http_stream: u64, sse: u64) -> [(&'static str, u64); 3] {
    let websocket = all - http_stream - sse;
    [("websocket", websocket), ("http_stream", http_stream), ("sse", sse)]
}

fn actions(counters: &Counters) -> [(&'static str, u64); 3] {
    [
        ("add_client", counters.client_connects),
        ("add_subscription", counters.client_subscribes),
        ("remove_subscription", counters.client_unsubscribes),
    ]
}

fn reply_errors(counters: &Counters) -> Vec<(&'static str, u64)> {
    vec![
        ("100", counters.errors_internal),
        ("102", counters.errors_unknown_channel),
        ("103", counters.errors_permission_denied),
        ("105", counters.errors_already_subscribed),
        ("106", counters.errors_limit_exceeded),
        ("107", counters.errors_bad_request),
        ("108", counters.errors_not_available),
        ("109", counters.errors_token_expired),
        ("110", counters.errors_expired),
        ("111", counters.errors_too_many_requests),
        ("other", counters.errors_other),
        ("application", counters.errors_application),
    ]
}

fn disconnects(counters: &Counters) -> Vec<(&'static str, u64)> {
    vec![
        ("3001", counters.disconnects_shutdown),
        ("3005", counters.disconnects_expired),
        ("3008", counters.disconnects_slow),
        ("3012", counters.disconnects_no_pong),
        ("3013", counters.disconnects_too_many_requests),
        ("3500", counters.disconnects_invalid_token),
        ("3501", counters.disconnects_bad_request),
        ("3502", counters.disconnects_stale),
        ("3504", counters.disconnects_connection_limit),
        ("3506", counters.disconnects_inappropriate_protocol),
        ("3507", counters.disconnects_permission_denied),
        ("3508", counters.disconnects_not_available),
        ("other", counters.disconnects_other),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of the family, and of all counters whose name begins so, each set to another one.
    fn counted(prefix: &str, family: fn(&Counters) -> Vec<(&'static str, u64)>) -> [Vec<u64>; 2] {
        let mut counters = Counters::default();
        let names: Vec<_> = counters.iter().map(|(name, _)| name).collect();
        for ((value, name), number) in counters.values_mut().into_iter().zip(&names).zip(1..) {
            *value = if name.starts_with(prefix) { number } else { 0 };
        }
        let mut shown: Vec<_> = family(&counters).iter().map(|(_, value)| *value).collect();
        shown.sort_unstable();
        [shown, counters.iter().map(|(_, value)| value).filter(|value| *value > 0).collect()]
    }

    #[test]
    fn each_counter_of_a_code_has_one_label() {
        for (prefix, family) in
            [("errors_", reply_errors as fn(&_) -> _), ("disconnects_", disconnects)]
        {
            let [shown, set] = counted(prefix, family);
            assert_eq!(shown, set, "{prefix}");
        }
    }
}
