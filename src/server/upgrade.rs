//! An upgrade, from the older process's side: the new process, the words to and from it, and what
//! the shards are told.
//!
//! [`Older`] decides; this carries it out. What cannot be done at once, because somebody's queue
//! is full, waits here in order, and is tried again in each turn of the control thread.

use std::collections::VecDeque;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};

use super::asked::{Asker, Succession};
use super::notify::{self, News};
use super::predecessor::VARIABLE;
use super::start::Place;
use super::survey::{Counts, Found, Survey};
use super::unix::UnixShare;
use super::ways::Ways;
use super::will::Will;
use crate::control::{Address, Side};
use crate::handover::{self, Action, Bequest, Built, Event, Failure, Offer, Older, Word};
use crate::limits::{HANDED_REQUESTS_PATIENCE, HANDED_WORD_BYTES_MAX, SHARDS_MAX};
use crate::mesh::{Class, Member, MemberId};
use crate::metrics::Counters;
use crate::shard::{HandOver, Message};
use crate::sys::fdpass::{self, ReceiveError, SendError};
use crate::sys::step::Step;
use crate::sys::watched::Watched;
use crate::sys::{clock, socket};

/// What the control thread has that an upgrade needs.
pub(super) struct Hands<'a> {
    pub(super) mesh: &'a mut Member<Message>,
    /// The ways to the shards, for descriptors.
    pub(super) pass: &'a [Arc<OwnedFd>],
    pub(super) places: &'a [Place],
    /// Listeners on Unix sockets.
    pub(super) unix: &'a [UnixShare],
    /// The listener of the internal port.
    pub(super) internal: Option<BorrowedFd<'a>>,
    /// Whether everything that the server has can be handed over.
    pub(super) is_portable: bool,
    /// Connections that there are.
    pub(super) connections: u32,
    pub(super) counters: &'a mut Counters,
}

/// The new process, and the way to it.
struct Newer {
    child: Child,
    socket: Watched<OwnedFd>,
}

/// Copies of descriptors that the shards send ahead, while they serve.
#[derive(Default)]
struct Ahead {
    /// Both processes know of them.
    is_known: bool,
    /// Shards that have not said that all of theirs are there.
    uncopied: usize,
    copies: u64,
    /// The new process is to hear that the shards stand still.
    is_still_untold: bool,
}

/// The upgrade that is under way, if there is one.
pub(super) struct Upgrade {
    succession: Option<Succession>,
    older: Older,
    newer: Option<Newer>,
    deadline: Option<Instant>,
    ways: Ways,
    /// What shards are to be told, for want of room.
    untold: VecDeque<(MemberId, Message)>,
    /// Whether anything is on its way between the shards, while they come to stand still.
    survey: Option<Survey>,
    /// A round of it is to be made.
    asks_again: bool,
    /// What was accepted on Unix sockets and given to shards when the present round began.
    dealt_before: Option<u64>,
    /// What the control thread leaves to that of the new process.
    will: Will,
    /// Shards that have not said that all of theirs has moved.
    unmoved: usize,
    connections: u64,
    /// Those of them that went by copies which were sent ahead.
    copied: u64,
    ahead: Ahead,
    askers: Vec<Asker>,
    /// Shards of the new process.
    newer_shards: u16,
    /// How often the shards were told to stand still.
    attempt: u8,
    froze: Option<Instant>,
    asked_at: Option<Instant>,
    /// Why the new process refuses, in its own words.
    refusal: Option<String>,
    /// Who has taken over. Nobody else gets its number while this process has not waited for it.
    successor: Option<Pid>,
}

impl Upgrade {
    pub(super) fn new(succession: Option<Succession>) -> Self {
        Self {
            succession,
            older: Older::default(),
            newer: None,
            deadline: None,
            ways: Ways::default(),
            untold: VecDeque::new(),
            survey: None,
            asks_again: false,
            dealt_before: None,
            will: Will::default(),
            unmoved: 0,
            connections: 0,
            copied: 0,
            ahead: Ahead::default(),
            askers: Vec::new(),
            newer_shards: 0,
            attempt: 0,
            froze: None,
            asked_at: None,
            refusal: None,
            successor: None,
        }
    }

    pub(super) fn succession(&self) -> Option<&Succession> {
        self.succession.as_ref()
    }

    pub(super) fn is_under_way(&self) -> bool {
        self.older.is_under_way()
    }

    /// Everything is the new process's: this one is to leave.
    pub(super) fn has_left(&self) -> bool {
        self.older.has_left()
    }

    /// The shards are to be sent nothing by others: what they have is on its way elsewhere.
    pub(super) fn holds_shards(&self) -> bool {
        self.has_left() || (self.older.is_moving() && self.survey.is_none())
    }

    /// What back ends ask is to wait.
    pub(super) fn holds_asks(&self) -> bool {
        self.older.is_moving() && !self.waits_for_requests()
    }

    /// Requests of back ends that were under way are still waited for.
    pub(super) fn waits_for_requests(&self) -> bool {
        let is_late = |froze| clock::now() > froze + HANDED_REQUESTS_PATIENCE;
        self.survey.is_some() && !self.froze.is_some_and(is_late)
    }

    /// Where requests of back ends are carried out that come now.
    pub(super) fn side(&self, places: &[Place], unix: &[UnixShare]) -> Side {
        if !self.has_left() {
            return if self.older.is_moving() { Side::Still } else { Side::Here };
        }
        let tcp = |place: &Place| Address::Tcp(place.address, place.proxied);
        // One without a header in front, if there is one.
        let place = places.iter().min_by_key(|place| place.proxied).map(tcp);
        let path = || unix.first().map(|share| Address::Unix(share.path().to_owned()));
        place.or_else(path).map_or(Side::Still, Side::There)
    }

    /// When something is to be looked at again.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Something waits for room.
    pub(super) fn has_waiting(&self) -> bool {
        !self.ways.is_empty()
            || !self.untold.is_empty()
            || self.asks_again
            || self.ahead.is_still_untold
            || self.will.has_parts()
    }

    /// Waits for a word of the new process.
    pub(super) async fn heard(&self) {
        match &self.newer {
            Some(newer) => {
                if let Err(error) = newer.socket.readable().await {
                    tracing::error!(%error, "the new process cannot be waited for");
                }
            }
            None => std::future::pending().await,
        }
    }

    /// Somebody wants an upgrade, or a rehearsal of it.
    pub(super) fn ask(&mut self, hands: &mut Hands<'_>, is_check: bool, asker: Option<Asker>) {
        let refusal = match (&self.succession, hands.is_portable) {
            (_, false) => Some(
                "failed: this server's connections cannot be handed over: those of `longwire raw \
                 echo` and `longwire serve` can",
            ),
            (None, _) => Some("failed: this server does not know its own binary"),
            _ if self.is_under_way() => Some("failed: another upgrade is under way"),
            _ => None,
        };
        if let Some(refusal) = refusal {
            hands.counters.handovers_declined += 1;
            tracing::warn!("upgrade {refusal}");
            if let Some(mut asker) = asker {
                asker.tell(refusal);
            }
            return;
        }
        self.askers.extend(asker);
        self.asked_at = Some(clock::now());
        let counters = &mut *hands.counters;
        *(if is_check {
            &mut counters.handovers_rehearsed
        } else {
            &mut counters.handovers_begun
        }) += 1;
        self.on(hands, Event::Asked { is_check });
    }

    /// The server is to stop.
    pub(super) fn give_up(&mut self, hands: &mut Hands<'_>) {
        self.on(hands, Event::Stuck(Failure::Stopping));
    }

    /// Whoever wants to stop the server has named this process, and means the one that serves: it
    /// is told, once. False if there is none.
    pub(super) fn pass_on_stop(&mut self) -> bool {
        let Some(successor) = self.successor.take() else { return false };
        tracing::warn!(pid = successor.as_raw_nonzero(), "the stop is for the process that serves");
        if let Err(error) = kill_process(successor, Signal::TERM) {
            tracing::error!(%error, "the process that serves cannot be told to stop");
        }
        true
    }

    /// A shard has sent all of its connections, or has some that cannot go.
    pub(super) fn moved(&mut self, hands: &mut Hands<'_>, connections: Option<u64>, copied: u64) {
        match connections {
            Some(count) => {
                self.connections += count;
                self.copied += copied;
                self.unmoved = self.unmoved.saturating_sub(1);
                if self.unmoved == 0 && self.older.is_moving() {
                    let since = self.connections.saturating_sub(self.copied);
                    let words = format!("sent {} connections", self.connections);
                    self.tell(&if self.ahead.is_known {
                        format!("{words}, {since} of them not copied ahead")
                    } else {
                        words
                    });
                }
            }
            None => self.on(hands, Event::Stuck(Failure::NotPortable)),
        }
    }

    /// A shard has said how much it has sent and received.
    pub(super) fn surveyed(
        &mut self,
        hands: &Hands<'_>,
        round: u32,
        (counts, is_idle): (Counts, bool),
        own_is_idle: bool,
    ) {
        let Some(survey) = &mut self.survey else { return };
        // What was given to shards before a round began they have taken when they answer.
        let now = dealt(hands.unix);
        let own_is_idle = own_is_idle && now.is_some() && now == self.dealt_before;
        let own = hands.mesh.counters();
        let own = Counts { sent: own.sent, received: own.received };
        match survey.answered(round, counts, is_idle, (own, own_is_idle)) {
            Found::Nothing => {}
            Found::Stir => self.asks_again = true,
            Found::Quiet => {
                self.survey = None;
                self.tell("nothing is under way any more");
                if !self.will.begin() {
                    self.send_shards(hands);
                }
            }
        }
    }

    /// Whether the bequest is to be made now: nothing changes it any more.
    pub(super) fn wants_bequest(&self) -> bool {
        self.will.is_wanted()
    }

    /// What the control thread leaves to that of the new process.
    pub(super) fn bequeath(&mut self, bequest: &Bequest) {
        self.will.make(bequest);
    }

    /// The shards are to send what they have.
    fn send_shards(&mut self, hands: &Hands<'_>) {
        self.untold = to_all(hands, &Message::HandOver(HandOver::Send));
    }

    /// Sends the bequest, as far as there is room, and then has the shards send what they have.
    fn send_will(&mut self, hands: &mut Hands<'_>) {
        let may_send = self.will.has_parts() && !self.ahead.is_still_untold;
        let Some(newer) = self.newer.as_ref().filter(|_| may_send) else { return };
        match self.will.send(newer.socket.get()) {
            Ok(()) => self.send_shards(hands),
            Err(SendError::Full | SendError::TooManyInFlight | SendError::Closed) => {}
            Err(error) => {
                tracing::error!(?error, "the way to the new process broke");
                self.on(hands, Event::Stuck(Failure::Broken));
            }
        }
    }

    /// Asks for the next round, when all have heard what was said before.
    fn ask_again(&mut self, hands: &Hands<'_>) {
        if let Some(survey) = self.survey.as_mut().filter(|_| self.asks_again)
            && self.untold.is_empty()
        {
            let round = survey.begin();
            self.asks_again = false;
            self.dealt_before = dealt(hands.unix);
            self.untold = to_all(hands, &Message::HandOver(HandOver::Survey { round }));
        }
    }

    /// Does what can be done now.
    pub(super) fn advance(&mut self, hands: &mut Hands<'_>) {
        self.listen(hands);
        self.send_ways(hands);
        self.ask_again(hands);
        self.send_will(hands);
        let untold = &mut self.untold;
        while let Some((shard, message)) = untold.pop_front() {
            if hands.mesh.send(shard, message.clone(), Class::Notice).is_err() {
                untold.push_front((shard, message));
                break;
            }
        }
        if self.deadline.is_some_and(|at| at <= clock::now()) {
            self.deadline = None;
            let late = match (self.older.is_moving(), self.older.is_copying()) {
                (true, _) => Failure::LateMoved,
                (_, true) => Failure::LateCopied,
                _ => Failure::LateBuilt,
            };
            self.on(hands, Event::Stuck(late));
        }
    }

    /// Takes what the new process has said.
    fn listen(&mut self, hands: &mut Hands<'_>) {
        let mut buffer = [0; HANDED_WORD_BYTES_MAX];
        while let Some(newer) = &self.newer {
            match fdpass::receive(newer.socket.get(), &mut buffer, 0, &mut Vec::new()) {
                Ok(received) => {
                    let word = Word::decode(&buffer[..received.payload_bytes]);
                    let event = self.understood(word, hands.connections);
                    self.on(hands, event);
                }
                Err(ReceiveError::Empty) => return,
                Err(ReceiveError::Closed) => self.on(hands, Event::Gone),
                Err(error @ (ReceiveError::Truncated | ReceiveError::Io(_))) => {
                    tracing::error!(?error, "the new process cannot be heard");
                    self.on(hands, Event::Stuck(Failure::NotUnderstood));
                }
            }
            if self.older.has_left() {
                return;
            }
        }
    }

    fn understood(&mut self, word: Result<Word, handover::FormatError>, connections: u32) -> Event {
        match word {
            Ok(Word::Built(built)) if built.shards == 0 || u32::from(built.shards) > SHARDS_MAX => {
                Event::Stuck(Failure::NotUnderstood)
            }
            Ok(Word::Built(built)) => self.built(built, connections),
            Ok(Word::Refused(reason)) => {
                self.refusal = Some(reason);
                Event::Stuck(Failure::Refused)
            }
            Ok(Word::Committed { connections }) => {
                Step::OlderHeardCommitted.reached();
                self.connections = connections;
                Event::Committed
            }
            Ok(Word::Offer(_) | Word::Channel { .. } | Word::Still | Word::Bequest(_)) => {
                Event::Stuck(Failure::NotUnderstood)
            }
            Err(error) => {
                self.refusal = Some(error.to_string());
                Event::Stuck(Failure::NotUnderstood)
            }
        }
    }

    /// The new process is there. Whether it has the room is found again, seat by seat, while
    /// nothing is served; this is before.
    fn built(&mut self, built: Built, connections: u32) -> Event {
        Step::OlderHeardBuilt.reached();
        let Built { build, shards, connections_max, takes_bequest, takes_ahead, .. } = built;
        self.will = Will::of(takes_bequest);
        self.ahead = Ahead { is_known: takes_ahead, ..Ahead::default() };
        self.tell(&format!(
            "the new process is ready: {build}, {shards} shards for {connections_max} connections"
        ));
        if connections > connections_max {
            self.refusal = Some(format!(
                "there are too few seats: {connections_max} for {connections} connections; raise \
                 max_connections"
            ));
            return Event::Stuck(Failure::Refused);
        }
        self.newer_shards = shards;
        Event::Built { sends_ahead: takes_ahead }
    }

    fn on(&mut self, hands: &mut Hands<'_>, event: Event) {
        for action in self.older.on(event) {
            self.act(hands, action);
        }
    }

    fn act(&mut self, hands: &mut Hands<'_>, action: Action) {
        match action {
            Action::Start { is_check } => {
                if let Err(error) = self.start(hands, is_check) {
                    self.refusal = Some(error.to_string());
                    self.on(hands, Event::Stuck(Failure::NotStarted));
                }
            }
            Action::Busy => {} // said where it was asked
            Action::Copy => {
                if let Err(error) = self.copy(hands) {
                    self.refusal = Some(error.to_string());
                    self.on(hands, Event::Stuck(Failure::Broken));
                }
            }
            Action::Freeze => {
                if let Err(error) = self.freeze(hands) {
                    self.refusal = Some(error.to_string());
                    self.on(hands, Event::Stuck(Failure::Broken));
                }
            }
            Action::Revoke => {
                if let Some(newer) = &self.newer {
                    // It fails only where the other end is gone already.
                    let _gone = socket::shutdown(newer.socket.get(), std::net::Shutdown::Read);
                }
            }
            Action::Thaw => {
                self.ways.clear();
                (self.survey, self.asks_again) = (None, false);
                self.ahead.is_still_untold = false;
                self.will = Will::default();
                hands.unix.iter().for_each(|one| one.hold(false));
                self.untold = to_all(hands, &Message::HandOver(HandOver::Thaw));
            }
            Action::End(failure) => self.end(hands.counters, failure),
            Action::Leave => {
                hands.unix.iter().for_each(|one| one.set_ours(false));
                self.leave();
            }
        }
    }

    /// Starts the new process with its end of a socket, in which the offer waits for it.
    fn start(&mut self, hands: &Hands<'_>, is_check: bool) -> std::io::Result<()> {
        let succession = self.succession.as_ref().expect("asked for only where there is one");
        let (ours, theirs) = fdpass::pair()?;
        let places = hands
            .places
            .iter()
            .map(|place| handover::Place { address: place.address, is_proxied: place.proxied });
        let offer = Offer {
            build: env!("CARGO_PKG_VERSION").to_owned(),
            shards: u16::try_from(hands.pass.len()).expect("SHARDS_MAX is below"),
            places: places.collect(),
            is_check,
            heritage: succession.heritage.clone(),
            has_bequest: true,
            sends_ahead: true,
            unix: hands.unix.iter().map(|one| one.path().as_os_str().as_bytes().to_vec()).collect(),
        };
        let offer = encoded(offer)?;
        let unix = hands.unix.iter().map(UnixShare::socket);
        let with: Vec<_> = unix.chain(hands.internal).collect();
        fdpass::send(&ours, &offer, &with).map_err(|_| std::io::ErrorKind::BrokenPipe)?;
        let child = Command::new(&succession.binary)
            .args(&succession.arguments)
            .env(VARIABLE, "stdin")
            // The watchdog is for whoever serves.
            .env_remove("WATCHDOG_PID")
            .stdin(Stdio::from(theirs))
            .spawn()?;
        if !is_check {
            notify::tell(News::Reloading { monotonic_us: clock::monotonic_us() });
        }
        self.deadline = Some(clock::now() + succession.ready_timeout);
        let words = format!("started {} as process {}", succession.binary.display(), child.id());
        self.tell(&words);
        self.refusal = None;
        self.newer = Some(Newer { child, socket: Watched::new(ours)? });
        Step::OlderStarted.reached();
        Ok(())
    }

    /// Lays the ways between the shards of both.
    fn lay_ways(&mut self, hands: &Hands<'_>) -> std::io::Result<()> {
        self.attempt = self.attempt.wrapping_add(1);
        self.ways.lay(hands.pass.len(), self.newer_shards)
    }

    /// Tells our shards to send copies ahead.
    fn copy(&mut self, hands: &Hands<'_>) -> std::io::Result<()> {
        self.lay_ways(hands)?;
        (self.ahead.uncopied, self.ahead.copies) = (hands.pass.len(), 0);
        let (shards, attempt) = (self.newer_shards, self.attempt);
        self.untold = to_all(hands, &Message::HandOver(HandOver::Ahead { shards, attempt }));
        self.tell("copying ahead, while all are served");
        Ok(())
    }

    /// A shard's copies are there, or cannot be.
    pub(super) fn copied(&mut self, hands: &mut Hands<'_>, attempt: u8, copies: Option<u64>) {
        if attempt != self.attempt || !self.older.is_copying() {
            return; // of one that was given up
        }
        let Some(copies) = copies else {
            return self.on(hands, Event::Stuck(Failure::Broken));
        };
        self.ahead.copies += copies;
        self.ahead.uncopied = self.ahead.uncopied.saturating_sub(1);
        if self.ahead.uncopied == 0 {
            self.tell(&format!("copied {} connections ahead", self.ahead.copies));
            Step::OlderCopied.reached();
            self.on(hands, Event::Copied);
        }
    }

    /// Tells our shards to stand still, and the new process that they do.
    fn freeze(&mut self, hands: &Hands<'_>) -> std::io::Result<()> {
        hands.unix.iter().for_each(|one| one.hold(true));
        if self.ahead.is_known {
            self.ahead.is_still_untold = true;
        } else {
            self.lay_ways(hands)?;
        }
        let (shards, attempt) = (self.newer_shards, self.attempt);
        self.untold = to_all(hands, &Message::HandOver(HandOver::Freeze { shards, attempt }));
        (self.survey, self.asks_again) = (Some(Survey::new(hands.pass.len())), true);
        self.unmoved = hands.pass.len();
        (self.connections, self.copied) = (0, 0);
        let now = clock::now();
        self.froze = Some(now);
        self.deadline = self.succession.as_ref().map(|one| now + one.freeze_timeout);
        self.tell("standing still");
        Step::OlderFroze.reached();
        Ok(())
    }

    /// Sends both ends of the ways, as far as there is room, and then that the shards stand still.
    fn send_ways(&mut self, hands: &mut Hands<'_>) {
        let Some(newer) = &self.newer else { return };
        let socket = newer.socket.get();
        let sent = self.ways.send(self.attempt, hands.pass, socket).and_then(|()| {
            if self.ahead.is_still_untold {
                fdpass::send(socket, &Word::Still.encode(), &[])?;
                self.ahead.is_still_untold = false;
            }
            Ok(())
        });
        match sent {
            // The last words of a process that is gone, or its end, are read the next time.
            Ok(()) | Err(SendError::Full | SendError::TooManyInFlight | SendError::Closed) => {}
            Err(error) => {
                tracing::error!(?error, "the way to the new process broke");
                self.ways.clear();
                self.on(hands, Event::Stuck(Failure::Broken));
            }
        }
    }

    /// The upgrade is over, and this process serves on.
    fn end(&mut self, counters: &mut Counters, failure: Option<Failure>) {
        if let Some(why) = failure {
            count(counters, why);
        }
        self.deadline = None;
        self.froze = None;
        self.ways.clear();
        if let Some(Newer { child, .. }) = self.newer.take() {
            reap(child);
        }
        notify::tell(News::Ready);
        let words = match (failure, self.refusal.take()) {
            (None, _) if self.ahead.is_known => format!(
                "done: a rehearsal only, and all went well; {} connections were copied ahead",
                self.ahead.copies
            ),
            (None, _) => "done: a rehearsal only, and all went well".to_owned(),
            (Some(failure), Some(reason)) => format!("failed: {failure}: {reason}"),
            (Some(failure), None) => format!("failed: {failure}"),
        };
        self.tell(&words);
        self.askers.clear();
    }

    fn leave(&mut self) {
        self.deadline = None;
        self.ways.clear();
        self.untold.clear();
        // Its end of the socket is closed soon: nothing more is heard, and nothing is waited for.
        let newer = self.newer.take();
        self.successor = newer.as_ref().map(|newer| Pid::from_child(&newer.child));
        let pid = newer.map_or(0, |newer| newer.child.id());
        notify::tell(News::MainProcess(pid));
        let now = clock::now();
        let ms_since = |then: Option<Instant>| then.map_or(0, |then| (now - then).as_millis());
        let (still_ms, whole_ms) = (ms_since(self.froze), ms_since(self.asked_at));
        let connections = self.connections;
        self.tell(&format!(
            "done: process {pid} serves {connections} connections, which stood still for \
             {still_ms} ms, {whole_ms} ms after it was asked for"
        ));
        self.askers.clear();
    }

    /// Tells the log, and all who have asked.
    fn tell(&mut self, words: &str) {
        if words.starts_with("failed") {
            tracing::error!("upgrade {words}");
        } else {
            tracing::info!("upgrade: {words}");
        }
        self.askers.iter_mut().for_each(|asker| asker.tell(words));
    }
}

/// The offer as a word, if it is none too long; the reason names what of it is the longest.
fn encoded(offer: Offer) -> std::io::Result<Vec<u8>> {
    let parts = [
        (offer.heritage.len(), "what the application leaves to the next process"),
        (offer.unix.iter().map(Vec::len).sum(), "the paths of its Unix sockets"),
        (offer.places.len() * size_of::<handover::Place>(), "the addresses that it listens on"),
    ];
    let word = Word::Offer(offer).encode();
    if word.len() <= HANDED_WORD_BYTES_MAX {
        return Ok(word);
    }
    let (_, what) = parts.into_iter().max_by_key(|(bytes, _)| *bytes).expect("there are three");
    let bytes = word.len();
    let why = format!(
        "the offer is {bytes} bytes long, more than {HANDED_WORD_BYTES_MAX}: most of it is {what}"
    );
    Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, why))
}

/// What was given to shards of all that was accepted; `None` while some is on its way.
fn dealt(unix: &[UnixShare]) -> Option<u64> {
    unix.iter().map(UnixShare::dealt).sum()
}

/// Counts what became of an upgrade that was given up.
fn count(counters: &mut Counters, why: Failure) {
    *match why {
        Failure::NotStarted => &mut counters.handovers_not_started,
        Failure::Refused => &mut counters.handovers_refused,
        Failure::Died => &mut counters.handovers_died,
        Failure::NotUnderstood => &mut counters.handovers_not_understood,
        Failure::LateBuilt | Failure::LateCopied | Failure::LateMoved => {
            &mut counters.handovers_late
        }
        Failure::NotPortable => &mut counters.handovers_not_portable,
        Failure::Stopping => &mut counters.handovers_stopped,
        _ => &mut counters.handovers_broken,
    } += 1;
}

fn to_all(hands: &Hands<'_>, message: &Message) -> VecDeque<(MemberId, Message)> {
    hands.mesh.peers().map(|shard| (shard, message.clone())).collect()
}

/// Ends a process, and waits for its end where nobody waits for that.
fn reap(mut child: Child) {
    if let Err(error) = child.kill() {
        tracing::warn!(%error, "the new process cannot be ended");
    }
    let waited = std::thread::Builder::new().name("longwire-reaper".into()).spawn(move || {
        if let Err(error) = child.wait() {
            tracing::warn!(%error, "the new process cannot be waited for");
        }
    });
    if let Err(error) = waited {
        tracing::warn!(%error, "no thread waits for the end of the new process");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offer_that_is_too_long_says_what_of_it_is() {
        let long = || vec![b'a'; HANDED_WORD_BYTES_MAX];
        assert!(encoded(Offer::default()).is_ok());
        let heritage = Offer { heritage: long(), ..Offer::default() };
        let unix = Offer { unix: vec![long()], ..Offer::default() };
        for (offer, named) in [(heritage, "the application"), (unix, "Unix sockets")] {
            let why = encoded(offer).unwrap_err().to_string();
            assert!(why.contains(named), "{why}");
        }
    }
}
