//! What back ends publish and ask, on its way from the site to channels' homes, and the homes'
//! answers on their way back.
//!
//! ```text
//!   Ask ─▶ sent to the home ─▶ asked: waits for its answer ─▶ oneshot
//!      └─ no room ─▶ waits, in order, for each home
//! ```
//!
//! Invariants: nothing overtakes on its way to a home; what nobody waits for any more and has not
//! been sent is not sent, for the site has answered "busy" in its place, and what was answered so
//! must not happen later; all that waits together is bounded, and one too many is refused.

use std::collections::{HashMap, VecDeque};

use tokio::sync::oneshot;

use crate::control::{Busy, Kept, Placed, Publication, Question, Told};
use crate::handler::{self, AskError, AskedEpoch, Keep, MessageKind, Position, Retention, Since};
use crate::limits::HOME_REQUESTS_MAX;
use crate::mesh::{Class, Full, Member, MemberId};
use crate::metrics::Counters;
use crate::shard::{BackEnd, Message, Version, in_words};

/// Who waits for what.
enum Asker {
    Publisher(oneshot::Sender<Result<Option<Placed>, Busy>>),
    Other(oneshot::Sender<Result<Told, Busy>>),
}

impl Asker {
    fn is_gone(&self) -> bool {
        match self {
            Self::Publisher(answer) => answer.is_closed(),
            Self::Other(answer) => answer.is_closed(),
        }
    }

    /// Whoever asked may have stopped waiting.
    fn refuse(self) {
        match self {
            Self::Publisher(answer) => drop(answer.send(Err(Busy))),
            Self::Other(answer) => drop(answer.send(Err(Busy))),
        }
    }
}

/// Something for a home.
struct Request {
    ask: u32,
    message: Message,
    class: Class,
    asker: Asker,
}

/// All that is under way to homes.
pub(super) struct Asking {
    back_end: BackEnd,
    /// By home, what there was no room for.
    waiting: Box<[VecDeque<Request>]>,
    waiting_count: usize,
    /// Those whom a home owes an answer.
    asked: HashMap<u32, Asker>,
    last_ask: u32,
}

impl Asking {
    pub(super) fn new(shard_count: usize) -> Self {
        Self {
            back_end: BackEnd::new(shard_count),
            waiting: (0..shard_count).map(|_| VecDeque::new()).collect(),
            waiting_count: 0,
            asked: HashMap::new(),
            last_ask: 0,
        }
    }

    /// Sends one publication to its channel's home. Answered with its place where it is kept, and
    /// as soon as it is sent elsewhere.
    pub(super) fn publish(
        &mut self,
        mesh: &mut Member<Message>,
        counters: &mut Counters,
        (channel, publication): (&str, Publication),
        answer: oneshot::Sender<Result<Option<Placed>, Busy>>,
    ) {
        let Publication { message, is_binary, kept, makes_delta, version } = publication;
        let kind = if is_binary { MessageKind::Binary } else { MessageKind::Text };
        let ask = self.next_ask();
        let home = self.back_end.home_of(channel);
        let frame = BackEnd::frame(kind, &message);
        let keep = kept.map(|kept| Keep { retention: retention(kept), makes_delta });
        let (message, class) = match keep {
            None => (Message::publication(channel.into(), frame, None), Class::Delivery),
            Some(keep) => {
                let version =
                    version.map(|(number, epoch)| Version { number, epoch: epoch.into() });
                (BackEnd::place(ask, channel, frame, keep, version), Class::Request)
            }
        };
        let asker = Asker::Publisher(answer);
        self.request(mesh, counters, home, Request { ask, message, class, asker });
    }

    /// Asks a channel's home.
    pub(super) fn ask(
        &mut self,
        mesh: &mut Member<Message>,
        counters: &mut Counters,
        (channel, what): (&str, &Question),
        answer: oneshot::Sender<Result<Told, Busy>>,
    ) {
        let ask = self.next_ask();
        let home = self.back_end.home_of(channel);
        let message = BackEnd::question(ask, channel, question(what));
        let asker = Asker::Other(answer);
        let request = Request { ask, message, class: Class::Request, asker };
        self.request(mesh, counters, home, request);
    }

    /// Nothing waits for a home, or for its answer.
    pub(super) fn is_quiet(&self) -> bool {
        self.waiting_count == 0 && self.asked.is_empty()
    }

    fn next_ask(&mut self) -> u32 {
        // Far fewer are under way than there are numbers.
        self.last_ask = self.last_ask.wrapping_add(1);
        self.last_ask
    }

    fn request(
        &mut self,
        mesh: &mut Member<Message>,
        counters: &mut Counters,
        home: MemberId,
        request: Request,
    ) {
        if self.waiting_count + self.asked.len() >= HOME_REQUESTS_MAX {
            counters.publishes_refused += 1;
            return request.asker.refuse();
        }
        self.waiting[home.as_usize()].push_back(request);
        self.waiting_count += 1;
        self.send_some(mesh, counters, home);
    }

    /// Sends what there was no room for before: the mesh wakes this thread when there is some.
    pub(super) fn advance(&mut self, mesh: &mut Member<Message>, counters: &mut Counters) {
        for home in (0..self.waiting.len()).map(MemberId::new) {
            self.send_some(mesh, counters, home);
        }
    }

    fn send_some(&mut self, mesh: &mut Member<Message>, counters: &mut Counters, home: MemberId) {
        let waiting = &mut self.waiting[home.as_usize()];
        while let Some(Request { ask, message, class, asker }) = waiting.pop_front() {
            self.waiting_count -= 1;
            if asker.is_gone() {
                counters.publishes_late += 1;
                continue;
            }
            if let Err(Full(message)) = mesh.send(home, message, class) {
                waiting.push_front(Request { ask, message, class, asker });
                self.waiting_count += 1;
                return;
            }
            match (class, asker) {
                (Class::Request, asker) => drop(self.asked.insert(ask, asker)),
                (_, Asker::Publisher(answer)) => {
                    counters.published += 1;
                    // The site is on this thread, so who waited above still waits.
                    let _answered = answer.send(Ok(None));
                }
                (_, Asker::Other(_)) => unreachable!("questions are requests"),
            }
        }
    }

    /// A home has given a publication its place.
    pub(super) fn placed(&mut self, ask: u32, place: Option<Position>, counters: &mut Counters) {
        let Some(Asker::Publisher(answer)) = self.asked.remove(&ask) else {
            unreachable!("a home answers once, to what it was asked")
        };
        counters.published += 1;
        let placed =
            place.map(|at| Placed { offset: at.offset, epoch: at.epoch.as_str().to_owned() });
        // Who asked may have stopped waiting.
        let _gone = answer.send(Ok(placed));
    }

    /// A home has answered a question.
    pub(super) fn answered(&mut self, ask: u32, result: Result<handler::Answer, AskError>) {
        let Some(Asker::Other(answer)) = self.asked.remove(&ask) else {
            unreachable!("a home answers once, to what it was asked")
        };
        let _gone = answer.send(result.map(told).map_err(|_| Busy));
    }
}

fn retention(kept: Kept) -> Retention {
    let Kept { publications_max, ttl_s, meta_ttl_s } = kept;
    Retention { publications_max, ttl_s, meta_ttl_s }
}

fn question(asked: &Question) -> handler::Question {
    match asked {
        Question::History { since, publications_max, is_reverse, kept } => {
            let since = since
                .as_ref()
                .map(|(offset, epoch)| Since { offset: *offset, epoch: AskedEpoch::of(epoch) });
            handler::Question::History {
                since,
                publications_max: *publications_max,
                is_reverse: *is_reverse,
                retention: retention(*kept),
            }
        }
        Question::RemoveHistory => handler::Question::RemoveHistory,
        Question::Presence => handler::Question::Presence,
        Question::PresenceStats => handler::Question::PresenceStats,
    }
}

/// What a home has said, in words.
fn told(answer: handler::Answer) -> Told {
    match answer {
        handler::Answer::History { position, publications } => {
            let Some(publications) = in_words::publications(&publications) else {
                return Told::Unreadable;
            };
            let end = Placed { offset: position.offset, epoch: position.epoch.as_str().to_owned() };
            Told::History { publications, end }
        }
        handler::Answer::Unrecoverable => Told::Unrecoverable,
        handler::Answer::HistoryRemoved => Told::HistoryRemoved,
        handler::Answer::Presence(clients) => Told::Presence(in_words::clients(&clients)),
        handler::Answer::PresenceStats { clients, users } => Told::PresenceStats { clients, users },
        handler::Answer::Acknowledged => unreachable!("back ends acknowledge nothing"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh;

    fn ends() -> (Member<Message>, Member<Message>) {
        let mut members = mesh::build_with_slots(2, 8).unwrap();
        (members.pop().unwrap(), members.pop().unwrap())
    }

    type Answered = oneshot::Receiver<Result<Option<Placed>, Busy>>;

    fn publish(
        asking: &mut Asking,
        mesh: &mut Member<Message>,
        counters: &mut Counters,
        (data, is_kept): (usize, bool),
    ) -> Answered {
        let (answer, answered) = oneshot::channel();
        let kept = Kept { publications_max: 1, ttl_s: 1, meta_ttl_s: 1 };
        let message = data.to_string().into_bytes();
        let kept = is_kept.then_some(kept);
        let publication =
            Publication { message, is_binary: false, kept, makes_delta: false, version: None };
        asking.publish(mesh, counters, ("a", publication), answer);
        answered
    }

    /// What the home receives now, in order; it answers what is asked.
    fn received(control: &mut Member<Message>, home: &mut Member<Message>) -> Vec<String> {
        control.flush(|_| {});
        let mut texts = Vec::new();
        while let Some(received) = home.receive() {
            let frame = match received.message {
                Message::Publish { frame, .. } => frame,
                Message::Place(place) => {
                    home.answer(received.from, Message::Placed { ask: place.ask, place: None });
                    place.publication.frame
                }
                other => panic!("{other:?}"),
            };
            texts.push(String::from_utf8(frame[2..].to_vec()).unwrap());
        }
        home.flush(|_| {});
        texts
    }

    fn take_answers(asking: &mut Asking, control: &mut Member<Message>, counters: &mut Counters) {
        while let Some(received) = control.receive() {
            let Message::Placed { ask, place } = received.message else { panic!("{received:?}") };
            asking.placed(ask, place, counters);
        }
        control.flush(|_| {});
    }

    #[test]
    fn what_nobody_waits_for_is_not_published() {
        let (mut control, mut home) = ends();
        let mut asking = Asking::new(1);
        let mut counters = Counters::default();
        for is_kept in [false, true] {
            let waits: Vec<Answered> = (0..20)
                .map(|data| publish(&mut asking, &mut control, &mut counters, (data, is_kept)))
                .collect();
            let first = received(&mut control, &mut home);
            assert!(first.len() < 20, "the queue is short");
            drop(waits);
            asking.advance(&mut control, &mut counters);
            assert_eq!(received(&mut control, &mut home), [""; 0]);
            take_answers(&mut asking, &mut control, &mut counters);
        }
        assert_eq!(counters.published + counters.publishes_late, 40);
    }

    #[test]
    fn a_full_queue_delays_and_nothing_overtakes() {
        let (mut control, mut home) = ends();
        let mut asking = Asking::new(1);
        let mut counters = Counters::default();
        let mut waits: Vec<Answered> = (0..40)
            .map(|data| publish(&mut asking, &mut control, &mut counters, (data, data % 3 == 0)))
            .collect();
        let mut seen = Vec::new();
        while seen.len() < 40 {
            seen.extend(received(&mut control, &mut home));
            take_answers(&mut asking, &mut control, &mut counters);
            asking.advance(&mut control, &mut counters);
        }
        take_answers(&mut asking, &mut control, &mut counters);
        assert!(seen.iter().enumerate().all(|(place, text)| *text == place.to_string()));
        assert!(waits.iter_mut().all(|answer| answer.try_recv() == Ok(Ok(None))));
        assert_eq!(counters.published, 40);
    }

    #[test]
    fn one_too_many_is_refused_and_counted() {
        let (mut control, _home) = ends();
        let mut asking = Asking::new(1);
        let mut counters = Counters::default();
        let waits: Vec<Answered> = (0..HOME_REQUESTS_MAX)
            .map(|data| publish(&mut asking, &mut control, &mut counters, (data, true)))
            .collect();
        let mut late = publish(&mut asking, &mut control, &mut counters, (0, true));
        assert_eq!((late.try_recv(), counters.publishes_refused), (Ok(Err(Busy)), 1));
        drop(waits);
    }
}
