//! Channels that keep what is published, for an application that speaks no protocol of ours.
//!
//! Setup: an application that enters channels, asks their homes, and puts offsets behind the texts
//! it publishes; clients on each of several shards, and channels whose home is on the client's shard
//! and elsewhere. Claims: an entry tells the position, and what was missed before it; what follows
//! is delivered, and nothing twice; who is present is told, also of one that vanished; deliveries
//! that are held back come behind what was sent meanwhile, and count as unsent output; a shard that
//! stood still is sent all that it missed, and nobody is told of a gap.

use std::sync::Arc;

use fleet::{Client, config, on_each_shard, wait_for};
use longwire::hub::Homes;
use longwire::{
    Answer, AskError, Asked, AskedEpoch, Config, Counters, Entered, Entry, Handler, JoinError,
    JoinEvent, Message, MessageKind, Peer, Position, Present, Publications, Question, Recover,
    Request, Retention, Running, Server, Since, Upgrade,
};

#[path = "support/fleet.rs"]
mod fleet;
#[path = "support/gate.rs"]
mod gate;

use gate::Gate;

const KEPT: u32 = 1000;
const RETENTION: Retention = Retention { publications_max: KEPT, ttl_s: 600, meta_ttl_s: 6000 };

struct Keeper {
    gate: Arc<Gate>,
}

fn text_of(publications: &Publications) -> String {
    let payloads = publications.payloads(MessageKind::Text, |_| None);
    let texts = payloads.map(|one| String::from_utf8(one.expect("text").into_owned()));
    texts.map(|text| text.expect("text")).collect::<Vec<_>>().join(",")
}

impl Keeper {
    fn enter(peer: &mut Peer<'_, Self>, channel: &str, entry: Entry) {
        match peer.enter(channel, entry) {
            Ok(Asked::Waits) => {}
            Ok(Asked::Done(entered)) => Self::say_entered(peer, channel, Ok(entered)),
            Err(error) => Self::say_entered(peer, channel, Err(error)),
        }
    }

    fn say_entered(peer: &mut Peer<'_, Self>, channel: &str, result: Result<Entered, JoinError>) {
        let tag = peer.tag(channel);
        let said = match result {
            Ok(Entered { position, recovered, .. }) => {
                let offset = position.map(|position| position.offset);
                let recovered = recovered.map(|one| (one.is_whole, text_of(&one.publications)));
                format!("in {offset:?} {recovered:?} {tag:?}")
            }
            Err(error) => format!("out {error:?} {tag:?}"),
        };
        peer.send(Message::text(&said)).expect("this client reads");
    }

    fn ask(peer: &mut Peer<'_, Self>, id: u32, channel: &str, question: Question) {
        match peer.ask(id, channel, question) {
            Ok(Asked::Waits) => {}
            Ok(Asked::Done(answer)) => Self::say_answer(peer, id, Ok(answer)),
            Err(error) => Self::say_answer(peer, id, Err(error)),
        }
    }

    fn say_answer(peer: &mut Peer<'_, Self>, id: u32, result: Result<Answer, AskError>) {
        let said = match result.expect("there is room") {
            Answer::History { position, publications } => {
                format!("{id}: {} {}", position.offset, text_of(&publications))
            }
            Answer::Unrecoverable => format!("{id}: unrecoverable"),
            Answer::HistoryRemoved => format!("{id}: removed"),
            Answer::Presence(present) => {
                let mut users: Vec<_> = present.iter().map(Present::user).collect();
                users.sort_unstable();
                format!("{id}: {users:?}")
            }
            Answer::PresenceStats { clients, users } => format!("{id}: {clients} of {users}"),
            Answer::Acknowledged => format!("{id}: acknowledged"),
        };
        peer.send(Message::text(&said)).expect("this client reads");
    }

    fn publish(peer: &mut Peer<'_, Self>, channel: &str, from: u64, to: u64) {
        for number in from..to {
            let text = format!("n{number}");
            let published = peer.publish_kept(channel, Message::text(&text), RETENTION);
            published.expect("there is room");
        }
        peer.send(Message::text("published")).expect("this client reads");
    }
}

/// A client that is present under this name.
fn present(user: &str) -> Present {
    Present::new([1; 16], user, b"", b"")
}

fn positioned(recover: Option<Recover>) -> Entry {
    Entry { stream: Some(RETENTION), recover, tag: 3, ..Entry::default() }
}

fn history(offset: u64, publications_max: u32, is_reverse: bool) -> Question {
    let since = (offset > 0).then_some(Since { offset, epoch: AskedEpoch::Any });
    Question::History { since, publications_max, is_reverse, retention: RETENTION }
}

impl Handler for Keeper {
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
        match words[..] {
            ["enter", channel] => Self::enter(peer, channel, positioned(None)),
            ["recover", channel, offset] => {
                let since = Since { offset: number(offset), epoch: AskedEpoch::Any };
                let recover = Recover::Missed { since, publications_max: 100 };
                Self::enter(peer, channel, positioned(Some(recover)));
            }
            ["come", channel, user] => {
                let presence = Some(present(user));
                let entry = Entry { presence, is_announced: true, ..Entry::default() };
                Self::enter(peer, channel, entry);
            }
            ["hear", channel] => {
                Self::enter(peer, channel, Entry { hears_joins: true, ..Entry::default() });
            }
            ["publish", channel, from, to] => {
                Self::publish(peer, channel, number(from), number(to));
            }
            ["history", channel, offset, max] => {
                let max = u32::try_from(number(max)).expect("few");
                Self::ask(peer, 7, channel, history(number(offset), max, false));
            }
            ["present", channel] => Self::ask(peer, 8, channel, Question::Presence),
            ["figures", channel] => Self::ask(peer, 9, channel, Question::PresenceStats),
            ["leave", channel] => assert!(peer.leave(channel)),
            ["hold"] => peer.hold_deliveries(),
            ["release"] => peer.release_deliveries(),
            ["stand"] => self.gate.stand(),
            _ => peer.send(message).expect("this client reads"),
        }
    }

    fn entered(
        &mut self,
        peer: &mut Peer<'_, Self>,
        channel: &str,
        result: Result<Entered, JoinError>,
    ) {
        Self::say_entered(peer, channel, result);
    }

    fn answered(&mut self, peer: &mut Peer<'_, Self>, id: u32, result: Result<Answer, AskError>) {
        Self::say_answer(peer, id, result);
    }

    fn numbered(publication: Message<'_>, position: Position) -> Option<Vec<u8>> {
        Some(format!("{}@{}", publication.as_text()?, position.offset).into_bytes())
    }

    fn joins(channel: &str, events: &[JoinEvent<'_>]) -> Vec<Vec<u8>> {
        let sign = |event: &JoinEvent<'_>| if event.has_come { '+' } else { '-' };
        let told = events.iter().map(|event| {
            format!("{channel}: {}{}", sign(event), event.present.user()).into_bytes()
        });
        told.collect()
    }

    fn missed(&mut self, peer: &mut Peer<'_, Self>, _channel: &str, count: u64) {
        peer.send(Message::text(&format!("missed {count}"))).expect("this client reads");
    }
}

fn server(config: Config) -> (Running, Arc<Gate>) {
    let gate = Arc::new(Gate::default());
    let at_shards = Arc::clone(&gate);
    let make = move |_shard| Keeper { gate: Arc::clone(&at_shards) };
    (Server::start(config, make).expect("starts"), gate)
}

fn counters(server: &Running) -> Counters {
    server.snapshot().expect("it runs").counters
}

/// A channel whose home is `shard` of two.
fn channel_at(shard: usize) -> String {
    let homes = Homes::dealt(2);
    let mut names = (0..).map(|number| format!("channel-{number}"));
    names.find(|name| homes.home_of_channel(name).index() == shard).expect("there are enough")
}

/// Two clients on the first of two shards, one on the second.
fn three(server: &Running) -> [Client; 3] {
    let mut clients = on_each_shard(server, "/", 2);
    let last = clients[1].pop().expect("two");
    let second = clients[0].pop().expect("two");
    [clients[0].pop().expect("two"), second, last]
}

#[test]
fn who_comes_back_gets_what_it_missed_wherever_the_home_is() {
    let (server, _gate) = server(config(2, 200));
    let [mut reader, mut late, mut writer] = three(&server);
    for home in [0, 1] {
        let channel = channel_at(home);
        assert_eq!(reader.ask_text(&format!("enter {channel}")), "in Some(0) None Some(3)");
        let order = format!("publish {channel} 1 5");
        assert_eq!(writer.ask_text(&order), "published");
        for number in 1..5 {
            assert_eq!(reader.text(), format!("n{number}@{number}"), "home {home}");
        }
        let back = late.ask_text(&format!("recover {channel} 2"));
        assert_eq!(back, r#"in Some(4) Some((true, "n3@3,n4@4")) Some(3)"#, "home {home}");
        let again = late.ask_text(&format!("recover {channel} 2"));
        assert_eq!(again, "out Member Some(3)");
        assert_eq!(writer.ask_text(&format!("publish {channel} 5 6")), "published");
        assert_eq!((reader.text(), late.text()), ("n5@5".into(), "n5@5".into()));
        for client in [&mut late, &mut writer] {
            let told = client.ask_text(&format!("history {channel} 1 2"));
            assert_eq!(told, "7: 5 n2@2,n3@3", "home {home}");
        }
        late.send(&format!("leave {channel}"));
        assert_eq!(late.ask_text("and"), "and", "and nothing else");
        let lost = late.ask_text(&format!("recover {channel} 9"));
        assert_eq!(lost, r#"in Some(5) Some((false, "")) Some(3)"#, "home {home}");
        late.send(&format!("leave {channel}"));
    }
    let counters = counters(&server);
    assert_eq!((counters.publications_kept, counters.publications_missed), (10, 0));
    assert_eq!(server.snapshot().expect("it runs").streams, 2);
}

#[test]
fn who_is_there_is_told_and_who_vanishes_is_not_there() {
    let (server, _gate) = server(config(2, 200));
    for home in [0, 1] {
        let [mut hearer, guest, mut other] = three(&server);
        let channel = channel_at(home);
        assert_eq!(hearer.ask_text(&format!("hear {channel}")), "in None None Some(0)");
        let mut guests = [guest, Client::connect(server.address())];
        guests[1].text();
        for (client, user) in guests.iter_mut().zip(["ann", "bob"]) {
            let told = client.ask_text(&format!("come {channel} {user}"));
            assert_eq!(told, "in None None Some(0)");
            assert_eq!(hearer.text(), format!("{channel}: +{user}"));
        }
        assert_eq!(other.ask_text(&format!("present {channel}")), r#"8: ["ann", "bob"]"#);
        assert_eq!(hearer.ask_text(&format!("figures {channel}")), "9: 2 of 2");
        let [mut ann, bob] = guests;
        drop(bob);
        assert_eq!(hearer.text(), format!("{channel}: -bob"));
        assert_eq!(other.ask_text(&format!("figures {channel}")), "9: 1 of 1");
        assert_eq!(ann.ask_text("and"), "and", "who does not hear of it is told nothing");
        ann.send(&format!("leave {channel}"));
        assert_eq!(hearer.text(), format!("{channel}: -ann"));
    }
    wait_for(&server, "nobody is present", |snapshot| snapshot.present == 0);
}

#[test]
fn what_is_held_back_comes_behind_what_was_sent_meanwhile() {
    let (server, _gate) = server(config(1, 200));
    let mut clients: Vec<Client> = on_each_shard(&server, "/", 2).into_iter().flatten().collect();
    let [reader, witness] = &mut clients[..] else { panic!("two") };
    for client in [&mut *reader, &mut *witness] {
        client.ask_text("enter a");
    }
    reader.send("hold");
    assert_eq!(reader.ask_text("held"), "held");
    assert_eq!(witness.ask_text("publish a 1 3"), "published");
    assert_eq!((witness.text(), witness.text()), ("n1@1".into(), "n2@2".into()));
    assert_eq!(reader.ask_text("still"), "still", "nothing comes before it is released");
    reader.send("release");
    assert_eq!((reader.text(), reader.text()), ("n1@1".into(), "n2@2".into()));
    witness.send("publish a 3 4");
    assert_eq!(reader.text(), "n3@3", "nothing is held back any more");
}

#[test]
fn what_is_held_back_has_the_bound_of_unsent_output() {
    let config = Config { output_bytes_max: 2000, ..config(1, 200) };
    let (server, _gate) = server(config);
    let mut clients: Vec<Client> = on_each_shard(&server, "/", 2).into_iter().flatten().collect();
    let [reader, witness] = &mut clients[..] else { panic!("two") };
    reader.ask_text("enter a");
    reader.send("hold");
    assert_eq!(reader.ask_text("held"), "held");
    for start in (0..1000).step_by(50) {
        assert_eq!(witness.ask_text(&format!("publish a {start} {}", start + 50)), "published");
    }
    assert_eq!(reader.closed(), Some(1008));
    let snapshot = wait_for(&server, "one is left", |snapshot| snapshot.open == 1);
    assert_eq!((snapshot.counters.output_overflows, snapshot.backlog_bytes), (1, 0));
}

#[test]
fn a_shard_that_stood_still_is_sent_all_that_it_missed() {
    const COUNT: u64 = 600;
    let small = Config { mesh_slots: Some(8), ..config(2, 200) };
    let (server, gate) = server(small);
    let [mut reader, mut stander, mut writer] = three(&server);
    let channel = channel_at(1);
    assert_eq!(reader.ask_text(&format!("enter {channel}")), "in Some(0) None Some(3)");
    stander.send("stand");
    gate.wait_until_it_stands();
    let order = format!("publish {channel} 1 {}", COUNT + 1);
    assert_eq!(writer.ask_text(&order), "published");
    gate.go_on();
    for number in 1..=COUNT {
        assert_eq!(reader.text(), format!("n{number}@{number}"));
    }
    assert_eq!(reader.ask_text("and"), "and", "no more than that");
    let counters = counters(&server);
    assert!(counters.publications_resent >= COUNT - 8, "{}", counters.publications_resent);
    assert_eq!((counters.publications_missed, counters.gaps_sent), (0, 0));
}
