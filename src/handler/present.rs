//! A client as others are shown it.
//!
//! Invariant: it keeps no memory of its own but one allocation for all texts, which a client's
//! session and all channels in which it is shown alike share. There is one for each client that is
//! present anywhere, so what it takes is paid a million times.

use std::fmt;
use std::sync::Arc;

/// A client that is present in a channel, as others are shown it.
#[derive(Clone, PartialEq, Eq)]
pub struct Present {
    id: [u8; 16],
    /// The user's id, behind it what is said of the connection, and of it in this channel.
    texts: Arc<[u8]>,
    user_bytes: u32,
    info_bytes: u32,
}

const _: () = assert!(size_of::<Present>() == 40);

impl Present {
    /// The client with this id, of this user, who is empty for nobody. `info` is what the
    /// application says of the connection, `channel_info` what it says of it in this channel.
    ///
    /// Panics if one of them has 4 GiB.
    pub fn new(id: [u8; 16], user: &str, info: &[u8], channel_info: &[u8]) -> Self {
        let texts = [user.as_bytes(), info, channel_info].concat().into();
        Self { id, texts, user_bytes: bytes(user.len()), info_bytes: bytes(info.len()) }
    }

    /// The same of texts that are there: the user's id, and behind it what is said of the
    /// connection. Of it in this channel nothing is said.
    ///
    /// Panics if the texts do not begin with as many bytes of a user's id.
    pub fn of_texts(id: [u8; 16], texts: Arc<[u8]>, user_bytes: usize) -> Self {
        let (user, info) = texts.split_at(user_bytes);
        assert!(str::from_utf8(user).is_ok(), "the id of a user is text");
        let (user_bytes, info_bytes) = (bytes(user.len()), bytes(info.len()));
        Self { id, texts, user_bytes, info_bytes }
    }

    /// The id of the client.
    pub fn id(&self) -> [u8; 16] {
        self.id
    }

    /// Its user; empty for nobody.
    pub fn user(&self) -> &str {
        str::from_utf8(&self.texts[..self.user_bytes as usize]).expect("it was text when it came")
    }

    /// What the application says of the connection.
    pub fn info(&self) -> &[u8] {
        &self.texts[self.user_bytes as usize..][..self.info_bytes as usize]
    }

    /// What the application says of it in this channel.
    pub fn channel_info(&self) -> &[u8] {
        &self.texts[self.user_bytes as usize..][self.info_bytes as usize..]
    }
}

fn bytes(count: usize) -> u32 {
    u32::try_from(count).expect("what is shown of a client is short")
}

impl fmt::Debug for Present {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Present")
            .field("id", &self.id)
            .field("user", &self.user())
            .field("info", &self.info())
            .field("channel_info", &self.channel_info())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_comes_back_apart() {
        for (user, info, channel_info) in [
            ("", &b""[..], &b""[..]),
            ("größe", b"", b"[]"),
            ("", b"{}", b""),
            ("ann", b"{\"n\":1}", b"7"),
        ] {
            let present = Present::new([7; 16], user, info, channel_info);
            assert_eq!((present.id(), present.user()), ([7; 16], user));
            assert_eq!((present.info(), present.channel_info()), (info, channel_info));
        }
        let told_apart = ["a", "ab"].map(|user| Present::new([7; 16], user, b"b", b""));
        assert_ne!(told_apart[0], told_apart[1]);
    }

    #[test]
    fn texts_that_are_there_are_shared() {
        let texts: Arc<[u8]> = (*b"ann{}").into();
        let present = Present::of_texts([7; 16], texts.clone(), 3);
        assert_eq!(present, Present::new([7; 16], "ann", b"{}", b""));
        assert_eq!(Arc::strong_count(&texts), 2);
    }
}
