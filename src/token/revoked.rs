//! Tokens that are not to be believed any more, whatever their signatures say: one by its name, or
//! all of a user that were issued before some time.
//!
//! Invariants: what is revoked stays so until its end; the list is bounded, and who finds it full
//! is told so: nothing is taken out of it before its end. Those who are told the same, with the
//! same times, in the same order, have the same list.

use std::collections::HashMap;
use std::time::Duration;

use crate::limits::REVOCATIONS_MAX;

/// There is no room for another revocation until the end of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RevocationsFull;

/// What revocations go by, of a token or of a connection that was made with one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TokenMarks<'a> {
    /// The token's own name; empty if it has none.
    pub id: &'a str,
    /// Whose it is; empty for nobody's.
    pub user: &'a str,
    /// The one channel that it is for; empty for a connection.
    pub channel: &'a str,
    /// When it was issued, since the Unix epoch. What does not say so is as old as can be.
    pub issued: Option<Duration>,
}

/// The list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Revoked {
    /// By the tokens' names, until when.
    ids: HashMap<Box<str>, Duration>,
    users: HashMap<Box<str>, Vec<Before>>,
    /// Of all users.
    before_count: usize,
}

/// Tokens of one user that were issued too early.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Before {
    /// Those for this channel; all of the user if it is empty.
    channel: Box<str>,
    issued: Duration,
    until: Duration,
}

impl Revoked {
    /// What is revoked for as long as the process lives.
    pub const FOR_EVER: Duration = Duration::MAX;

    /// Revokes the token of this name from `now` on `until` then.
    pub fn revoke(
        &mut self,
        id: &str,
        until: Duration,
        now: Duration,
    ) -> Result<(), RevocationsFull> {
        if let Some(known) = self.ids.get_mut(id) {
            *known = until.max(*known);
            return Ok(());
        }
        self.make_room(now)?;
        self.ids.insert(id.into(), until);
        Ok(())
    }

    /// The same for tokens of a user that were `issued` before that time: those for a channel, or
    /// all where it is empty. Of two times for the same tokens the later one counts.
    pub fn revoke_before(
        &mut self,
        (user, channel): (&str, &str),
        issued: Duration,
        until: Duration,
        now: Duration,
    ) -> Result<(), RevocationsFull> {
        let of_user = self.users.get_mut(user).into_iter().flatten();
        if let Some(known) = of_user.into_iter().find(|known| *known.channel == *channel) {
            // One that has ended revokes nothing any more.
            let has_ended = known.until <= now;
            known.issued = if has_ended { issued } else { issued.max(known.issued) };
            known.until = until.max(known.until);
            return Ok(());
        }
        self.make_room(now)?;
        let before = Before { channel: channel.into(), issued, until };
        self.users.entry(user.into()).or_default().push(before);
        self.before_count += 1;
        Ok(())
    }

    /// Names of tokens, and until when they are revoked.
    pub fn tokens(&self) -> impl Iterator<Item = (&str, Duration)> {
        self.ids.iter().map(|(id, until)| (&**id, *until))
    }

    /// Users and channels, when those of their tokens that are revoked were issued at the latest,
    /// and until when they are.
    pub fn users(&self) -> impl Iterator<Item = ((&str, &str), Duration, Duration)> {
        self.users.iter().flat_map(|(user, all)| {
            all.iter().map(move |one| ((&**user, &*one.channel), one.issued, one.until))
        })
    }

    /// Whether a token is not to be believed.
    pub fn holds(&self, marks: &TokenMarks<'_>, now: Duration) -> bool {
        let of_id = self.ids.get(marks.id).filter(|_| !marks.id.is_empty());
        let is_named = of_id.is_some_and(|until| *until > now);
        let of_user = self.users.get(marks.user).into_iter().flatten();
        let mut meant = of_user.filter(|before| {
            before.until > now && (before.channel.is_empty() || *before.channel == *marks.channel)
        });
        is_named || meant.any(|before| marks.issued.is_none_or(|issued| issued < before.issued))
    }

    /// Revocations, those included whose end nobody has noticed yet.
    pub fn len(&self) -> usize {
        self.ids.len() + self.before_count
    }

    /// Whether nothing was revoked.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What has ended is looked for only where room is needed.
    fn make_room(&mut self, now: Duration) -> Result<(), RevocationsFull> {
        if self.len() >= REVOCATIONS_MAX {
            self.ids.retain(|_, until| *until > now);
            self.users.retain(|_, all| {
                all.retain(|before| before.until > now);
                !all.is_empty()
            });
            self.before_count = self.users.values().map(Vec::len).sum();
        }
        if self.len() < REVOCATIONS_MAX { Ok(()) } else { Err(RevocationsFull) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1000);
    const LATER: Duration = Duration::from_secs(2000);

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn marks<'a>(id: &'a str, user: &'a str, issued: u64) -> TokenMarks<'a> {
        TokenMarks { id, user, channel: "", issued: Some(at(issued)) }
    }

    #[test]
    fn a_token_is_revoked_by_its_name_until_the_end() {
        let mut revoked = Revoked::default();
        revoked.revoke("a", LATER, NOW).expect("room");
        assert!(revoked.holds(&marks("a", "ann", 2000), NOW));
        assert!(!revoked.holds(&marks("b", "ann", 0), NOW));
        assert!(!revoked.holds(&marks("", "ann", 0), NOW), "a name that nobody has");
        assert!(!revoked.holds(&marks("a", "ann", 0), LATER));
        revoked.revoke("a", NOW, NOW).expect("room");
        assert!(revoked.holds(&marks("a", "ann", 0), NOW), "an earlier end takes nothing back");
        revoked.revoke("a", Revoked::FOR_EVER, NOW).expect("room");
        assert!(revoked.holds(&marks("a", "ann", 0), LATER) && revoked.len() == 1);
    }

    #[test]
    fn tokens_of_a_user_are_revoked_that_were_issued_before() {
        let mut revoked = Revoked::default();
        revoked.revoke_before(("ann", ""), at(500), LATER, NOW).expect("room");
        for (user, issued, is_held) in [
            ("ann", Some(499), true),
            ("ann", None, true),
            ("ann", Some(500), false),
            ("bob", Some(0), false),
            ("", None, false),
        ] {
            let marks = TokenMarks { user, issued: issued.map(at), ..TokenMarks::default() };
            assert_eq!(revoked.holds(&marks, NOW), is_held, "{marks:?}");
            assert!(!revoked.holds(&marks, LATER));
            let of_channel = TokenMarks { channel: "a", ..marks };
            assert_eq!(revoked.holds(&of_channel, NOW), is_held, "{marks:?}");
        }
        revoked.revoke_before(("ann", ""), at(400), NOW, NOW).expect("room");
        assert!(revoked.holds(&marks("", "ann", 450), NOW), "the later time counts");
        revoked.revoke_before(("ann", ""), at(100), Revoked::FOR_EVER, LATER).expect("room");
        assert!(!revoked.holds(&marks("", "ann", 450), LATER), "what has ended does not come back");
        assert!(revoked.holds(&marks("", "ann", 99), LATER));
        revoked.revoke_before(("", ""), at(1), LATER, NOW).expect("room");
        assert!(revoked.holds(&marks("", "", 0), NOW), "nobody's may be revoked, too");
    }

    #[test]
    fn those_for_a_channel_are_revoked_alone() {
        let mut revoked = Revoked::default();
        revoked.revoke_before(("ann", "a"), at(500), LATER, NOW).expect("room");
        let of = |channel| TokenMarks { channel, ..marks("", "ann", 0) };
        assert!(revoked.holds(&of("a"), NOW));
        assert!(!revoked.holds(&of("b"), NOW) && !revoked.holds(&of(""), NOW));
    }

    #[test]
    fn a_full_list_takes_nothing_more_until_something_ends() {
        let mut revoked = Revoked::default();
        for number in 0..REVOCATIONS_MAX / 2 {
            revoked.revoke(&number.to_string(), LATER, NOW).expect("room");
            let user = (&*number.to_string(), "");
            revoked.revoke_before(user, NOW, at(3000), NOW).expect("room");
        }
        assert_eq!(revoked.revoke("one more", LATER, NOW), Err(RevocationsFull));
        assert_eq!(revoked.revoke_before(("x", ""), NOW, LATER, NOW), Err(RevocationsFull));
        assert_eq!(revoked.len(), REVOCATIONS_MAX);
        assert_eq!(revoked.revoke("0", LATER, NOW), Ok(()), "it is there already");
        assert_eq!(revoked.revoke("one more", at(3000), LATER), Ok(()), "the others have ended");
        assert_eq!(revoked.len(), REVOCATIONS_MAX / 2 + 1);
        assert!(revoked.holds(&marks("", "7", 0), LATER));
    }
}
