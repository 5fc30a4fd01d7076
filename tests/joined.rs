//! A confirmed join is a promise: what is published after it arrives.
//!
//! Setup: four shards, clients on each, and more channels than there are shards, so that most of
//! them have their home elsewhere. Claims: every join that makes a membership is confirmed once,
//! never from within `join`, and not for who left or was a member; nothing of a channel reaches a
//! member before its confirmation; a publication accepted after it, on whatever shard, does; and a
//! connection is in as many channels as it may be, no more.

use fleet::{Client, config, on_each_shard};
use longwire::{Config, Handler, JoinError, Message, Peer, Request, Running, Server, Upgrade};

#[path = "support/fleet.rs"]
mod fleet;

const SHARDS: u32 = 4;

/// Joins, leaves and publishes as it is told; the state is set while a call of `join` lasts.
struct Member;

impl Handler for Member {
    type Connection = bool;

    fn upgrade(&mut self, _request: &Request<'_>) -> Upgrade<bool> {
        Upgrade::accept(false)
    }

    fn open(&mut self, peer: &mut Peer<'_, Self>) {
        let number = peer.shard().number().to_string();
        peer.send(Message::text(&number)).expect("this client reads");
    }

    fn message(&mut self, peer: &mut Peer<'_, Self>, message: Message<'_>) {
        let text = message.as_text().expect("text");
        let words: Vec<_> = text.split(' ').collect();
        match words[..] {
            ["join", ref channels @ ..] => {
                *peer.state().expect("open") = true;
                for channel in channels {
                    peer.join(channel).expect("there is room");
                }
                *peer.state().expect("open") = false;
            }
            ["pass", channel] => {
                peer.join(channel).expect("there is room");
                assert!(peer.leave(channel));
            }
            ["try", channel] => {
                let result = format!("{:?}", peer.join(channel));
                peer.send(Message::text(&result)).expect("this client reads");
            }
            ["leave", channel] => assert!(peer.leave(channel)),
            ["publish", channel, number] => {
                let text = format!("heard {channel} {number}");
                peer.publish(channel, Message::text(&text)).expect("there is room");
            }
            _ => peer.send(message).expect("this client reads"),
        }
    }

    fn joined(&mut self, peer: &mut Peer<'_, Self>, channel: &str, result: Result<(), JoinError>) {
        assert_eq!(result, Ok(()), "there is room");
        assert_eq!(peer.state(), Some(&mut false), "called from within `join`");
        peer.send(Message::text(&format!("joined {channel}"))).expect("this client reads");
    }
}

fn server() -> (Running, Vec<Vec<Client>>) {
    let config = Config { max_connections: Some(200), ..config(SHARDS, 200) };
    let server = Server::start(config, |_shard| Member).expect("starts");
    let clients = on_each_shard(&server, "/", 2);
    (server, clients)
}

#[test]
fn what_is_published_after_a_confirmed_join_reaches_the_member_wherever_it_is() {
    let (server, mut clients) = server();
    let channels: Vec<String> = (0..16).map(|number| format!("channel-{number}")).collect();
    for (round, channel) in channels.iter().enumerate() {
        // One after the other, so that each join races what the clients before it publish.
        let mut members = 0;
        for shard in 0..clients.len() {
            for nth in 0..2 {
                clients[shard][nth].send(&format!("join {channel}"));
                assert_eq!(next(&mut clients[shard][nth]), format!("joined {channel}"));
                members += 1;
                let publisher = (shard + round) % clients.len();
                clients[publisher][1 - nth].send(&format!("publish {channel} {members}"));
                let heard = format!("heard {channel} {members}");
                for (at, client) in clients.iter_mut().flatten().enumerate() {
                    if at < members {
                        assert_eq!(next(client), heard, "member {at} of {members}");
                    }
                }
            }
        }
    }
    let counters = server.snapshot().expect("it runs").counters;
    assert_eq!((counters.publications_missed, counters.publications_stale), (0, 0));
    assert_eq!(counters.deliveries, 16 * (1..=8).sum::<u64>());
}

#[test]
fn a_join_is_confirmed_once_and_one_that_ended_before_is_not() {
    let (_server, mut clients) = server();
    for client in clients.iter_mut().flatten() {
        // Joined twice in one call: one membership, one confirmation.
        client.send("join one one");
        assert_eq!(next(client), "joined one");
        client.send("join one");
        assert_eq!(client.ask_text("nothing more"), "nothing more");
        client.send("pass two");
        client.send("join three");
        assert_eq!(next(client), "joined three", "two was left before its home could answer");
        client.send("join two");
        assert_eq!(next(client), "joined two");
        assert_eq!(client.ask_text("nothing more"), "nothing more");
    }
}

#[test]
fn joins_by_the_thousand_in_one_turn_are_all_confirmed_before_they_are_delivered_to() {
    let server =
        Server::start(Config { connection_channels_max: 5000, ..config(2, 50) }, |_shard| Member);
    let server = server.expect("starts");
    let mut clients = on_each_shard(&server, "/", 1);
    let client = &mut clients[0][0];
    let channels: Vec<String> = (0..4000).map(|number| format!("c{number}")).collect();
    client.send(&format!("join {}", channels.join(" ")));
    client.send("publish c3999 0");
    let mut joined = std::collections::BTreeSet::new();
    let mut heard = 0;
    while joined.len() < channels.len() || heard == 0 {
        let text = next(client);
        if let Some(channel) = text.strip_prefix("joined ") {
            assert!(joined.insert(channel.to_owned()), "{channel} twice");
        } else {
            assert_eq!(text, "heard c3999 0");
            assert!(joined.contains("c3999"), "delivered before it was confirmed");
            heard += 1;
        }
    }
    assert_eq!(heard, 1);
}

#[test]
fn a_connection_is_in_as_many_channels_as_it_may_be() {
    let config = Config { connection_channels_max: 2, ..config(1, 10) };
    let server = Server::start(config, |_shard| Member).expect("starts");
    let mut client = Client::connect(server.address());
    assert_eq!(next(&mut client), "0");
    for channel in ["a", "b"] {
        assert_eq!(client.ask_text(&format!("try {channel}")), "Ok(())");
        assert_eq!(next(&mut client), format!("joined {channel}"));
    }
    assert_eq!(client.ask_text("try c"), "Err(ConnectionChannels)");
    assert_eq!(client.ask_text("try a"), "Ok(())", "it is in there");
    client.send("leave a");
    assert_eq!(client.ask_text("try c"), "Ok(())");
    assert_eq!(next(&mut client), "joined c");
    let counters = server.snapshot().expect("it runs").counters;
    assert_eq!((counters.joins_refused, counters.handler_panics), (1, 0));
}

fn next(client: &mut Client) -> String {
    client.text()
}
