//! Who sends when, and what an arrival means: the bookkeeping of messages, without sockets.
//!
//! ```text
//!   begin, due ──▶ origins that shall send ──▶ payload(origin) ──▶ the wire
//!   the wire ──▶ arrive(socket, payload) ──▶ the origin that may send next
//! ```
//!
//! Sockets `0..connections` do what the run is about; those behind them are probes, which echo.
//! An origin is a socket that sends. Times are counted from the start of the program's run.
//!
//! Invariants: a message is expected from the moment it is due, sent or not, so none that was
//! planned is missing from the balance; its time runs from that moment, too.
#![forbid(unsafe_code)]

use std::time::Duration;

use super::latency::Latency;
use super::payload::{Payloads, Stamp};
use super::plan::{Kind, Pace, Plan, Schedule};
use super::sequence::{Arrival, Sequence};
use super::tally::Tally;
use crate::limits;

/// All messages of one run.
pub struct Traffic {
    kind: Kind,
    connections: u32,
    /// What the payloads add to the number of an origin, for those of other threads before it.
    first: u32,
    /// Sequences that each socket follows: one per publisher, or its own.
    streams: u32,
    payloads: Payloads,
    origins: Vec<Origin>,
    sequences: Vec<Sequence>,
    main: Option<Flow>,
    probes: Option<Flow>,
    /// Send times of a closed loop: `remembered` per origin, the place being the sequence's rest.
    times: Vec<Duration>,
    remembered: usize,
    /// Sockets that get a copy of each publication.
    audience: u64,
    begun: Duration,
    measured: Option<Duration>,
    ended: Option<Duration>,
    /// What the messages came to.
    pub tally: Tally,
    /// Times of messages sent while measuring.
    pub latency: Latency,
    /// Likewise, of the probes.
    pub probe_latency: Latency,
    /// Messages that arrived while measuring, those of the probes aside.
    pub messages: u64,
}

/// What one socket has sent.
#[derive(Clone, Copy, Default)]
struct Origin {
    sent: u64,
    /// Those among them that came back to it.
    returned: u64,
    /// Messages due and not sent yet, because too many were unanswered.
    owed: u64,
    /// The socket is gone: nothing is sent, and nothing more is due.
    gone: bool,
}

/// A group of origins that send in turn at one pace.
struct Flow {
    first: u32,
    count: u32,
    pace: Pace,
    /// The next message of the schedule, over all origins; not used in a closed loop.
    next: u64,
}

impl Flow {
    fn holds(&self, origin: u32) -> bool {
        (self.first..self.first + self.count).contains(&origin)
    }

    /// Most messages of one origin that may be under way.
    fn unanswered_max(&self) -> u64 {
        match self.pace {
            Pace::Window(window) => u64::from(window),
            Pace::Rate(_) => limits::BENCH_UNANSWERED_MAX,
        }
    }
}

impl Traffic {
    /// The traffic of `plan`, before its first message.
    pub fn new(plan: &Plan) -> Self {
        let (main_count, streams) = match plan.kind {
            Kind::Connect | Kind::Churn | Kind::Idle => (0, 0),
            Kind::Echo => (plan.connections, 1),
            Kind::Fanout => (plan.publishers, plan.publishers),
        };
        let remembered = match (plan.kind, plan.pace) {
            (Kind::Echo, Pace::Window(window)) => window as usize,
            (Kind::Fanout, Pace::Window(_)) => limits::BENCH_PUBLICATIONS_TIMED,
            _ => 0,
        };
        let flow = |first, count, pace| (count > 0).then_some(Flow { first, count, pace, next: 0 });
        let probe_rate = u64::from(plan.probes) * limits::BENCH_PROBE_RATE;
        let sockets = plan.sockets() as usize;
        Self {
            kind: plan.kind,
            connections: plan.connections,
            first: plan.first,
            streams,
            payloads: Payloads::new(plan.size),
            origins: vec![Origin::default(); if main_count == 0 { 0 } else { sockets }],
            sequences: vec![Sequence::default(); sockets * streams as usize],
            main: flow(0, main_count, plan.pace),
            probes: flow(plan.connections, plan.probes, Pace::Rate(probe_rate)),
            times: vec![Duration::ZERO; main_count as usize * remembered],
            remembered,
            audience: u64::from(plan.connections),
            begun: Duration::ZERO,
            measured: None,
            ended: None,
            tally: Tally::default(),
            latency: Latency::default(),
            probe_latency: Latency::default(),
            messages: 0,
        }
    }

    /// Messages flow from `now` on. Appends the origins that have something to send.
    pub fn begin(&mut self, now: Duration, send: &mut Vec<u32>) {
        self.begun = now;
        let Some(Flow { first, count, pace: Pace::Window(window), .. }) = self.main else {
            return;
        };
        for origin in first..first + count {
            for _ in 0..window {
                self.owe(origin, send);
            }
        }
    }

    /// What arrives and is sent from `now` on is measured.
    pub fn measure(&mut self, now: Duration) {
        self.measured = Some(now);
    }

    /// Nothing more becomes due, and nothing more is measured.
    pub fn end(&mut self, now: Duration) {
        self.ended = Some(now);
    }

    /// Whether something that is expected has not arrived.
    pub fn is_outstanding(&self) -> bool {
        self.tally.lost() > 0
    }

    /// When the next message of a schedule is due.
    pub fn next_due(&self) -> Option<Duration> {
        if self.ended.is_some() {
            return None;
        }
        let flows = [&self.main, &self.probes].into_iter().flatten();
        flows.filter_map(|flow| self.due_time(flow, flow.next)).min()
    }

    fn due_time(&self, flow: &Flow, number: u64) -> Option<Duration> {
        match flow.pace {
            Pace::Rate(rate) => Some(self.begun + Schedule::new(rate).due(number)),
            Pace::Window(_) => None,
        }
    }

    /// Appends the origins of all messages that are due by `now`, at most `count_max`.
    pub fn due(&mut self, now: Duration, count_max: usize, send: &mut Vec<u32>) {
        if self.ended.is_some() {
            return;
        }
        for probes in [true, false] {
            for _ in 0..count_max {
                let flow = if probes { &self.probes } else { &self.main };
                let Some(flow) = flow else { break };
                if self.due_time(flow, flow.next).is_none_or(|due| due > now) {
                    break;
                }
                let offset = flow.next % u64::from(flow.count);
                let origin = flow.first + u32::try_from(offset).expect("below a count of 32 bits");
                let flow = if probes { &mut self.probes } else { &mut self.main };
                flow.as_mut().expect("seen above").next += 1;
                self.owe(origin, send);
            }
        }
    }

    /// One more message of `origin` is due; it is sent now, or when there is room.
    fn owe(&mut self, origin: u32, send: &mut Vec<u32>) {
        let copies = self.copies_of(origin);
        let state = &mut self.origins[origin as usize];
        if !state.gone {
            state.owed += 1;
            self.tally.expected += copies;
            send.push(origin);
        }
    }

    /// Whether `origin` has a message that is due, and room for it.
    pub fn may_send(&self, origin: u32) -> bool {
        let state = &self.origins[origin as usize];
        let unanswered_max = self.flow_of(origin).map_or(0, Flow::unanswered_max);
        !state.gone && state.owed > 0 && state.sent - state.returned < unanswered_max
    }

    fn copies_of(&self, origin: u32) -> u64 {
        if self.kind == Kind::Fanout && origin < self.connections { self.audience } else { 1 }
    }

    fn flow_of(&self, origin: u32) -> Option<&Flow> {
        [&self.main, &self.probes].into_iter().flatten().find(|flow| flow.holds(origin))
    }

    /// Appends the next payload of `origin`, which [`may_send`](Self::may_send), to `out`; the
    /// caller sends it at once.
    pub fn payload(&mut self, origin: u32, now: Duration, out: &mut Vec<u8>) {
        let state = &mut self.origins[origin as usize];
        let sequence = state.sent;
        state.sent += 1;
        state.owed -= 1;
        if self.remembered > 0 && self.main.as_ref().is_some_and(|flow| flow.holds(origin)) {
            let place = self.place(origin, sequence);
            self.times[place] = now;
        }
        self.payloads.write(Stamp { origin: self.first + origin, sequence }, out);
    }

    fn place(&self, origin: u32, sequence: u64) -> usize {
        let rest = sequence % self.remembered as u64;
        origin as usize * self.remembered + usize::try_from(rest).expect("below a usize")
    }

    /// When the message was due (by a schedule) or sent (in a closed loop).
    fn sent_at(&self, flow: &Flow, stamp: Stamp) -> Duration {
        let offset = u64::from(stamp.origin - flow.first);
        self.due_time(flow, stamp.sequence * u64::from(flow.count) + offset)
            .unwrap_or_else(|| self.times[self.place(stamp.origin, stamp.sequence)])
    }

    /// Takes a message that arrived at `socket`; the origin that may have room again.
    pub fn arrive(&mut self, socket: u32, payload: &[u8], now: Duration) -> Option<u32> {
        let arrival = self.payloads.read(payload).and_then(|stamp| {
            let origin = stamp.origin.checked_sub(self.first)?;
            let stamp = Stamp { origin, ..stamp };
            let arrival = self.follow(socket, stamp)?;
            Some((stamp, arrival))
        });
        match arrival {
            None | Some((_, Arrival::NeverSent)) => self.tally.corrupt += 1,
            Some((_, Arrival::Repeated)) => self.tally.repeated += 1,
            Some((stamp, Arrival::OutOfOrder)) => {
                self.tally.out_of_order += 1;
                return self.accept(socket, stamp, now);
            }
            Some((stamp, Arrival::Newest)) => return self.accept(socket, stamp, now),
        }
        None
    }

    /// The place of the message in its stream; `None` if it should not have come to this socket.
    fn follow(&mut self, socket: u32, stamp: Stamp) -> Option<Arrival> {
        let is_subscriber = self.kind == Kind::Fanout && socket < self.connections;
        let stream = if is_subscriber {
            (stamp.origin < self.streams).then_some(stamp.origin)?
        } else {
            (stamp.origin == socket).then_some(0)?
        };
        let place = socket as usize * self.streams as usize + stream as usize;
        let sent = self.origins.get(stamp.origin as usize)?.sent;
        Some(self.sequences.get_mut(place)?.arrive(stamp.sequence, sent))
    }

    /// A copy that was expected and had not arrived yet.
    fn accept(&mut self, socket: u32, stamp: Stamp, now: Duration) -> Option<u32> {
        self.tally.arrived += 1;
        let flow = self.flow_of(stamp.origin)?;
        let is_probe = flow.first == self.connections;
        let closed_loop = matches!(flow.pace, Pace::Window(_));
        let sent_at = self.sent_at(flow, stamp);
        if self.is_measured(sent_at) {
            let latency = if is_probe { &mut self.probe_latency } else { &mut self.latency };
            latency.record(now.saturating_sub(sent_at));
        }
        if !is_probe && self.is_measured(now) {
            self.messages += 1;
        }
        if socket != stamp.origin {
            return None;
        }
        let copies = self.copies_of(socket);
        let origin = &mut self.origins[socket as usize];
        origin.returned += 1;
        if closed_loop && self.ended.is_none() && !origin.gone {
            origin.owed += 1;
            self.tally.expected += copies;
        }
        Some(socket)
    }

    fn is_measured(&self, time: Duration) -> bool {
        self.measured.is_some_and(|from| from <= time) && self.ended.is_none_or(|end| time < end)
    }

    /// A standing connection ended by itself: what is on its way to it is lost, and nothing more
    /// is expected of it.
    pub fn leave(&mut self, socket: u32) {
        self.tally.broken += 1;
        self.never_stood(socket);
    }

    /// Nothing is expected of a connection that could not be opened.
    pub fn never_stood(&mut self, socket: u32) {
        if socket < self.connections {
            self.audience -= 1;
        }
        if let Some(origin) = self.origins.get_mut(socket as usize) {
            origin.gone = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::plan::tests::args;
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn traffic(kind: Kind, change: impl Fn(&mut super::super::plan::BenchArgs)) -> Traffic {
        let mut args = args(kind);
        args.connections = 4;
        change(&mut args);
        Traffic::new(&Plan::new(&args).unwrap())
    }

    /// All that may be sent by `origins` now, as (origin, payload).
    fn sent(traffic: &mut Traffic, origins: &[u32], now: Duration) -> Vec<(u32, Vec<u8>)> {
        let mut messages = Vec::new();
        for &origin in origins {
            while traffic.may_send(origin) {
                let mut payload = Vec::new();
                traffic.payload(origin, now, &mut payload);
                messages.push((origin, payload));
            }
        }
        messages
    }

    fn begun(traffic: &mut Traffic) -> Vec<(u32, Vec<u8>)> {
        let mut origins = Vec::new();
        traffic.begin(Duration::ZERO, &mut origins);
        traffic.measure(Duration::ZERO);
        sent(traffic, &origins, Duration::ZERO)
    }

    #[test]
    fn a_closed_loop_keeps_exactly_its_window_in_flight() {
        let mut traffic = traffic(Kind::Echo, |args| args.window = 3);
        let mut flying = begun(&mut traffic);
        assert_eq!(flying.len(), 12);
        for round in 1..100 {
            let (origin, payload) = flying.remove(0);
            let next = traffic.arrive(origin, &payload, MS * round);
            assert_eq!(next, Some(origin));
            flying.extend(sent(&mut traffic, &[origin], MS * round));
            assert_eq!(flying.len(), 12);
        }
        traffic.end(MS * 100);
        for (origin, payload) in flying {
            traffic.arrive(origin, &payload, MS * 100);
            assert_eq!(sent(&mut traffic, &[origin], MS * 100), []);
        }
        assert!(!traffic.is_outstanding());
        assert_eq!((traffic.messages, traffic.tally.arrived), (99, 111));
    }

    #[test]
    fn a_publication_is_expected_by_all_and_the_next_follows_its_own_copy() {
        let mut traffic = traffic(Kind::Fanout, |_| ());
        let flying = begun(&mut traffic);
        assert_eq!(flying.len(), 1);
        assert_eq!(traffic.tally.expected, 4);
        for subscriber in [1, 2, 3] {
            assert_eq!(traffic.arrive(subscriber, &flying[0].1, MS), None);
        }
        assert_eq!(traffic.tally.expected, 4);
        assert_eq!(traffic.arrive(0, &flying[0].1, MS), Some(0));
        assert_eq!(traffic.tally.expected, 8);
        assert_eq!(sent(&mut traffic, &[0], MS).len(), 1);
        assert_eq!(traffic.messages, 4);
    }

    #[test]
    fn a_schedule_is_kept_and_a_stall_is_charged_to_every_message_due_in_it() {
        let mut traffic = traffic(Kind::Echo, |args| args.rate = Some(1000));
        assert_eq!(begun(&mut traffic), []);
        let mut origins = Vec::new();
        // Nothing was sent for 100 ms: 101 messages were due, one each millisecond.
        traffic.due(MS * 100, 1000, &mut origins);
        assert_eq!(origins.len(), 101);
        assert_eq!(traffic.next_due(), Some(MS * 101));
        for (origin, payload) in sent(&mut traffic, &origins, MS * 100) {
            traffic.arrive(origin, &payload, MS * 100);
        }
        assert!(!traffic.is_outstanding());
        let latency = traffic.latency.summary().unwrap();
        assert!((latency.max_us - 100_000.0).abs() < 100.0, "{latency:?}");
        assert!((latency.p50_us - 50_000.0).abs() < 100.0, "{latency:?}");
    }

    #[test]
    fn a_server_that_answers_nothing_gets_a_bounded_number_and_owes_the_rest() {
        let mut traffic = traffic(Kind::Echo, |args| args.rate = Some(1000));
        begun(&mut traffic);
        let mut origins = Vec::new();
        traffic.due(MS * 999, 10_000, &mut origins);
        let flying = sent(&mut traffic, &origins, MS * 999);
        assert_eq!(flying.len() as u64, 4 * limits::BENCH_UNANSWERED_MAX);
        assert_eq!(traffic.tally.lost(), 1000);
        // The room of one answer lets one message follow.
        traffic.arrive(flying[0].0, &flying[0].1, MS * 1000);
        assert_eq!(sent(&mut traffic, &[flying[0].0], MS * 1000).len(), 1);
    }

    #[test]
    fn the_schedule_is_worked_off_in_bounded_steps() {
        let mut traffic = traffic(Kind::Echo, |args| args.rate = Some(1_000_000));
        begun(&mut traffic);
        let mut origins = Vec::new();
        traffic.due(MS * 1000, 7, &mut origins);
        assert_eq!(origins.len(), 7);
    }

    #[test]
    fn each_fault_of_a_server_is_counted_in_its_own_class() {
        let mut traffic = traffic(Kind::Echo, |args| args.window = 4);
        let flying = begun(&mut traffic);
        let of_first: Vec<_> = flying.iter().filter(|(origin, _)| *origin == 0).collect();
        let mut broken = of_first[3].1.clone();
        broken[19] ^= 1;
        // Number 0 is lost, 2 overtakes 1, 2 comes twice, 3 is broken.
        for payload in [&of_first[2].1, &of_first[1].1, &of_first[2].1, &broken] {
            traffic.arrive(0, payload, MS);
        }
        // A message of another connection, intact.
        assert_eq!(traffic.arrive(1, &of_first[0].1, MS), None);
        let Tally { repeated, out_of_order, corrupt, arrived, .. } = traffic.tally;
        assert_eq!((arrived, out_of_order, repeated, corrupt), (2, 1, 1, 2));
    }

    #[test]
    fn a_message_never_sent_is_corrupt() {
        let mut traffic = traffic(Kind::Echo, |_| ());
        begun(&mut traffic);
        let mut payload = Vec::new();
        Payloads::new(20).write(Stamp { origin: 0, sequence: 1 }, &mut payload);
        assert_eq!(traffic.arrive(0, &payload, MS), None);
        assert_eq!(traffic.tally.corrupt, 1);
    }

    #[test]
    fn nothing_is_expected_while_idle() {
        let mut traffic = traffic(Kind::Idle, |_| ());
        assert_eq!(begun(&mut traffic), []);
        assert_eq!(traffic.arrive(0, b"surprise", MS), None);
        assert_eq!((traffic.tally.corrupt, traffic.next_due()), (1, None));
    }

    #[test]
    fn probes_echo_beside_a_fan_out_and_are_counted_apart() {
        let mut traffic = traffic(Kind::Fanout, |args| args.probes = 2);
        let publication = begun(&mut traffic).remove(0).1;
        let mut origins = Vec::new();
        traffic.due(Duration::from_millis(100), 100, &mut origins);
        assert_eq!(origins, [4, 5, 4], "2 probes of 10 a second: one each 50 ms in all");
        for (origin, payload) in sent(&mut traffic, &origins, MS * 100) {
            assert_eq!(traffic.arrive(origin, &payload, MS * 101), Some(origin));
        }
        for subscriber in 0..4 {
            traffic.arrive(subscriber, &publication, MS * 101);
        }
        assert_eq!(traffic.messages, 4);
        assert!(traffic.probe_latency.summary().is_some());
        // A publication that reaches a probe is a mistake of the server.
        traffic.arrive(4, &publication, MS * 102);
        assert_eq!(traffic.tally.corrupt, 1);
    }

    #[test]
    fn a_subscriber_that_left_is_missed_once_and_not_expected_again() {
        let mut traffic = traffic(Kind::Fanout, |_| ());
        let first = begun(&mut traffic).remove(0).1;
        traffic.leave(3);
        for subscriber in [1, 2, 0] {
            traffic.arrive(subscriber, &first, MS);
        }
        let second = sent(&mut traffic, &[0], MS).remove(0).1;
        traffic.end(MS * 2);
        for subscriber in 0..3 {
            traffic.arrive(subscriber, &second, MS * 2);
        }
        assert_eq!((traffic.tally.lost(), traffic.tally.broken), (1, 1));
    }

    #[test]
    fn only_what_is_sent_while_measuring_is_timed() {
        let mut traffic = traffic(Kind::Echo, |args| args.connections = 1);
        let mut origins = Vec::new();
        traffic.begin(Duration::ZERO, &mut origins);
        let (_, early) = sent(&mut traffic, &origins, Duration::ZERO).remove(0);
        traffic.measure(MS * 5);
        traffic.arrive(0, &early, MS * 6);
        assert!(traffic.latency.summary().is_none());
        let (_, timed) = sent(&mut traffic, &[0], MS * 7).remove(0);
        traffic.end(MS * 8);
        traffic.arrive(0, &timed, MS * 17);
        let latency = traffic.latency.summary().unwrap();
        assert!((latency.max_us - 10_000.0).abs() < 10.0, "{latency:?}");
        assert_eq!(traffic.messages, 1);
    }
}
