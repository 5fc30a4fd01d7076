//! Asking peers whether they are still there: by Ping frame, or by a message of the application's.
//!
//! The messages of a shard are few and known by number, which is kept in three bits of the
//! connection; number 0 is the Ping frame. Both kinds share the connection's `due`: the time of
//! the next question, or of the patience with the last one.

use super::connection::{Connection, Flags};
use super::core::{Core, Turn};
use super::settings::Settings;
use super::slab::Index;
use crate::handler::{Cause, Handler, Heartbeat};
use crate::limits::{HEARTBEAT_MESSAGES_MAX, PINGS_MISSED_MAX};
use crate::ring::Frame;
use crate::ws::close::code;
use crate::ws::{OpCode, encode_header};

/// The messages that peers of this shard are asked with.
#[derive(Default)]
pub(super) struct Heartbeats {
    messages: Vec<(Heartbeat, Frame)>,
}

impl Heartbeats {
    /// The number of a heartbeat; `None` when the application uses more than a shard can tell
    /// apart.
    pub(super) fn number(&mut self, heartbeat: Heartbeat) -> Option<u8> {
        let (opcode, payload) = match heartbeat {
            Heartbeat::Ping => return Some(0),
            Heartbeat::Text(text) => (OpCode::Text, text.as_bytes()),
            Heartbeat::Binary(bytes) => (OpCode::Binary, bytes),
        };
        let known = self.messages.iter().position(|(known, _)| *known == heartbeat);
        let index = known.unwrap_or(self.messages.len());
        if index == HEARTBEAT_MESSAGES_MAX {
            return None;
        }
        if known.is_none() {
            let header = encode_header(true, opcode, payload.len(), None);
            self.messages.push((heartbeat, [&header, payload].concat().into()));
        }
        u8::try_from(index + 1).ok()
    }

    fn frame(&self, number: u8) -> Frame {
        let index = usize::from(number).checked_sub(1).expect("number 0 is the Ping frame");
        Frame::clone(&self.messages[index].1)
    }
}

/// What a connection's heartbeat is waiting for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beat {
    /// It is time to ask.
    Ask,
    /// The last of the Ping frames in a row was not answered in time.
    Unheard,
    /// The application has not seen the answer to its message in time.
    Unanswered,
}

/// What is next for a connection's heartbeat; it is due at the connection's `due`.
pub(super) fn next_beat<S>(connection: &Connection<S>, settings: &Settings) -> Option<Beat> {
    let flags = connection.flags;
    settings.beat_ticks(flags.heartbeat())?;
    if flags.has(Flags::SILENT) {
        return None;
    }
    Some(match flags.heartbeat() {
        0 if connection.misses >= PINGS_MISSED_MAX => Beat::Unheard,
        0 => Beat::Ask,
        _ if flags.has(Flags::ASKED) => Beat::Unanswered,
        _ => Beat::Ask,
    })
}

impl<H: Handler> Core<H> {
    /// Which heartbeat a new connection has. It begins now, or waits to be begun.
    pub(super) fn set_heartbeat(&mut self, index: Index, number: u8, waits: bool) {
        let connection = self.connections.get_mut(index).expect("just opened");
        connection.flags.set_heartbeat(number);
        if waits {
            connection.flags.set(Flags::SILENT);
        } else {
            self.begin_heartbeat(index);
        }
    }

    /// The first heartbeat of a connection: a phase of its own within one interval.
    pub(super) fn begin_heartbeat(&mut self, index: Index) {
        let connection = self.connections.get_mut(index).expect("open");
        connection.flags.clear(Flags::SILENT);
        connection.flags.clear(Flags::ASKED);
        connection.misses = 0;
        let Some(ticks) = self.settings.beat_ticks(connection.flags.heartbeat()) else { return };
        let soonest = self.tick.plus(ticks / 2);
        connection.due = self.wheel.emptiest_near(soonest, ticks / 2);
    }

    /// The answer to the message that the peer was asked with; false if it was not asked.
    pub(super) fn answer_heartbeat(&mut self, index: Index) -> bool {
        let connection = self.connections.get_mut(index).expect("open");
        let number = connection.flags.heartbeat();
        if !connection.flags.has(Flags::ASKED) {
            return false;
        }
        connection.flags.clear(Flags::ASKED);
        // An interval after the question, however often the patience was prolonged since: clients
        // count from question to question. The wheel finds out when it fires.
        let patience = self.settings.patience_ticks(number);
        let waited = patience.saturating_mul(1 + u32::from(connection.misses));
        connection.misses = 0;
        let ticks = self.settings.beat_ticks(number).expect("it was asked");
        connection.due = match ticks.checked_sub(waited) {
            Some(left) => connection.due.plus(left),
            None => self.tick.plus(1),
        };
        true
    }
}

impl<H: Handler> Turn<'_, H> {
    pub(super) fn beat(&mut self, index: Index, beat: Beat) {
        let core = &mut *self.core;
        let connection = core.connections.get_mut(index).expect("it was in the wheel");
        let number = connection.flags.heartbeat();
        let interval = core.settings.beat_ticks(number).expect("it beats");
        let patience = core.settings.patience_ticks(number);
        // It is not read from until its output has left: that nothing was heard says nothing, and
        // the write timeout watches over it. A question by message is asked all the same, behind
        // the backlog: clients of such protocols leave a server whose questions stay away.
        let is_asked_by_message = number > 0 && beat == Beat::Ask;
        if connection.backlog_bytes() > 0 && !is_asked_by_message {
            connection.misses = if number == 0 { 0 } else { connection.misses.saturating_add(1) };
            connection.due = core.tick.plus(if beat == Beat::Ask { interval } else { patience });
            return;
        }
        // What it has sent waits to be read, after a stall for example: it is there.
        if beat != Beat::Ask && connection.flags.has(Flags::READY) {
            connection.due = core.tick.plus(1);
            return;
        }
        // Time went on without anything being served: whoever was asked has all of it once more.
        let until = core.stillness.patient_until(patience).filter(|_| beat != Beat::Ask);
        if let Some(until) = until.filter(|until| core.tick.is_before(*until)) {
            connection.due = until;
            return;
        }
        match beat {
            Beat::Ask if number == 0 => {
                connection.misses += 1;
                // After the last of the pings in a row the peer has the pong timeout, not longer.
                let last = connection.misses >= PINGS_MISSED_MAX;
                connection.due = core.tick.plus(if last { patience } else { interval });
                core.counters.pings_sent += 1;
                self.queue_frame(index, &crate::ws::encode::PING);
            }
            Beat::Ask => {
                connection.flags.set(Flags::ASKED);
                connection.misses = 0;
                connection.due = core.tick.plus(patience);
                core.counters.message_pings_sent += 1;
                let piece = self.batch.share(core.heartbeats.frame(number));
                let _closed_on_overflow = self.queue(index, piece);
            }
            Beat::Unheard => {
                core.counters.pong_timeouts += 1;
                self.cut(index, Cause::Unresponsive, code::ABNORMAL, "no pong");
            }
            Beat::Unanswered => {
                core.counters.message_pong_timeouts += 1;
                self.close_from_here(index, Cause::Unresponsive, code::NO_PONG, "no pong");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::phase::Phase;
    use super::super::ready::Rank;
    use super::super::session_rig::{Client, SessionRig, open_settings};
    use super::super::session_settings::SessionSettings;
    use super::*;
    use crate::config::Config;
    use crate::limits::{
        HANDSHAKE_TIMEOUT_DEFAULT, MESSAGE_PING_INTERVAL_DEFAULT, STILL_MAX, WHEEL_TICK_MS,
    };

    #[test]
    fn equal_heartbeats_share_a_number_and_their_number_is_bounded() {
        const TEXTS: [&str; HEARTBEAT_MESSAGES_MAX] = ["1", "2", "3", "4", "5", "6", "7"];
        let mut heartbeats = Heartbeats::default();
        assert_eq!(heartbeats.number(Heartbeat::Ping), Some(0));
        for _ in 0..2 {
            for (text, number) in TEXTS.into_iter().zip(1..) {
                assert_eq!(heartbeats.number(Heartbeat::Text(text)), Some(number));
                assert_eq!(*heartbeats.frame(number), [0x81, 1, text.as_bytes()[0]]);
            }
        }
        assert_eq!(heartbeats.number(Heartbeat::Binary(b"1")), None);
        let mut flags = Flags::default();
        for number in [7, 3, 0] {
            flags.set(Flags::READY);
            flags.set_heartbeat(number);
            assert!(flags.heartbeat() == number && flags.has(Flags::READY));
        }
    }

    const TICK: Duration = Duration::from_millis(WHEEL_TICK_MS);
    const INTERVAL: Duration = MESSAGE_PING_INTERVAL_DEFAULT;

    fn rig() -> (SessionRig, Client, Duration) {
        let settings = SessionSettings { ping_interval: Some(INTERVAL), ..open_settings() };
        let config = Config::new(([127, 0, 0, 1], 0).into());
        let mut rig = SessionRig::new(1, 16, config, &settings);
        let client = rig.connect(0, "");
        // Nothing of it waits to be read.
        while rig.core(0).next_ready(Rank::New).is_some() {}
        (rig, client, settings.pong_timeout)
    }

    fn stand_still(rig: &mut SessionRig, period: Duration) {
        rig.core(0).stand_still(true);
        rig.pass(0, period);
        rig.core(0).stand_still(false);
        rig.pass(0, Duration::ZERO);
    }

    fn is_closed_after(rig: &mut SessionRig, client: Client, patience: Duration) -> bool {
        rig.pass(0, patience.saturating_sub(2 * TICK));
        let was_open = rig.is_open(client);
        rig.pass(0, 4 * TICK);
        was_open && !rig.is_open(client)
    }

    /// A pong that is awaited is awaited as long as if the shard had never stood still, and the
    /// pings of that time do not all leave at once.
    #[test]
    fn no_time_passes_for_a_heartbeat_while_nothing_is_served() {
        let (mut rig, client, patience) = rig();
        let pings = |rig: &SessionRig| rig.counters().message_pings_sent;
        for _again in 0..5 {
            stand_still(&mut rig, STILL_MAX);
        }
        assert_eq!(pings(&rig), 0, "it was not due yet, and is not now");
        rig.pass(0, INTERVAL + TICK);
        assert_eq!(pings(&rig), 1);
        let due = rig.core(0).next_deadline().expect("the pong is awaited");
        stand_still(&mut rig, STILL_MAX);
        assert_eq!(rig.core(0).next_deadline(), Some(due + STILL_MAX));
        assert!(is_closed_after(&mut rig, client, patience));
        assert_eq!(pings(&rig), 1);
    }

    #[test]
    fn after_too_long_a_time_pings_leave_at_once_and_answers_have_all_of_theirs() {
        let (mut rig, asked, patience) = rig();
        rig.pass(0, INTERVAL + TICK);
        let other = rig.connect(0, "");
        assert_eq!(rig.counters().message_pings_sent, 1);
        stand_still(&mut rig, 2 * INTERVAL);
        assert_eq!(rig.counters().message_pings_sent, 2, "the other one");
        assert!(rig.is_open(other) && is_closed_after(&mut rig, asked, patience));
    }

    #[test]
    fn whoever_was_to_speak_has_all_of_its_time_too() {
        let (mut rig, _, _) = rig();
        let late = HANDSHAKE_TIMEOUT_DEFAULT;
        let client = rig.dial_silently(0);
        stand_still(&mut rig, 2 * late);
        let is_there = |rig: &mut SessionRig| rig.core(0).phase(client.index);
        assert_eq!(is_there(&mut rig), Some(Phase::Handshake));
        rig.pass(0, late.saturating_sub(2 * TICK));
        assert_eq!(is_there(&mut rig), Some(Phase::Handshake));
        rig.pass(0, 4 * TICK);
        assert_ne!(is_there(&mut rig), Some(Phase::Handshake));
    }
}
