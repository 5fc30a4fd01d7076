//! Replies in the order of the commands, and what is read meanwhile.

use super::deferred::{Deferred, DeferredFull};
use super::effects::{Effect, Effects};
use super::outbox::Written;
use super::state::Session;
use super::under_way::{SlotId, Taken, UnderWay};
use crate::limits::REPLIES_WAITING_BYTES_MAX;
use crate::protocol::{DisconnectCode, Push, Reply};

impl Session {
    /// Whether a command is in the way of those that follow, so that they have to be deferred.
    pub fn is_busy(&self) -> bool {
        self.under_way().is_some_and(UnderWay::is_blocked)
    }

    /// Whether answers are awaited.
    pub fn is_waiting(&self) -> bool {
        self.under_way().is_some()
    }

    /// Bytes of commands that wait.
    pub fn deferred_bytes(&self) -> usize {
        self.under_way().map_or(0, |under_way| under_way.deferred.len())
    }

    /// Bytes of memory that they take, and the replies that wait for others.
    pub fn held_bytes(&self) -> usize {
        self.under_way().map_or(0, UnderWay::held_bytes)
    }

    /// Keeps the commands of a frame, or of the rest of one, until what is in their way is over.
    pub fn defer(&mut self, commands: &[u8], effects: &mut Effects) {
        let separator = self.format().separator();
        let under_way = self.under_way_mut().expect("there is something to wait for");
        if commands.is_empty() {
            // It is an empty frame, or a line that is blank, and would not be noticed later.
            self.close(DisconnectCode::BadRequest, effects);
        } else if under_way.deferred.append(separator, commands) == Err(DeferredFull) {
            self.close(DisconnectCode::TooManyRequests, effects);
        }
    }

    /// Puts back what cannot be read yet, because another command is in its way.
    pub fn defer_again(&mut self, deferred: Deferred) {
        if !deferred.is_empty()
            && let Some(under_way) = self.under_way_mut()
        {
            under_way.deferred = deferred;
        }
    }

    /// There is no room on the shard for what waits.
    pub fn crowded_out(&mut self, effects: &mut Effects) {
        self.close(DisconnectCode::TooManyRequests, effects);
    }

    /// Replies to a command that nobody else has to be asked about.
    pub(super) fn reply(&mut self, id: u32, reply: &Reply<'_>, effects: &mut Effects) {
        match self.under_way_mut().filter(|under_way| under_way.has_slots()) {
            None => effects.outbox.reply(id, reply),
            Some(under_way) => under_way.append(effects.outbox.write(id, reply)),
        }
        self.check_waiting_bytes(effects);
    }

    /// Says what is new of a channel, behind what was asked about it before.
    pub(super) fn push(&mut self, channel: &str, push: &Push<'_>, effects: &mut Effects) {
        match self.under_way_mut().filter(|under_way| under_way.find(channel).is_some()) {
            None => effects.outbox.push(channel, push),
            Some(under_way) => under_way.append(effects.outbox.write_push(channel, push)),
        }
        self.check_waiting_bytes(effects);
    }

    /// The answer to a command has come.
    pub(super) fn take(&mut self, slot: SlotId) -> Taken {
        self.under_way_mut().expect("something is under way").take(slot)
    }

    /// Replies to a command whose answer was [taken](Self::take). Returns what was deferred
    /// meanwhile and is to be read now.
    pub(super) fn answer(
        &mut self,
        Taken { slot, id, .. }: Taken,
        reply: &Reply<'_>,
        effects: &mut Effects,
    ) -> Deferred {
        let under_way = self.under_way_mut().expect("it was taken");
        if under_way.is_first(slot) {
            effects.outbox.reply(id, reply);
            return self.leave_first(effects);
        }
        let is_entry = matches!(reply, Reply::Subscribe(_));
        let written = effects.outbox.write(id, reply);
        self.answer_written(slot, written, is_entry, effects)
    }

    /// The same, and says something to the client right behind the reply.
    pub(super) fn answer_and_say(
        &mut self,
        taken: &Taken,
        reply: &Reply<'_>,
        message: &[u8],
        effects: &mut Effects,
    ) -> Deferred {
        let is_entry = matches!(reply, Reply::Subscribe(_));
        let written = effects.outbox.write(taken.id, reply);
        let written = effects.outbox.followed_by_message(written, message);
        self.answer_written(taken.slot, written, is_entry, effects)
    }

    /// The same with an answer that is in words, which tells of a membership if it `is_entry`.
    pub(super) fn answer_written(
        &mut self,
        slot: SlotId,
        written: Written,
        is_entry: bool,
        effects: &mut Effects,
    ) -> Deferred {
        let under_way = self.under_way_mut().expect("it was taken");
        if under_way.is_first(slot) {
            effects.outbox.append(&written);
            return self.leave_first(effects);
        }
        if under_way.write(slot, written, is_entry) {
            effects.push(Effect::HoldDeliveries);
        }
        self.check_waiting_bytes(effects);
        self.read_on()
    }

    /// The answer of the first slot leaves, and with it those that wait behind it.
    fn leave_first(&mut self, effects: &mut Effects) -> Deferred {
        let under_way = self.under_way_mut().expect("its first was answered");
        under_way.leave_first();
        while let Some((written, tells_last)) = under_way.next_written() {
            effects.outbox.append(&written);
            if tells_last {
                effects.push(Effect::ReleaseDeliveries);
            }
        }
        self.check_waiting_bytes(effects);
        self.read_on()
    }

    /// What is to be read, now that an answer has come.
    pub(super) fn read_on(&mut self) -> Deferred {
        let deferred = self.under_way_mut().map(UnderWay::unblock);
        self.finish();
        deferred.unwrap_or_default()
    }

    fn check_waiting_bytes(&mut self, effects: &mut Effects) {
        let bytes = self.under_way().map_or(0, UnderWay::written_bytes);
        if bytes > REPLIES_WAITING_BYTES_MAX {
            self.close(DisconnectCode::Slow, effects);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::rig::Rig;
    use crate::limits::{COMMANDS_UNDER_WAY_MAX, DEFERRED_BYTES_MAX};
    use crate::protocol::{DisconnectCode, ErrorCode};

    fn subscribe(id: usize, channel: &str) -> String {
        format!(r#"{{"id":{id},"subscribe":{{"channel":"{channel}"}}}}"#)
    }

    /// The numbers of the replies that were read since the last time.
    fn ids(rig: &mut Rig) -> Vec<u64> {
        let id = |line: &String| {
            let reply: serde_json::Value = serde_json::from_str(line).unwrap();
            reply["id"].as_u64().unwrap_or(0)
        };
        rig.lines().iter().map(id).collect()
    }

    #[test]
    fn homes_are_asked_side_by_side_and_replies_leave_in_order() {
        let mut rig = Rig::open();
        let rpc = r#"{"id":3,"rpc":{}}"#.to_owned();
        rig.frame(&[subscribe(2, "a"), rpc, subscribe(4, "b"), subscribe(5, "c")].join("\n"));
        assert_eq!((rig.joining.len(), ids(&mut rig)), (3, vec![]));
        rig.joined_at(1, Ok(()));
        assert!(rig.is_held, "it is a member of b, and does not know");
        rig.joined_at(1, Err(ErrorCode::Internal));
        assert_eq!(ids(&mut rig), [0; 0]);
        rig.joined_at(0, Ok(()));
        assert_eq!(ids(&mut rig), [2, 3, 4, 5]);
        assert!(!rig.is_held && !rig.session.is_waiting());
        assert_eq!((rig.members.len(), rig.session.channel_count), (2, 2));
    }

    #[test]
    fn what_is_about_the_same_channel_waits_and_so_does_what_follows_it() {
        let mut rig = Rig::open();
        rig.frame(&[subscribe(2, "a"), subscribe(3, "b")].join("\n"));
        rig.frame("{\"id\":4,\"unsubscribe\":{\"channel\":\"b\"}}\n{\"id\":5,\"rpc\":{}}");
        rig.frame(&subscribe(6, "c"));
        assert_eq!(rig.joining_names(), ["a", "b"]);
        rig.joined_at(1, Ok(()));
        assert_eq!(rig.joining_names(), ["a"], "the reply about b has not left");
        rig.joined(Ok(()));
        assert_eq!((ids(&mut rig), rig.joining_names()), (vec![2, 3, 4, 5], vec!["c"]));
        rig.joined(Err(ErrorCode::Internal));
        assert_eq!(ids(&mut rig), [6]);
        assert_eq!((rig.members.len(), rig.session.channel_count), (1, 1));
    }

    #[test]
    fn commands_under_way_have_a_bound_and_those_beyond_it_wait() {
        let mut rig = Rig::open();
        rig.terms.rules.channel_limit = u16::MAX;
        let count = COMMANDS_UNDER_WAY_MAX + 2;
        let all: Vec<String> = (1..=count).map(|id| subscribe(id, &format!("c{id}"))).collect();
        rig.frame(&all.join("\n"));
        assert_eq!(rig.joining.len(), COMMANDS_UNDER_WAY_MAX);
        rig.joined_at(1, Ok(()));
        assert_eq!(rig.joining.len(), COMMANDS_UNDER_WAY_MAX - 1, "its reply waits in its place");
        rig.joined(Ok(()));
        assert_eq!((rig.joining.len(), ids(&mut rig)), (COMMANDS_UNDER_WAY_MAX, vec![1, 2]));
        while !rig.joining.is_empty() {
            rig.joined(Ok(()));
        }
        assert_eq!(rig.members.len(), count);
        assert!(!rig.session.is_waiting(), "and nothing is kept for it");
    }

    #[test]
    fn what_is_missed_before_the_client_knows_that_it_is_in_is_said_after_it() {
        let mut rig = Rig::positioned();
        rig.frame(&[subscribe(2, "a"), subscribe(3, "b")].join("\n"));
        rig.joined_at(1, Ok(()));
        rig.missed("b");
        assert_eq!(rig.lines(), [""; 0]);
        rig.joined(Ok(()));
        let lines = rig.lines();
        assert!(lines[0].contains("\"id\":2") && lines[1].contains("\"id\":3"), "{lines:?}");
        assert!(lines[2].contains("\"code\":2500"), "{lines:?}");
        assert_eq!((rig.members.len(), rig.session.channel_count), (1, 1));
    }

    #[test]
    fn replies_that_wait_are_unsent_output_and_bounded_as_such() {
        let mut rig = Rig::open();
        rig.frame(&subscribe(2, "a"));
        let rpc = r#"{"id":3,"rpc":{}}"#;
        let count = COMMANDS_UNDER_WAY_MAX - 1;
        rig.frame(&vec![rpc; count].join("\n"));
        let held_bytes = rig.session.held_bytes();
        assert!((count * rpc.len()..count * 100).contains(&held_bytes), "{held_bytes}");
        rig.joined(Ok(()));
        assert_eq!((ids(&mut rig).len(), rig.session.held_bytes()), (count + 1, 0));
    }

    #[test]
    fn who_sends_on_while_an_answer_is_awaited_is_told_so_at_the_bound() {
        let mut rig = Rig::open();
        rig.frame(r#"{"id":2,"subscribe":{"channel":"a"}}"#);
        let frame = "{\"id\":3,\"unsubscribe\":{\"channel\":\"a\"}}\n".repeat(1024);
        for _ in 0..DEFERRED_BYTES_MAX / frame.len() {
            rig.frame(&frame);
            assert_eq!(rig.closed, None);
        }
        rig.frame(&frame);
        assert_eq!(rig.closed.map(|why| why.code), Some(DisconnectCode::TooManyRequests));
    }

    #[test]
    fn an_empty_message_is_malformed_also_while_an_answer_is_awaited() {
        for is_busy in [false, true] {
            for empty in ["", "\n", "{}\n\n"] {
                let mut rig = Rig::open();
                rig.pings = 1;
                if is_busy {
                    rig.frame(r#"{"id":2,"subscribe":{"channel":"a"}}"#);
                }
                rig.frame(empty);
                if is_busy && rig.closed.is_none() {
                    rig.joined(Ok(()));
                }
                assert_eq!(
                    rig.closed.map(|why| why.code),
                    Some(DisconnectCode::BadRequest),
                    "{is_busy}"
                );
            }
        }
    }
}
