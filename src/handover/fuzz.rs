//! What fuzzers run: bytes of another process are an item or an error, and cost what they are.

use super::{Bequest, Source, Word};

/// Random bytes as words and as the messages of a shard.
pub fn fuzz_handover(data: &[u8]) {
    if let Ok(word) = Word::decode(data) {
        assert_eq!(Word::decode(&word.encode()), Ok(word));
    }
    let mut source = Source::default();
    for (number, part) in data.chunks(37).enumerate() {
        source.feed(part, [number]);
        while let Ok(Some(_)) = source.next_item() {}
    }
}

/// Random bytes as what the control thread of another process leaves.
pub fn fuzz_bequest(data: &[u8]) {
    if let Ok(bequest) = Bequest::decode(data) {
        assert_eq!(Bequest::decode(&bequest.encode()), Ok(bequest));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn random_bytes_harm_nobody(data in prop::collection::vec(any::<u8>(), 0..300)) {
            fuzz_handover(&data);
            // The same behind a good beginning.
            let mut sink = crate::handover::Sink::<u8>::default();
            sink.listener(0, 0);
            let start = sink.message().unwrap().0.to_vec();
            fuzz_handover(&[start, data.clone()].concat());
            fuzz_bequest(&data);
        }
    }
}
