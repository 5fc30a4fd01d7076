//! A full queue between two shards costs what did not fit, and says so.
//!
//! Setup: three shards, or two, with queues of two slots, of which one is kept for answers; the
//! handler of a shard stops in `message` until the test lets it go on. Claims: a publication to a
//! channel whose home does not take it is `Full` at once, and counted; what the home cannot hand
//! to a member's shard is told there as missed, to the last one; a join that could not be told is
//! told later, and never overtaken; two shards that are full to each other still drain; a third
//! shard serves on.

use std::sync::{Arc, Barrier};

use fleet::{Client, config, on_each_shard};
use longwire::hub::Homes;
use longwire::{Config, Handler, Message, Peer, PublishError, Request, Running, Server, Upgrade};

#[path = "support/fleet.rs"]
mod fleet;
#[path = "support/gate.rs"]
mod gate;

use gate::Gate;

struct Publisher {
    gate: Arc<Gate>,
    /// Where two shards wait for each other.
    meeting: Arc<Barrier>,
}

impl Publisher {
    /// Publishes the numbers `from..to` and says how many were taken.
    fn publish(peer: &mut Peer<'_, Self>, channel: &str, from: u64, to: u64) -> u64 {
        let taken = (from..to).filter(|number| {
            let published = peer.publish(channel, Message::text(&format!("heard {number}")));
            assert!(matches!(published, Ok(()) | Err(PublishError::Full)), "{published:?}");
            published.is_ok()
        });
        taken.count() as u64
    }
}

impl Handler for Publisher {
    type Connection = ();

    fn upgrade(&mut self, _request: &Request<'_>) -> Upgrade<()> {
        Upgrade::accept(())
    }

    fn open(&mut self, peer: &mut Peer<'_, Self>) {
        let number = peer.shard().number().to_string();
        peer.send(Message::text(&number)).expect("this client reads");
    }

    fn message(&mut self, peer: &mut Peer<'_, Self>, message: Message<'_>) {
        let text = message.as_text().expect("text");
        let words: Vec<_> = text.split(' ').collect();
        let number = |word: &str| word.parse().expect("a number");
        let answer = match words[..] {
            ["stand"] => {
                self.gate.stand();
                "went on".to_owned()
            }
            ["join", channel] => {
                peer.join(channel).expect("there is room");
                "joined".to_owned()
            }
            ["publish", channel, from, to] => {
                format!("took {}", Self::publish(peer, channel, number(from), number(to)))
            }
            ["meet", near, far, count] => {
                self.meeting.wait();
                let near = Self::publish(peer, near, 0, number(count));
                let far = Self::publish(peer, far, 0, number(count));
                self.meeting.wait();
                format!("took {near} {far}")
            }
            _ => text.to_owned(),
        };
        peer.send(Message::text(&answer)).expect("this client reads");
    }

    fn missed(&mut self, peer: &mut Peer<'_, Self>, channel: &str, count: u64) {
        let text = format!("missed {count} of {channel}");
        peer.send(Message::text(&text)).expect("this client reads");
    }
}

fn server(shards: u32) -> (Running, Arc<Gate>) {
    let gate = Arc::new(Gate::default());
    let (shared, meeting) = (Arc::clone(&gate), Arc::new(Barrier::new(2)));
    let make = move |_shard| Publisher { gate: Arc::clone(&shared), meeting: Arc::clone(&meeting) };
    let config = Config { mesh_slots: Some(2), ..config(shards, 300) };
    (Server::start(config, make).expect("starts"), gate)
}

/// A client on each shard, in their order.
fn client_on_each_shard(server: &Running) -> Vec<Client> {
    on_each_shard(server, "/", 1).into_iter().flatten().collect()
}

/// The `nth` channel whose home is `shard` of `shard_count`.
fn channel_at(shard: usize, shard_count: usize, nth: usize) -> String {
    let homes = Homes::dealt(shard_count);
    let names = (0..).map(|number| format!("channel-{number}"));
    let mut here = names.filter(|name| homes.home_of_channel(name).index() == shard);
    here.nth(nth).expect("there are names enough")
}

fn number_in(text: &str, prefix: &str) -> u64 {
    let rest = text.strip_prefix(prefix).unwrap_or_else(|| panic!("{prefix}, not {text}"));
    rest.split(' ').next().and_then(|word| word.parse().ok()).expect("a number")
}

fn join(client: &mut Client, channel: &str) {
    assert_eq!(client.ask_text(&format!("join {channel}")), "joined");
}

/// Publishes one number again and again, until it is taken; returns how often it was refused.
fn publish_until_taken(client: &mut Client, channel: &str, number: u64) -> u64 {
    let order = format!("publish {channel} {number} {}", number + 1);
    let mut refused = 0;
    loop {
        client.send(&order);
        match client.text().as_str() {
            "took 0" => refused += 1,
            "took 1" => return refused,
            text => panic!("an answer, not {text}"),
        }
    }
}

/// Publishes until all members hear the last one: nothing is on the way to them then.
fn wait_until_known(publisher: &mut Client, members: &mut [&mut Client], channel: &str) {
    for number in 1000.. {
        assert!(number < 100_000, "the home of {channel} never hears of its members");
        assert_eq!(publish_until_taken(publisher, channel, number), 0, "its home takes it");
        let expected = format!("heard {number}");
        let mut all_heard_it = true;
        for member in &mut *members {
            all_heard_it &= last_heard(member) == expected;
        }
        if all_heard_it {
            return;
        }
    }
}

/// The last that came before the answer to a message that is sent now.
fn last_heard(member: &mut Client) -> String {
    member.send("so far");
    let mut last = String::new();
    loop {
        let text = member.text();
        if text == "so far" {
            return last;
        }
        last = text;
    }
}

/// Takes what a member hears of `count` publications; returns how many it was told it missed.
fn missed_of(member: &mut Client, count: u64) -> u64 {
    let (mut heard, mut missed) = (0, 0);
    while heard + missed < count {
        let text = member.text();
        if text.starts_with("missed ") {
            missed += number_in(&text, "missed ");
        } else {
            assert_eq!(number_in(&text, "heard "), heard + missed, "the one that comes next");
            heard += 1;
        }
    }
    assert_eq!(heard + missed, count);
    assert_eq!(member.ask_text("and no more"), "and no more");
    missed
}

#[test]
fn a_publisher_hears_full_at_once_and_a_third_shard_serves_on() {
    const COUNT: u64 = 100;
    let (server, gate) = server(3);
    let mut clients = client_on_each_shard(&server);
    let [sender, stander, third] = &mut clients[..] else { panic!("three shards") };
    let (theirs, own) = (channel_at(1, 3, 0), channel_at(2, 3, 0));
    join(stander, &theirs);
    join(third, &own);
    stander.send("stand");
    gate.wait_until_it_stands();

    let taken = number_in(&sender.ask_text(&format!("publish {theirs} 0 {COUNT}")), "took ");
    assert_eq!(taken, 1, "one slot for publications");
    assert_eq!(sender.ask_text(&format!("publish {theirs} 0 1")), "took 0", "and still full");
    sender.echo(100);
    third.echo(100);
    for number in 0..50 {
        third.send(&format!("publish {own} {number} {}", number + 1));
        let mut both = [third.text(), third.text()];
        both.sort_unstable();
        assert_eq!(both, [format!("heard {number}"), "took 1".to_owned()]);
    }

    gate.go_on();
    assert_eq!(stander.text(), "went on");
    assert_eq!(stander.text(), "heard 0", "what was taken is delivered");
    let refused = publish_until_taken(sender, &theirs, 200);
    assert_eq!(stander.text(), "heard 200", "and nothing of what was refused");
    let counters = server.snapshot().expect("it runs").counters;
    assert_eq!(counters.publishes_refused, COUNT - taken + 1 + refused);
    assert_eq!(counters.published, taken + 50 + 1);
    assert_eq!(counters.publications_missed, 0, "refused is not missed");
}

#[test]
fn what_the_home_cannot_hand_on_is_told_as_missed() {
    const COUNT: u64 = 100;
    let (server, gate) = server(3);
    let mut clients = client_on_each_shard(&server);
    let [sender, stander, third] = &mut clients[..] else { panic!("three shards") };
    let channel = channel_at(0, 3, 0);
    join(stander, &channel);
    join(third, &channel);
    wait_until_known(sender, &mut [&mut *stander, &mut *third], &channel);
    let before = server.snapshot().expect("it runs").counters;

    stander.send("stand");
    gate.wait_until_it_stands();
    let order = format!("publish {channel} 0 {COUNT}");
    assert_eq!(sender.ask_text(&order), format!("took {COUNT}"), "the home takes them all");
    sender.echo(100);
    let missed_by_third = missed_of(third, COUNT);
    gate.go_on();
    assert_eq!(stander.text(), "went on");
    let missed_by_stander = missed_of(stander, COUNT);

    assert_eq!(missed_by_stander, COUNT - 1, "one slot for deliveries");
    let counters = server.snapshot().expect("it runs").counters;
    let missed = counters.publications_missed - before.publications_missed;
    assert_eq!(missed, missed_by_stander + missed_by_third);
    assert_eq!(counters.deliveries - before.deliveries, 2 * COUNT - missed);
    assert_eq!(counters.publishes_refused, 0, "missed is not refused");
}

#[test]
fn a_join_made_while_the_queue_was_full_arrives_and_is_not_overtaken() {
    let (server, gate) = server(2);
    let mut clients = client_on_each_shard(&server);
    let [joiner, stander] = &mut clients[..] else { panic!("two shards") };
    let (filling, wanted) = (channel_at(1, 2, 0), channel_at(1, 2, 1));
    stander.send("stand");
    gate.wait_until_it_stands();
    assert_eq!(joiner.ask_text(&format!("publish {filling} 0 10")), "took 1");
    join(joiner, &wanted);
    let order = format!("publish {wanted} 0 10");
    assert_eq!(joiner.ask_text(&order), "took 0", "it may not overtake the join");
    gate.go_on();
    assert_eq!(stander.text(), "went on");
    // Its own publication comes behind its join: the first that is taken is heard, or told as
    // missed where the answer to the join still stands in the queue.
    let mut refused = 9 + 10;
    refused += publish_until_taken(joiner, &wanted, 10);
    let told = joiner.text();
    assert!(told == "heard 10" || told == format!("missed 1 of {wanted}"), "{told}");
    assert_eq!(server.snapshot().expect("it runs").counters.publishes_refused, refused);
}

#[test]
fn two_shards_that_are_full_to_each_other_drain() {
    const COUNT: u64 = 50;
    let (server, _gate) = server(2);
    let mut clients = on_each_shard(&server, "/", 2);
    let channels = [channel_at(0, 2, 0), channel_at(1, 2, 0)];
    // The member of each channel lives on the other shard, and every home knows of it.
    let [near, far] = &mut clients[..] else { panic!("two shards") };
    join(&mut far[1], &channels[0]);
    wait_until_known(&mut near[0], &mut [&mut far[1]], &channels[0]);
    join(&mut near[1], &channels[1]);
    wait_until_known(&mut far[0], &mut [&mut near[1]], &channels[1]);
    let before = server.snapshot().expect("it runs").counters;
    // Each publishes to its own channel, whose member is with the other, and to the other's.
    for (shard, clients) in clients.iter_mut().enumerate() {
        let (near, far) = (&channels[shard], &channels[1 - shard]);
        clients[0].send(&format!("meet {near} {far} {COUNT}"));
    }
    for clients in &mut clients {
        // The slot is taken by the delivery of what was published here first.
        assert_eq!(clients[0].text(), format!("took {COUNT} 0"), "each is full to the other");
    }
    for clients in &mut clients {
        assert_eq!(missed_of(&mut clients[1], COUNT), COUNT - 1);
    }
    let counters = server.snapshot().expect("it runs").counters;
    assert_eq!(counters.publications_missed - before.publications_missed, 2 * (COUNT - 1));
    assert_eq!(counters.gaps_sent - before.gaps_sent, 2, "one gap in each direction");
    assert_eq!(counters.publishes_refused - before.publishes_refused, 2 * COUNT);
    for (home, channel) in channels.iter().enumerate() {
        let [near, far] = &mut clients[..] else { panic!("two shards") };
        let (home, other) = if home == 0 { (near, far) } else { (far, near) };
        wait_until_known(&mut home[0], &mut [&mut other[1]], channel);
    }
}
