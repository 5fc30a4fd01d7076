//! Two shards, the mesh between them, and no threads.

use super::*;
use crate::handler::{
    Answer, Asked, AskedEpoch, Entered, Entry, Message as HandlerMessage, MessageKind, Position,
    Question, Recover, Retention, Since,
};
use crate::ring::Batch;
use crate::sys::clock;

/// Two shards with a home for one channel each, and no threads.
pub(super) fn shards() -> [Channels; 2] {
    let hasher = std::hash::RandomState::new();
    let members = crate::mesh::build_with_slots(2, 64).expect("two members").into_iter();
    let mut shards = members
        .zip(0..)
        .map(|(mesh, here)| Channels::with_home(here, 2, 100, 1, mesh, clock::now(), &hasher));
    std::array::from_fn(|_| shards.next().expect("two"))
}

/// Connections from here on are gone when an answer comes.
pub(super) const GONE: u32 = 90;

pub(super) fn id(index: u32) -> ConnectionId {
    ConnectionId::new(index, 1)
}

/// The first names whose home is `shard`.
pub(super) fn names_at(shard: usize) -> [String; 2] {
    let homes = Homes::dealt(2);
    let mut names = (0..).map(|number| format!("channel-{number}"));
    let at_home = |name: &String| homes.home_of_channel(name) == ShardId::new(shard);
    std::array::from_fn(|_| names.find(at_home).expect("there are names enough"))
}

/// Hands over what each shard has for the other, in turns, until nobody has anything.
/// Returns who was told what of its entry.
pub(super) fn exchange(shards: &mut [Channels; 2]) -> Vec<(u32, Result<Entered, JoinError>)> {
    let mut heard = Vec::new();
    for shard in &mut *shards {
        shard.mesh.flush(|_| {});
    }
    loop {
        let mut count = 0;
        for shard in &mut *shards {
            while let Some(received) = shard.mesh.receive() {
                count += 1;
                match received.message.checked() {
                    Message::Entered(entered) => {
                        let index = entered.connection.index();
                        let told = shard.entered(*entered, index < GONE);
                        heard.extend(told.map(|(_, result)| (index, result)));
                    }
                    Message::Answered(_) => {} // for the connection that asked, if it is there
                    message => shard.take(received.from, message),
                }
            }
            shard.catch_up(|_| true, |id| id.index() < GONE);
            shard.mesh.flush(|_| {});
        }
        if count == 0 {
            return heard;
        }
    }
}

fn told(shard: &mut Channels) -> Vec<(u32, bool)> {
    std::iter::from_fn(|| shard.fanout.next_announcement())
        .map(|told| (told.member.0, told.is_member))
        .collect()
}

#[test]
fn a_full_home_here_or_elsewhere_ends_the_membership() {
    for home in [0, 1] {
        let mut shards = shards();
        let names = names_at(home);
        for (name, index) in names.iter().zip([4, 5]) {
            assert_eq!(shards[0].join(id(index), name), Ok(true));
        }
        exchange(&mut shards);
        assert_eq!(told(&mut shards[0]), [(4, true), (5, false)], "home {home}");
        assert!(shards[0].is_member(Index::new(4), &names[0]));
        assert!(!shards[0].is_member(Index::new(5), &names[1]));
        assert_eq!(shards[home].home.interest_refused, 1);
        // Once there is room again, the same join is confirmed.
        assert!(shards[0].leave(id(4), &names[0], true));
        exchange(&mut shards);
        assert_eq!(shards[0].join(id(5), &names[1]), Ok(true));
        exchange(&mut shards);
        assert_eq!(told(&mut shards[0]), [(5, true)], "home {home}");
    }
}

#[test]
fn a_delivery_for_an_interest_that_has_ended_is_counted_and_nobodys() {
    let mut shards = shards();
    let [name, _] = names_at(1);
    let index = id(4);
    assert_eq!(shards[0].join(index, &name), Ok(true));
    exchange(&mut shards);
    assert_eq!(told(&mut shards[0]), [(4, true)]);
    // The home sends, and the member leaves and comes back before it arrives.
    assert_eq!(shards[1].publish(&name, Arc::new(*b"old"), None), Ok(()));
    assert!(shards[0].leave(index, &name, true));
    assert_eq!(shards[0].join(index, &name), Ok(true));
    exchange(&mut shards);
    assert_eq!((shards[0].stale, shards[0].fanout.queue_bytes()), (1, 0));
    assert_eq!(told(&mut shards[0]), [(4, true)]);
    assert_eq!(shards[1].publish(&name, Arc::new(*b"new"), None), Ok(()));
    exchange(&mut shards);
    assert_eq!(shards[0].stale, 1);
    assert_eq!(shards[0].fanout.next().expect("a delivery").frames, [Arc::from(*b"new")]);
}

#[test]
fn a_shard_translates_until_its_question_reaches_the_home() {
    let mut shards = shards();
    for shard in &mut shards {
        let upper = |message: HandlerMessage<'_>| Some(message.payload().to_ascii_uppercase());
        shard.word_by(Words { translate: upper, ..Words::default() }, |_, _| Vec::new());
    }
    let [name, other] = names_at(1);
    assert_eq!(shards[0].join(id(4), &name), Ok(true));
    exchange(&mut shards);
    assert_eq!(told(&mut shards[0]), [(4, true)]);
    let mut batch = Batch::new(1024);
    // Published at the home, read as binary here; returns who has translated so far.
    let mut round = |shards: &mut [Channels; 2], is_full: bool| {
        assert_eq!(shards[1].publish(&name, Arc::new(*b"\x81\x02hi"), None), Ok(()));
        exchange(shards);
        while is_full && shards[0].publish(&other, Arc::new(*b"\x81\x00"), None).is_ok() {}
        let reads = |_| Some(MessageKind::Binary);
        let next = shards[0].next(&mut batch, reads, |_, _| false);
        let piece = next.and_then(|next| next.piece.ok().flatten()).expect("a delivery");
        assert_eq!(batch.bytes(piece), b"\x82\x02HI");
        exchange(shards);
        [0, 1].map(|at: usize| shards[at].translated + shards[at].home.translated)
    };
    assert_eq!(round(&mut shards, true), [1, 0], "there is no room for the question");
    assert_eq!(round(&mut shards, false), [2, 0], "the question leaves");
    assert_eq!(round(&mut shards, false), [2, 1], "the home knows");
    assert_eq!(round(&mut shards, true), [2, 2]);
}

const RETENTION: Retention = Retention { publications_max: 10, ttl_s: 60, meta_ttl_s: 600 };

/// A text message of so many bytes: the last one is the number.
fn frame(number: u8) -> Frame {
    Arc::new([0x81, 1, number])
}

fn since(position: Position) -> Since {
    Since { offset: position.offset, epoch: AskedEpoch::Is(position.epoch) }
}

fn positioned(recover: Option<Recover>) -> Entry {
    Entry { stream: Some(RETENTION), recover, tag: 5, ..Entry::default() }
}

/// All that is delivered to members of a shard, by payloads of less than 126 bytes.
pub(super) fn delivered_payloads(shard: &mut Channels) -> Vec<(u32, Vec<u8>)> {
    let mut all = Vec::new();
    while shard.fanout.has_work() {
        let Some(delivery) = shard.fanout.next() else { continue };
        let payloads = delivery.frames.iter().flat_map(|frame| frame[2..].to_vec());
        all.push((delivery.member.0, payloads.collect()));
    }
    all
}

/// All that is delivered to members of a shard, by the numbers of the publications.
fn delivered(shard: &mut Channels) -> Vec<(u32, Vec<u8>)> {
    let mut all = Vec::new();
    while shard.fanout.has_work() {
        let Some(delivery) = shard.fanout.next() else { continue };
        let numbers = delivery.frames.iter().map(|frame| frame[2]).collect();
        all.push((delivery.member.0, numbers));
    }
    all
}

/// Has a connection of shard 0 enter, and waits for the home's word.
pub(super) fn enter(
    shards: &mut [Channels; 2],
    index: u32,
    channel: &str,
    entry: Entry,
) -> Result<Entered, JoinError> {
    match shards[0].enter(id(index), channel, entry)? {
        Asked::Done(entered) => Ok(entered),
        Asked::Waits => {
            let heard = exchange(shards);
            let [(who, result)] = &heard[..] else { panic!("one answer: {heard:?}") };
            assert_eq!(*who, index);
            result.clone()
        }
    }
}

fn names(entered: &Entered) -> Vec<u8> {
    let recovered = entered.recovered.as_ref().expect("it was asked for");
    recovered.publications.frames().iter().map(|frame| frame[2]).collect()
}

#[test]
fn who_enters_gets_what_it_missed_and_then_what_follows() {
    for home in [0, 1] {
        let mut shards = shards();
        let [name, _] = names_at(home);
        let first = enter(&mut shards, 4, &name, positioned(None)).expect("let in");
        let start = first.position.expect("it was asked for");
        assert_eq!((start.offset, first.recovered), (0, None), "home {home}");
        for number in 1..=3 {
            assert_eq!(shards[home].publish(&name, frame(number), Some(RETENTION.into())), Ok(()));
        }
        exchange(&mut shards);
        let recover = Recover::Missed { since: since(start), publications_max: 10 };
        let second = enter(&mut shards, 5, &name, positioned(Some(recover))).expect("let in");
        assert_eq!(names(&second), [1, 2, 3], "home {home}");
        assert_eq!(second.position, Some(Position { offset: 3, ..start }));
        assert_eq!(shards[1 - home].publish(&name, frame(4), Some(RETENTION.into())), Ok(()));
        exchange(&mut shards);
        // Member 5 came while 1 to 3 were on their way to member 4.
        let all = delivered(&mut shards[0]);
        assert_eq!(all, [(4, vec![1, 2, 3, 4]), (5, vec![4])], "home {home}");
        assert_eq!(shards[0].standing(Index::new(5), &name).map(|one| one.tag), Some(5));
        let again = shards[0].enter(id(5), &name, positioned(None));
        assert_eq!(again, Err(JoinError::Member));
    }
}

#[test]
fn what_is_on_its_way_when_somebody_enters_is_its_once() {
    let mut shards = shards();
    let [name, _] = names_at(1);
    // The home publishes before it hears of the entry, and after it has answered.
    assert_eq!(shards[0].enter(id(4), &name, positioned(None)), Ok(Asked::Waits));
    assert_eq!(shards[1].publish(&name, frame(1), Some(RETENTION.into())), Ok(()));
    let heard = exchange(&mut shards);
    let [(4, Ok(entered))] = &heard[..] else { panic!("{heard:?}") };
    assert_eq!(entered.position.expect("asked for").offset, 1);
    assert_eq!(delivered(&mut shards[0]), []);
    let recover = Recover::Latest { since: Since { offset: 0, epoch: AskedEpoch::Any } };
    assert_eq!(shards[0].enter(id(5), &name, positioned(Some(recover))), Ok(Asked::Waits));
    shards[0].mesh.flush(|_| {});
    let request = shards[1].mesh.receive().expect("the entry");
    shards[1].take(request.from, request.message);
    assert_eq!(shards[1].publish(&name, frame(2), Some(RETENTION.into())), Ok(()));
    let heard = exchange(&mut shards);
    let [(5, Ok(entered))] = &heard[..] else { panic!("{heard:?}") };
    assert_eq!((names(entered), entered.position.expect("asked for").offset), (vec![1], 1));
    assert_eq!(delivered(&mut shards[0]), [(4, vec![2]), (5, vec![2])]);
}

#[test]
fn who_leaves_or_is_gone_before_the_answer_is_no_member_and_the_interest_ends() {
    for index in [4, GONE] {
        let mut shards = shards();
        let [name, _] = names_at(1);
        assert_eq!(shards[0].enter(id(index), &name, positioned(None)), Ok(Asked::Waits));
        assert_eq!(shards[0].join(id(index), &name), Err(JoinError::Member));
        let again = shards[0].enter(id(index), &name, positioned(None));
        assert_eq!(again, Err(JoinError::Member));
        if index != GONE {
            assert!(shards[0].leave(id(index), &name, true));
            assert!(!shards[0].leave(id(index), &name, true), "only once");
        }
        assert_eq!(exchange(&mut shards), []);
        assert!(!shards[0].is_member(Index::new(index), &name));
        assert_eq!(shards[0].fanout.channel_count(), 0);
        assert_eq!(shards[1].home.order.channel_count(), 0);
    }
}

#[test]
fn a_full_home_lets_nobody_in_and_keeps_nothing_of_it() {
    for home in [0, 1] {
        let mut shards = shards();
        let names = names_at(home);
        assert!(enter(&mut shards, 4, &names[0], positioned(None)).is_ok());
        let refused = enter(&mut shards, 5, &names[1], positioned(None));
        assert_eq!(refused, Err(JoinError::HomeFull), "home {home}");
        assert_eq!(told(&mut shards[0]), []);
        assert_eq!(shards[0].fanout.channel_count(), 1);
        assert!(shards[0].leave(id(4), &names[0], true));
        exchange(&mut shards);
        assert!(enter(&mut shards, 5, &names[1], positioned(None)).is_ok());
    }
}

#[test]
fn a_join_beside_an_entry_that_is_refused_is_refused_too() {
    let mut shards = shards();
    let names = names_at(1);
    assert!(enter(&mut shards, 4, &names[0], positioned(None)).is_ok());
    assert_eq!(shards[0].enter(id(5), &names[1], positioned(None)), Ok(Asked::Waits));
    // The home's refusal of the interest arrives; its answer to the entry has not yet.
    shards[0].mesh.flush(|_| {});
    let request = shards[1].mesh.receive().expect("the interest");
    shards[1].take(request.from, request.message);
    shards[1].mesh.flush(|_| {});
    let refusal = shards[0].mesh.receive().expect("the refusal");
    shards[0].take(refusal.from, refusal.message);
    assert_eq!(told(&mut shards[0]), []);
    assert_eq!(shards[0].join(id(6), &names[1]), Ok(true));
    assert_eq!(exchange(&mut shards), [(5, Err(JoinError::HomeFull))]);
    assert_eq!(told(&mut shards[0]), [(6, false)]);
    assert_eq!(shards[0].fanout.channel_count(), 1);
}

#[test]
fn history_is_answered_here_and_elsewhere() {
    let mut shards = shards();
    let [name, _] = names_at(0);
    for number in 1..=3 {
        assert_eq!(shards[1].publish(&name, frame(number), Some(RETENTION.into())), Ok(()));
    }
    exchange(&mut shards);
    let question = Question::History {
        since: None,
        publications_max: 2,
        is_reverse: true,
        retention: RETENTION,
    };
    let Ok(Asked::Done(answer)) = shards[0].ask(id(4), 7, &name, question.clone()) else {
        panic!("here")
    };
    let Answer::History { position, publications } = &answer else { panic!("{answer:?}") };
    let numbers: Vec<u8> = publications.frames().iter().map(|frame| frame[2]).collect();
    assert_eq!((position.offset, numbers), (3, vec![3, 2]));
    assert_eq!(shards[1].ask(id(4), 7, &name, question), Ok(Asked::Waits));
    shards[1].mesh.flush(|_| {});
    let request = shards[0].mesh.receive().expect("the question");
    shards[0].take(request.from, request.message);
    shards[0].mesh.flush(|_| {});
    let Some(Message::Answered(told)) = shards[1].mesh.receive().map(|one| one.message) else {
        panic!("no answer")
    };
    assert_eq!((told.connection, told.id, told.result), (id(4), 7, Ok(answer)));
}
