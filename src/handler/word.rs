//! What somebody outside has said to a user.

/// A word for all connections of a user, or of everybody, which only the application understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word<'a> {
    /// The user, empty for those who are nobody's; `None` for everybody.
    pub user: Option<&'a str>,
    /// The word.
    pub bytes: &'a [u8],
}
