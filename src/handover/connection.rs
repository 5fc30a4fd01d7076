//! One connection on its way: what the socket itself does not know.

use core::net::SocketAddr;

use super::field::{self, Record, record};
use super::{Aside, FormatError, Membership, stream};

/// Where a connection stands between its accept and its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stage {
    /// The request head is arriving.
    #[default]
    Handshake,
    /// Messages flow.
    Open,
    /// Our Close is sent or queued; the peer's is awaited.
    Closing,
    /// Output is sealed and leaving; input is thrown away.
    Discarding,
    /// Our side is shut; the peer's end is awaited.
    Lingering,
}

/// In the order of their numbers, from 1 on.
const STAGES: [Stage; 5] =
    [Stage::Handshake, Stage::Open, Stage::Closing, Stage::Discarding, Stage::Lingering];

/// A connection without its socket. Times are in milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Connection {
    /// Where it stands.
    pub stage: Stage,
    /// The pattern of its route, once it is upgraded.
    pub route: String,
    /// The peer has ended its half.
    pub is_half_closed: bool,
    /// The peer has sent its Close.
    pub is_peer_closed: bool,
    /// The peer's stream was read to its end.
    pub is_ended: bool,
    /// A PROXY header is to come before its request.
    pub is_proxied: bool,
    /// Its heartbeat has not begun.
    pub is_silent: bool,
    /// It was asked with the application's heartbeat, and has not answered.
    pub is_asked: bool,
    /// It has no seat: it is there to be told so.
    pub is_surplus: bool,
    /// Since bytes last arrived.
    pub silence_ms: u64,
    /// Until its next heartbeat, or the end of the patience with it.
    pub due_in_ms: u64,
    /// Until the application is to be called, if it has asked for that.
    pub alarm_in_ms: Option<u64>,
    /// Questions behind each other that it has not answered.
    pub misses: u8,
    /// Bytes as the peer would send them, after which a new parser stands where the old one stood.
    pub input: Vec<u8>,
    /// What has arrived of its request head.
    pub head: Vec<u8>,
    /// The client that a PROXY header has named.
    pub client: Option<SocketAddr>,
    /// Bytes that its socket has not taken.
    pub output: Vec<u8>,
    /// Since the socket last took some.
    pub stalled_ms: u64,
    /// What only the application understands.
    pub state: Vec<u8>,
    /// The channels that it is in.
    pub memberships: Vec<Membership>,
    /// Publications that wait until it has read what is before them, in their order.
    pub aside: Vec<Aside>,
    /// The name by which the homes of its channels know it.
    pub name: u64,
    /// The number of the copy of its descriptor, if one was sent ahead.
    pub copy: Option<u64>,
}

impl Connection {
    /// Appends its record.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let stage = STAGES.iter().position(|one| *one == self.stage).expect("all are listed");
        record(out, stream::CONNECTION, |put| {
            put.number(1, stage as u64 + 1)
                .bytes(2, self.route.as_bytes())
                .number(3, self.flags())
                .number(4, self.silence_ms)
                .number(5, self.due_in_ms)
                .maybe(6, self.alarm_in_ms)
                .number(7, self.misses.into())
                .bytes(8, &self.input)
                .bytes(9, &self.head)
                .address(10, self.client)
                .bytes(11, &self.output)
                .number(12, self.stalled_ms)
                .bytes(13, &self.state)
                .each(14, &self.memberships, |put, one| one.write(put))
                .number(15, self.name)
                .each(16, &self.aside, |put, one| one.write(put))
                .maybe(17, self.copy)
        });
    }

    pub(super) fn decode(record: &Record<'_>) -> Result<Self, FormatError> {
        let mut one = Self::default();
        let mut stage = None;
        record.read(|field, value| {
            match field {
                1 => {
                    let number: usize = field::narrow(value)?;
                    stage = Some(*STAGES.get(number.checked_sub(1)?)?);
                }
                2 => one.route = field::text(value)?,
                3 => one.set_flags(field::number(value)?)?,
                4 => one.silence_ms = field::number(value)?,
                5 => one.due_in_ms = field::number(value)?,
                6 => one.alarm_in_ms = field::number(value)?.checked_sub(1),
                7 => one.misses = field::narrow(value)?,
                8 => one.input = value.to_vec(),
                9 => one.head = value.to_vec(),
                10 => one.client = Some(field::address_of(value)?),
                11 => one.output = value.to_vec(),
                12 => one.stalled_ms = field::number(value)?,
                13 => one.state = value.to_vec(),
                14 => one.memberships.push(Membership::read(value)?),
                15 => one.name = field::number(value)?,
                16 => one.aside.push(Aside::read(value)?),
                17 => one.copy = Some(field::number(value)?.checked_sub(1)?),
                _ => return Some(false),
            }
            Some(true)
        })?;
        one.stage = stage.ok_or(record.missing(1))?;
        Ok(one)
    }

    fn flags(&self) -> u64 {
        field::flags_of([
            self.is_half_closed,
            self.is_peer_closed,
            self.is_ended,
            self.is_proxied,
            self.is_silent,
            self.is_asked,
            self.is_surplus,
        ])
    }

    /// `None` if there are flags that nobody here knows.
    fn set_flags(&mut self, flags: u64) -> Option<()> {
        field::set_flags(
            flags,
            [
                &mut self.is_half_closed,
                &mut self.is_peer_closed,
                &mut self.is_ended,
                &mut self.is_proxied,
                &mut self.is_silent,
                &mut self.is_asked,
                &mut self.is_surplus,
            ],
        )
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::handover::field::{Writer, first};
    use proptest::prelude::*;

    /// With a value of its own in every field.
    pub(in crate::handover) fn full() -> Connection {
        Connection {
            stage: Stage::Closing,
            route: "/room/:name".into(),
            is_half_closed: true,
            is_peer_closed: false,
            is_ended: true,
            is_proxied: false,
            is_silent: true,
            is_asked: true,
            is_surplus: false,
            silence_ms: 1,
            due_in_ms: 2_000,
            alarm_in_ms: Some(0),
            misses: 3,
            input: vec![0x81, 0x85],
            head: b"GET".to_vec(),
            client: Some("192.0.2.1:5".parse().unwrap()),
            output: vec![0; 300],
            stalled_ms: 70_000,
            state: vec![0xff],
            memberships: vec![
                Membership {
                    channel: "news".into(),
                    tag: 7,
                    filter: Some(crate::handover::filter::tests::full()),
                    ..Membership::default()
                },
                Membership {
                    channel: "größe".into(),
                    tag: 0,
                    overflow: 3,
                    is_present: true,
                    is_announced: false,
                    hears_joins: true,
                    acknowledges: false,
                    takes_deltas: true,
                    filter: None,
                },
            ],
            name: u64::MAX,
            aside: vec![Aside {
                channel: "news".into(),
                frame: vec![9],
                gives_way: true,
                ..Aside::default()
            }],
            copy: None,
        }
    }

    pub(in crate::handover) fn connections() -> impl Strategy<Value = Connection> {
        let bytes = || prop::collection::vec(any::<u8>(), 0..40);
        let times = (any::<u64>(), any::<u64>(), prop::option::of(0..u64::MAX), any::<u64>());
        let client = prop::option::of(any::<(u32, u16)>());
        (0..STAGES.len(), 0..1_u64 << 7, times, bytes(), bytes(), bytes(), client, ".{0,9}")
            .prop_map(|(stage, flags, times, input, output, state, client, route)| {
                let mut one = Connection { stage: STAGES[stage], input, output, ..full() };
                one.set_flags(flags).expect("seven are known");
                (one.silence_ms, one.due_in_ms, one.alarm_in_ms, one.stalled_ms) = times;
                (one.state, one.route) = (state, route);
                one.client = client.map(|(ip, port)| (core::net::Ipv4Addr::from(ip), port).into());
                one
            })
    }

    proptest! {
        #[test]
        fn every_connection_comes_back_as_it_was(one in connections()) {
            let mut bytes = Vec::new();
            one.encode(&mut bytes);
            let (record, length) = first(&bytes).unwrap().unwrap();
            prop_assert_eq!(length, bytes.len());
            prop_assert_eq!(Connection::decode(&record), Ok(one));
        }
    }

    #[test]
    fn a_stage_or_a_flag_that_is_not_known_is_refused() {
        let decode = |fill: for<'w, 'o> fn(&'w mut Writer<'o>) -> &'w mut Writer<'o>| {
            let mut bytes = Vec::new();
            field::record(&mut bytes, stream::CONNECTION, fill);
            Connection::decode(&first(&bytes).unwrap().unwrap().0)
        };
        let wrong = |field| Err(FormatError::Value { record: stream::CONNECTION, field });
        assert_eq!(decode(|put| put.number(1, 6)), wrong(1));
        assert_eq!(decode(|put| put.number(1, 1).number(3, 1 << 7)), wrong(3));
        let missing = FormatError::Missing { record: stream::CONNECTION, field: 1 };
        assert_eq!(decode(|put| put.number(3, 1)), Err(missing));
    }
}
