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
    info_bytes: u32,
    user_bytes: u16,
    is_listed: bool,
}

const _: () = assert!(size_of::<Present>() == 40);

impl Present {
    /// The client with this id, of this user, who is empty for nobody. `info` is what the
    /// application says of the connection, `channel_info` what it says of it in this channel.
    ///
    /// Panics if the user's id has 64 KiB, or what is said 4 GiB.
    pub fn new(id: [u8; 16], user: &str, info: &[u8], channel_info: &[u8]) -> Self {
        let texts: Arc<[u8]> = [user.as_bytes(), info, channel_info].concat().into();
        let info_bytes = u32::try_from(info.len()).expect("what is said of a client is short");
        Self { info_bytes, ..Self::of_texts(id, texts, user.len()) }
    }

    /// The same of texts that are there: the user's id, and behind it what is said of the
    /// connection. Of it in this channel nothing is said.
    ///
    /// Panics if the texts do not begin with as many bytes of a user's id, or these are 64 KiB, or
    /// what follows is 4 GiB.
    pub fn of_texts(id: [u8; 16], texts: Arc<[u8]>, user_bytes: usize) -> Self {
        let (user, info) = texts.split_at(user_bytes);
        assert!(str::from_utf8(user).is_ok(), "the id of a user is text");
        let user_bytes = u16::try_from(user.len()).expect("the id of a user is short");
        let info_bytes = u32::try_from(info.len()).expect("what is said of a client is short");
        Self { id, texts, info_bytes, user_bytes, is_listed: true }
    }

    /// The same, but told of only as it comes and goes: whoever asks who is in the channel does not
    /// hear of it.
    #[must_use]
    pub fn unlisted(self) -> Self {
        Self { is_listed: false, ..self }
    }

    /// Whether those who ask who is in the channel hear of it.
    pub fn is_listed(&self) -> bool {
        self.is_listed
    }

    /// What is shown of it in this channel, when the same client is shown as `anew` from now on.
    /// What is said of it in this channel stays, unless `anew` says something else.
    #[must_use]
    pub(crate) fn shown_as(&self, anew: &Self) -> Self {
        let Self { id, is_listed, .. } = *self;
        if self.channel_info().is_empty() || !anew.channel_info().is_empty() {
            return Self { id, is_listed, ..anew.clone() };
        }
        let renewed = Self::new(id, anew.user(), anew.info(), self.channel_info());
        Self { is_listed, ..renewed }
    }

    /// The id of the client.
    pub fn id(&self) -> [u8; 16] {
        self.id
    }

    /// Its user; empty for nobody.
    pub fn user(&self) -> &str {
        str::from_utf8(&self.texts[..self.user_bytes.into()]).expect("it was text when it came")
    }

    /// What the application says of the connection.
    pub fn info(&self) -> &[u8] {
        &self.texts[self.user_bytes.into()..][..self.info_bytes as usize]
    }

    /// What the application says of it in this channel.
    pub fn channel_info(&self) -> &[u8] {
        &self.texts[self.user_bytes.into()..][self.info_bytes as usize..]
    }
}

impl fmt::Debug for Present {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Present")
            .field("id", &self.id)
            .field("user", &self.user())
            .field("info", &self.info())
            .field("channel_info", &self.channel_info())
            .field("is_listed", &self.is_listed)
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

    #[test]
    fn a_client_that_is_shown_anew_keeps_what_is_the_channels() {
        let anew = Present::new([7; 16], "ann", b"2", b"");
        for channel_info in [&b""[..], b"9"] {
            let one = Present::new([7; 16], "ann", b"1", channel_info).unlisted();
            let expected = Present::new([7; 16], "ann", b"2", channel_info).unlisted();
            assert_eq!(one.shown_as(&anew), expected);
        }
    }
}
