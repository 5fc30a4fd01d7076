//! The home's count of its users' connections, on whichever shards they are.
//!
//! A shard asks a user's home before it lets a connection in, and says when one that was let in
//! has gone. The home alone counts, so the limit holds for all shards together without a word
//! between any other two.
//!
//! Invariant: a user is here while a connection of its is counted, and takes no memory otherwise.

use super::names::{NameError, Names};
use std::hash::BuildHasher;

/// Why a connection is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum UserError {
    /// The user has as many connections as it may have.
    AtLimit,
    /// The home counts as many users as it may.
    UsersFull,
    /// The user's id is longer than `USER_ID_BYTES_MAX`.
    IdTooLong {
        /// Its length.
        bytes: usize,
    },
}

impl From<NameError> for UserError {
    fn from(error: NameError) -> Self {
        match error {
            NameError::TooLong { bytes } => Self::IdTooLong { bytes },
            NameError::Full { .. } => Self::UsersFull,
        }
    }
}

/// The users of one home.
pub struct Users {
    counts: Names<u32>,
}

impl Users {
    /// A home without users. `hasher` is keyed at random by the caller and never shows in what is
    /// returned.
    pub fn new(users_max: u32, hasher: impl BuildHasher + Send + 'static) -> Self {
        Self { counts: Names::new(users_max, hasher) }
    }

    /// Counts a connection of the user, unless it has `limit` of them.
    pub fn sign_in(&mut self, user: &str, limit: u32) -> Result<(), UserError> {
        let Some(key) = self.counts.find(user) else {
            if limit == 0 {
                return Err(UserError::AtLimit);
            }
            self.counts.enter(user, 1)?;
            return Ok(());
        };
        let count = self.counts.get_mut(key).expect("found above");
        if *count >= limit {
            return Err(UserError::AtLimit);
        }
        *count += 1;
        Ok(())
    }

    /// A connection that was counted is gone.
    pub fn sign_out(&mut self, user: &str) {
        let key = self.counts.find(user).expect("who signs out has signed in");
        let count = self.counts.get_mut(key).expect("found above");
        *count -= 1;
        if *count == 0 {
            self.counts.forget(key);
        }
    }

    /// Connections of a user that are counted.
    pub fn connections_of(&self, user: &str) -> u32 {
        let count = self.counts.find(user).and_then(|key| self.counts.get(key));
        count.copied().unwrap_or(0)
    }

    /// Bytes of memory behind the counts.
    pub fn memory_bytes(&self) -> usize {
        self.counts.memory_bytes()
    }

    /// Users with a connection.
    pub fn count(&self) -> u32 {
        self.counts.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::USER_ID_BYTES_MAX;
    use std::hash::RandomState;

    #[test]
    fn a_user_has_as_many_connections_as_the_limit_says_and_one_more_after_one_left() {
        let mut users = Users::new(10, RandomState::new());
        for limit in [0, 3] {
            for _ in 0..limit {
                assert_eq!(users.sign_in("ann", limit), Ok(()));
            }
            assert_eq!(users.sign_in("ann", limit), Err(UserError::AtLimit));
        }
        assert_eq!(users.sign_in("bob", 3), Ok(()), "another's connections are another's");
        assert_eq!((users.connections_of("ann"), users.count()), (3, 2));
        users.sign_out("ann");
        assert_eq!(users.sign_in("ann", 3), Ok(()));
        assert_eq!(users.sign_in("ann", 3), Err(UserError::AtLimit));
    }

    #[test]
    fn a_user_without_connections_makes_room_for_another() {
        let mut users = Users::new(2, RandomState::new());
        for user in ["ann", "bob"] {
            assert_eq!(users.sign_in(user, 9), Ok(()));
        }
        assert_eq!(users.sign_in("cho", 9), Err(UserError::UsersFull));
        assert_eq!(users.sign_in("bob", 9), Ok(()), "it is there already");
        users.sign_out("ann");
        assert_eq!(users.sign_in("cho", 9), Ok(()));
        assert_eq!((users.connections_of("ann"), users.count()), (0, 2));
    }

    #[test]
    fn an_id_that_is_too_long_is_refused() {
        let mut users = Users::new(2, RandomState::new());
        let long = "x".repeat(USER_ID_BYTES_MAX + 1);
        let bytes = long.len();
        assert_eq!(users.sign_in(&long, 9), Err(UserError::IdTooLong { bytes }));
        assert_eq!(users.sign_in(&long[1..], 9), Ok(()));
    }
}
