//! Who is present in the channels of a home, on whichever shards they are.
//!
//! The home is told with the question by which somebody enters a channel, and with the notice that
//! it left, so there is nothing to refresh and nothing that expires: who is here is here.
//!
//! An entry takes at most 64 bytes with a key of 8 bytes and a `P` of 24, in a channel of
//! 10,000 as alone in a channel, where the channel's name comes to it.
//!
//! Invariant: a list that is at hand says who is in the channel now; a change drops it.

use super::arena::Key;
use super::crowd::Crowd;
use super::names::{NameError, Names};
use crate::limits::PRESENCE_LISTS_KEPT_MAX;
use hashbrown::HashTable;
use std::collections::VecDeque;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

/// Why somebody is not noted as present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PresenceError {
    /// The channel's name is longer than `CHANNEL_NAME_BYTES_MAX`.
    NameTooLong {
        /// Its length.
        bytes: usize,
    },
    /// As many are present in the channels of this home as may be.
    Full {
        /// How many that is.
        entries_max: u32,
    },
}

/// How many are in a channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PresenceStats {
    /// Clients.
    pub clients: u32,
    /// Users that they belong to; those who are nobody are one user.
    pub users: u32,
}

/// The presence of a home's channels: `P` is what is shown of whoever has the key `K`.
pub struct Presence<K, P> {
    pub(super) channels: Names<Present<K, P>>,
    user_of: fn(&P) -> &str,
    is_listed: fn(&P) -> bool,
    key_hash: Box<dyn Fn(&K) -> u64 + Send>,
    user_hash: Box<dyn Fn(&str) -> u64 + Send>,
    /// Lists that somebody has asked for, the latest first.
    lists: VecDeque<List<P>>,
    nobody: Arc<[P]>,
    count: u32,
    entries_max: u32,
    refused: u64,
    /// Bytes of memory behind all crowds.
    crowd_bytes: usize,
}

pub(super) struct Present<K, P> {
    pub(super) crowd: Crowd<K, P>,
    is_listed: bool,
}

struct List<P> {
    channel: Key,
    present: Arc<[P]>,
    /// Users among them, if anybody has asked.
    users: Option<u32>,
}

impl<K: Copy + Eq + Hash, P: Clone> Presence<K, P> {
    /// A home in whose channels nobody is. `user_of` tells the user's id, `is_listed` whether
    /// whoever asks hears of it. `hasher` is keyed at random by the caller and never shows in what
    /// is returned.
    pub fn new(
        entries_max: u32,
        user_of: fn(&P) -> &str,
        is_listed: fn(&P) -> bool,
        hasher: impl BuildHasher + Clone + Send + 'static,
    ) -> Self {
        let (of_keys, of_users) = (hasher.clone(), hasher.clone());
        Self {
            channels: Names::new(entries_max, hasher),
            user_of,
            is_listed,
            key_hash: Box::new(move |key| of_keys.hash_one(key)),
            user_hash: Box::new(move |user| of_users.hash_one(user)),
            lists: VecDeque::new(),
            nobody: Arc::from([]),
            count: 0,
            entries_max,
            refused: 0,
            crowd_bytes: 0,
        }
    }

    /// Notes that somebody is in the channel; who is in it already is shown anew.
    pub fn add(&mut self, channel: &str, key: K, present: P) -> Result<(), PresenceError> {
        let added = self.try_add(channel, key, present);
        match added {
            Ok(is_new) => self.count += u32::from(is_new),
            Err(_) => self.refused += 1,
        }
        added.map(|_| ())
    }

    /// Whether somebody came who was not there.
    fn try_add(&mut self, name: &str, key: K, present: P) -> Result<bool, PresenceError> {
        let entries_max = self.entries_max;
        let is_full = self.count >= entries_max;
        let Some(channel) = self.channels.find(name) else {
            if is_full {
                return Err(PresenceError::Full { entries_max });
            }
            let present = Present { crowd: Crowd::One((key, present)), is_listed: false };
            self.channels.enter(name, present).map_err(|error| match error {
                NameError::TooLong { bytes } => PresenceError::NameTooLong { bytes },
                NameError::Full { .. } => PresenceError::Full { entries_max },
            })?;
            return Ok(true);
        };
        let hash = &self.key_hash;
        let crowd = &mut at_mut(&mut self.channels, channel).crowd;
        if is_full && !crowd.contains(key, hash) {
            return Err(PresenceError::Full { entries_max });
        }
        let bytes = crowd.memory_bytes();
        let is_new = crowd.add((key, present), hash).is_none();
        self.crowd_bytes += crowd.memory_bytes() - bytes;
        self.forget_list(channel);
        Ok(is_new)
    }

    /// Notes that somebody has left the channel; returns what was shown of it.
    pub fn remove(&mut self, channel: &str, key: K) -> Option<P> {
        let channel = self.channels.find(channel)?;
        let crowd = &mut at_mut(&mut self.channels, channel).crowd;
        let bytes = crowd.memory_bytes();
        let removed = crowd.remove(key, &self.key_hash);
        self.crowd_bytes -= bytes - crowd.memory_bytes();
        let Ok(removed) = removed else {
            self.forget_list(channel);
            self.count -= 1;
            return Some(self.channels.forget(channel).crowd.into_one().1);
        };
        let removed = removed?;
        self.forget_list(channel);
        self.count -= 1;
        Some(removed)
    }

    /// Somebody who is in the channel is shown otherwise from now on; false if nobody is it.
    pub fn renew(&mut self, channel: &str, key: K, renew: impl FnOnce(&P) -> P) -> bool {
        let Some(channel) = self.channels.find(channel) else { return false };
        let crowd = &mut at_mut(&mut self.channels, channel).crowd;
        let Some(present) = crowd.get_mut(key, &self.key_hash) else { return false };
        *present = renew(present);
        self.forget_list(channel);
        true
    }

    /// Who is in the channel. Whoever asks before anything changes is given the same list.
    pub fn list(&mut self, channel: &str) -> Arc<[P]> {
        match self.channels.find(channel) {
            Some(channel) => Arc::clone(&self.listed(channel).present),
            None => Arc::clone(&self.nobody),
        }
    }

    /// How many are in the channel.
    pub fn stats(&mut self, channel: &str) -> PresenceStats {
        let Some(channel) = self.channels.find(channel) else { return PresenceStats::default() };
        let list = self.listed(channel);
        let clients = u32::try_from(list.present.len()).expect("bounded by a u32");
        if let Some(users) = list.users {
            return PresenceStats { clients, users };
        }
        let present = Arc::clone(&list.present);
        let users = self.users_among(&present);
        self.listed(channel).users = Some(users);
        PresenceStats { clients, users }
    }

    fn users_among(&self, present: &[P]) -> u32 {
        let (user_of, hash) = (self.user_of, &self.user_hash);
        let mut users: HashTable<&str> = HashTable::with_capacity(present.len());
        for user in present.iter().map(user_of) {
            users.entry(hash(user), |&other| other == user, |&other| hash(other)).or_insert(user);
        }
        u32::try_from(users.len()).expect("no more than clients")
    }

    /// The channel's list, made if it is not at hand.
    fn listed(&mut self, channel: Key) -> &mut List<P> {
        let place = match self.lists.iter().position(|list| list.channel == channel) {
            Some(place) => place,
            None => self.enlist(channel),
        };
        &mut self.lists[place]
    }

    fn enlist(&mut self, channel: Key) -> usize {
        if self.lists.len() >= PRESENCE_LISTS_KEPT_MAX
            && let Some(dropped) = self.lists.pop_back()
        {
            at_mut(&mut self.channels, dropped.channel).is_listed = false;
        }
        let entry = at_mut(&mut self.channels, channel);
        entry.is_listed = true;
        let present = entry.crowd.entries().iter().map(|(_, present)| present);
        let present = present.filter(|present| (self.is_listed)(present)).cloned().collect();
        self.lists.push_front(List { channel, present, users: None });
        0
    }

    /// Drops the list of a channel that changes.
    fn forget_list(&mut self, channel: Key) {
        if std::mem::take(&mut at_mut(&mut self.channels, channel).is_listed) {
            self.lists.retain(|list| list.channel != channel);
            if self.lists.is_empty() {
                self.lists = VecDeque::new();
            }
        }
    }

    /// All who are present, once for each channel that they are in.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// How many were not noted, because too many are, or by the name of the channel.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// Bytes of memory that grow with those present, without what each points to, and without the
    /// lists at hand.
    pub fn memory_bytes(&self) -> usize {
        self.channels.memory_bytes() + self.crowd_bytes
    }
}

fn at_mut<K, P>(channels: &mut Names<Present<K, P>>, key: Key) -> &mut Present<K, P> {
    channels.get_mut(key).expect("a channel is kept while somebody is in it")
}
