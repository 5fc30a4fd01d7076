//! A client as others are shown it.
//!
//! Invariant: it takes two allocations, its own and one for all texts, whatever is said of it.
//! There is one for each client that is present anywhere, so what it takes is paid a million times.

use std::fmt;

/// A client as others are shown it. One for each connection, however many channels it is in.
#[derive(Clone, PartialEq, Eq)]
pub struct Who {
    id: [u8; 16],
    /// The user's id, and behind it what is said of the connection.
    texts: Box<[u8]>,
    user_bytes: u32,
}

const _: () = assert!(size_of::<Who>() == 40);

impl Who {
    /// The client with this id, of this user, who is empty for nobody. `info` is what the
    /// application says of the connection.
    ///
    /// Panics if the user's id has 4 GiB.
    pub fn new(id: [u8; 16], user: &str, info: &[u8]) -> Self {
        let user_bytes = u32::try_from(user.len()).expect("the id of a user is short");
        Self { id, texts: [user.as_bytes(), info].concat().into(), user_bytes }
    }

    /// The id of the client.
    pub fn id(&self) -> [u8; 16] {
        self.id
    }

    /// Its user; empty for nobody.
    pub fn user(&self) -> &str {
        str::from_utf8(&self.texts[..self.user_bytes as usize]).expect("it was made of a `str`")
    }

    /// What the application says of the connection.
    pub fn info(&self) -> &[u8] {
        &self.texts[self.user_bytes as usize..]
    }
}

impl fmt::Debug for Who {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Who")
            .field("id", &self.id)
            .field("user", &self.user())
            .field("info", &self.info())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_comes_back_apart() {
        for (user, info) in [("", &b""[..]), ("größe", b""), ("", b"{}"), ("ann", b"{\"n\":1}")] {
            let who = Who::new([7; 16], user, info);
            assert_eq!((who.id(), who.user(), who.info()), ([7; 16], user, info));
        }
        assert_ne!(Who::new([7; 16], "a", b"b"), Who::new([7; 16], "ab", b""));
    }
}
