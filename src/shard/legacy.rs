//! What the sessions of every shard of the next process have to know: which tokens are not to be
//! believed any more.

#![forbid(unsafe_code)]

use std::time::Duration;

use crate::handover::{IssuedBefore, Revocations};
use crate::token::Revoked;

/// The list for another process.
pub(super) fn of(revoked: &Revoked) -> Vec<u8> {
    let tokens = revoked.tokens().map(|(name, until)| (name.to_owned(), until.as_secs()));
    let users = revoked.users().map(|((user, channel), issued, until)| IssuedBefore {
        user: user.to_owned(),
        channel: channel.to_owned(),
        issued_s: issued.as_secs(),
        until_s: until.as_secs(),
    });
    Revocations { tokens: tokens.collect(), users: users.collect() }.encode()
}

/// The list of another process; `None` if the bytes are none, or it is longer than one may be.
pub(super) fn revoked(legacy: &[u8], now: Duration) -> Option<Revoked> {
    let at = Duration::from_secs;
    let mut revoked = Revoked::default();
    let Revocations { tokens, users } = Revocations::decode(legacy).ok()?;
    for (name, until_s) in tokens {
        revoked.revoke(&name, at(until_s), now).ok()?;
    }
    for IssuedBefore { user, channel, issued_s, until_s } in users {
        revoked.revoke_before((&user, &channel), at(issued_s), at(until_s), now).ok()?;
    }
    Some(revoked)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::TokenMarks;

    #[test]
    fn what_was_revoked_stays_so() {
        let (now, end) = (Duration::from_secs(1000), Duration::from_secs(2000));
        let mut before = Revoked::default();
        before.revoke("a", end, now).unwrap();
        before.revoke("b", Revoked::FOR_EVER, now).unwrap();
        before.revoke_before(("ann", "news"), now, end, now).unwrap();
        let after = revoked(&of(&before), now).unwrap();
        let named = |id| TokenMarks { id, ..TokenMarks::default() };
        assert!(after.holds(&named("a"), now) && !after.holds(&named("a"), end));
        assert!(after.holds(&named("b"), end) && !after.holds(&named("c"), now));
        let of_ann = TokenMarks { user: "ann", channel: "news", ..TokenMarks::default() };
        assert!(after.holds(&of_ann, now) && !after.holds(&of_ann, end));
        assert_eq!(revoked(b"x", now), None);
    }
}
