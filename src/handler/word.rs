//! What somebody outside has said to some connections.

/// A word for some connections, which only the application understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word<'a> {
    /// Whose connections it is for.
    pub whom: Whom<&'a str>,
    /// The word.
    pub bytes: &'a [u8],
}

/// Whose connections are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whom<T> {
    /// All of this user, by what [`Peer::belong_to`](super::Peer::belong_to) has said; empty for
    /// those who are nobody's.
    User(T),
    /// All that bear this mark: see [`Peer::mark`](super::Peer::mark).
    Marked(T),
}

impl<T: AsRef<str>> Whom<T> {
    /// The same, with the name borrowed.
    pub fn borrowed(&self) -> Whom<&str> {
        match self {
            Self::User(user) => Whom::User(user.as_ref()),
            Self::Marked(mark) => Whom::Marked(mark.as_ref()),
        }
    }
}
