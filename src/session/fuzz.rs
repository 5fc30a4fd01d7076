//! What fuzzers run: a session of another process is one of this, or none, and goes on as it came.

use super::Session;
use crate::handover;

/// Random bytes as the session of a client of another process.
pub fn fuzz_handed_session(data: &[u8]) {
    let Ok(carried) = handover::Session::decode(data) else { return };
    assert_eq!(handover::Session::decode(&carried.encode()).as_ref(), Ok(&carried));
    let Some(session) = Session::taken_over(carried) else { return };
    // What was taken over is what the next process gets.
    let carried = session.carried().expect("nothing is under way for it");
    let again = Session::taken_over(carried.clone()).expect("it was once");
    assert_eq!(again.carried(), Some(carried));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn random_bytes_harm_nobody(data in prop::collection::vec(any::<u8>(), 0..300)) {
            fuzz_handed_session(&data);
        }

        #[test]
        fn a_session_of_which_some_bytes_are_others_harms_nobody(
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        ) {
            let byte = |byte| u8::from_str_radix(byte, 16).expect("two digits");
            let golden = include_str!("../handover/golden/session_1.hex");
            let mut bytes: Vec<u8> = golden.split_whitespace().map(byte).collect();
            for (index, byte) in changes {
                let place = index.index(bytes.len());
                bytes[place] = byte;
            }
            fuzz_handed_session(&bytes);
        }
    }
}
