//! Everything that is handed over, under names that stay when it is another process's.

use std::collections::BTreeMap;

use super::super::super::carried::Parcel;
use super::super::super::estate::Estate;
use super::Network;
use crate::handover::{Item, Sink, Source, Stage};

/// A line for each thing that there is.
pub(super) struct Everything {
    all: Vec<String>,
    /// Streams of channels without members, and publications.
    evictable: Vec<String>,
}

impl Everything {
    /// The other is the same, but for what had to be evicted: so many publications, or streams with
    /// theirs.
    pub(super) fn must_be(&self, other: &Self, evicted: u64) {
        let beside = |one: &[String], other: &[String]| -> Vec<String> {
            one.iter().filter(|one| other.binary_search(one).is_err()).cloned().collect()
        };
        assert_eq!(beside(&self.all, &other.all), beside(&other.all, &self.all));
        assert_eq!(beside(&other.evictable, &self.evictable), [""; 0]);
        let missing = beside(&self.evictable, &other.evictable);
        assert!(missing.is_empty() || evicted > 0, "{missing:?}");
        assert_eq!(self.all.len(), other.all.len());
    }
}

impl Network {
    pub(super) fn everything(&self) -> Everything {
        let (mut all, mut numbers) = (Vec::new(), BTreeMap::new());
        let mut evictable = Vec::new();
        for node in &self.nodes {
            for (number, index) in node.living() {
                let Parcel::Goes(mut connection) = node.core.carried(index) else {
                    panic!("{:?} has settled, and cannot go", node.core.id(index));
                };
                let name = std::mem::take(&mut connection.name);
                if connection.stage == Stage::Open {
                    numbers.insert(name, number);
                }
                if connection.output.is_empty() {
                    connection.stalled_ms = 0; // of nothing
                }
                connection.memberships.sort_by(|one, other| one.channel.cmp(&other.channel));
                all.push(format!("{number}: {connection:?}"));
            }
        }
        let number_of = |name: u64| numbers.get(&name).copied().expect("somebody who is here");
        for node in &self.nodes {
            let mut sink = Sink::<()>::default();
            let mut left = Estate::default();
            while let Some((heirloom, next)) = node.core.channels.home.heirloom(&left) {
                heirloom.put(&mut sink);
                left = next;
            }
            let mut source = Source::<()>::default();
            while let Some((bytes, _)) = sink.message() {
                source.feed(bytes, []);
                sink.sent();
            }
            let mut stream = String::new();
            while let Some(item) = source.next_item().expect("it was written here") {
                match item {
                    Item::Stream(one) => {
                        stream = one.channel.clone();
                        let into = if one.has_members { &mut all } else { &mut evictable };
                        into.push(format!("{one:?}"));
                    }
                    // Their order within the stream is that of their offsets.
                    Item::Publication(frame) => {
                        evictable.push(format!("{stream} {}", frame.escape_ascii()));
                    }
                    Item::Present(mut one) => {
                        one.name = number_of(one.name);
                        all.push(format!("{one:?}"));
                    }
                    Item::Mailbox(mut one) => {
                        one.given_id = 0; // each process begins where it likes
                        one.connections.iter_mut().for_each(|name| *name = number_of(*name));
                        all.push(format!("{one:?}"));
                    }
                    other => all.push(format!("{other:?}")),
                }
            }
        }
        all.sort();
        evictable.sort();
        Everything { all, evictable }
    }
}
