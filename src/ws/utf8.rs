//! UTF-8 over text that arrives in pieces: bytes in, a verdict as early as any byte allows.
//!
//! Invariant: `pending` is a prefix of some well-formed sequence. A byte that cannot continue it
//! is refused when it arrives, not when the message ends (Autobahn 6.4 asks for that).

/// The text is not UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidUtf8 {
    /// Bytes of the whole text before the ill-formed sequence.
    pub valid_bytes: usize,
}

/// How far one text has been validated. Plain data: it is kept between fragments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Utf8Progress {
    /// Bytes of complete, well-formed sequences so far.
    valid_bytes: usize,
    /// The first bytes of a sequence whose end has not arrived.
    pending: [u8; 3],
    /// `0..=3`
    pending_len: u8,
}

impl Utf8Progress {
    /// Takes the next piece of the text.
    pub fn push(&mut self, piece: &[u8]) -> Result<(), InvalidUtf8> {
        let rest = self.complete_pending(piece)?;
        match simdutf8::compat::from_utf8(rest) {
            Ok(_) => self.valid_bytes += rest.len(),
            Err(error) => {
                let (valid, cut) = rest.split_at(error.valid_up_to());
                self.valid_bytes += valid.len();
                if error.error_len().is_some() {
                    return Err(self.invalid());
                }
                self.pending[..cut.len()].copy_from_slice(cut);
                self.pending_len = low_byte(cut.len());
            }
        }
        Ok(())
    }

    /// Says that the text ends here: it may not end inside a sequence.
    pub fn finish(&self) -> Result<(), InvalidUtf8> {
        if self.pending_len == 0 { Ok(()) } else { Err(self.invalid()) }
    }

    /// Moves bytes of `piece` behind the pending ones until they are a sequence; what is left.
    fn complete_pending<'a>(&mut self, piece: &'a [u8]) -> Result<&'a [u8], InvalidUtf8> {
        if self.pending_len == 0 {
            return Ok(piece);
        }
        let mut sequence = [0; 4];
        let mut len = usize::from(self.pending_len);
        sequence[..len].copy_from_slice(&self.pending[..len]);
        for (index, &byte) in piece.iter().enumerate() {
            sequence[len] = byte;
            len += 1;
            match std::str::from_utf8(&sequence[..len]) {
                Ok(_) => {
                    self.valid_bytes += len;
                    self.pending_len = 0;
                    return Ok(&piece[index + 1..]);
                }
                Err(error) if error.error_len().is_some() => return Err(self.invalid()),
                // No sequence is longer than 4 bytes, so an incomplete one has at most 3.
                Err(_) => {}
            }
        }
        self.pending.copy_from_slice(&sequence[..3]);
        self.pending_len = low_byte(len);
        Ok(&[])
    }

    fn invalid(&self) -> InvalidUtf8 {
        InvalidUtf8 { valid_bytes: self.valid_bytes }
    }
}

fn low_byte(len: usize) -> u8 {
    u8::try_from(len).expect("an incomplete sequence has at most 3 bytes")
}

/// Validates a text that is whole, at the speed of the vector unit.
pub fn validate(text: &[u8]) -> Result<(), InvalidUtf8> {
    if simdutf8::basic::from_utf8(text).is_ok() {
        return Ok(());
    }
    // Only the place of the fault is still to be found; the connection ends anyway.
    let mut progress = Utf8Progress::default();
    progress.push(text)?;
    progress.finish()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Feeds the pieces; the verdict, and how many bytes had been fed when it fell.
    fn feed<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Result<(), InvalidUtf8>, usize) {
        let mut progress = Utf8Progress::default();
        let mut fed = 0;
        for piece in pieces {
            fed += piece.len();
            if let Err(error) = progress.push(piece) {
                return (Err(error), fed);
            }
        }
        (progress.finish(), fed)
    }

    /// What `std` says of the whole, and the earliest byte count at which no suffix can save it.
    fn verdict_of_std(text: &[u8]) -> (Result<(), InvalidUtf8>, usize) {
        for len in 0..=text.len() {
            if let Err(error) = std::str::from_utf8(&text[..len])
                && error.error_len().is_some()
            {
                return (Err(InvalidUtf8 { valid_bytes: error.valid_up_to() }), len);
            }
        }
        let whole = std::str::from_utf8(text)
            .map(drop)
            .map_err(|error| InvalidUtf8 { valid_bytes: error.valid_up_to() });
        (whole, text.len())
    }

    fn byte_by_byte_is_as_std_says(text: &[u8]) {
        let (verdict, refused_at) = verdict_of_std(text);
        assert_eq!(feed(text.chunks(1)), (verdict, refused_at), "{text:x?}");
        assert_eq!(validate(text), verdict, "{text:x?}");
        for cut in 0..=text.len() {
            let (head, tail) = text.split_at(cut);
            assert_eq!(feed([head, tail]).0, verdict, "{text:x?} cut at {cut}");
        }
    }

    /// Bytes on both sides of every boundary of the table of well-formed sequences (Unicode 3-7).
    const EDGES: [u8; 22] = [
        0x00, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xC1, 0xC2, 0xDF, 0xE0, 0xE1, 0xEC,
        0xED, 0xEE, 0xEF, 0xF0, 0xF3, 0xF4, 0xF5,
    ];

    /// Hazard 13: all sequences of one to four edge bytes, byte by byte and at every cut.
    #[test]
    fn every_boundary_of_the_table_is_judged_as_std_judges_it() {
        for a in EDGES {
            byte_by_byte_is_as_std_says(&[a]);
            for b in EDGES {
                byte_by_byte_is_as_std_says(&[a, b]);
                for c in EDGES {
                    byte_by_byte_is_as_std_says(&[a, b, c]);
                    for d in EDGES {
                        byte_by_byte_is_as_std_says(&[a, b, c, d]);
                    }
                }
            }
        }
    }

    #[test]
    fn every_scalar_value_passes_byte_by_byte() {
        let mut buffer = [0; 4];
        for scalar in '\0'..=char::MAX {
            let text = scalar.encode_utf8(&mut buffer).as_bytes();
            assert_eq!(feed(text.chunks(1)), (Ok(()), text.len()), "{scalar:?}");
        }
    }

    /// Hazard 13, Autobahn 6.4: refused with the bad byte, though the text has not ended.
    #[test]
    fn the_bad_byte_is_refused_when_it_arrives() {
        let mut progress = Utf8Progress::default();
        assert_eq!(progress.push("κόσμε".as_bytes()), Ok(()));
        assert_eq!(progress.push(&[0xF4]), Ok(()));
        // F4 90 is beyond U+10FFFF whatever follows.
        assert_eq!(progress.push(&[0x90]), Err(InvalidUtf8 { valid_bytes: 10 }));
    }

    proptest! {
        #[test]
        fn random_cuts_change_nothing(
            text in "\\PC{0,80}",
            spoil in proptest::option::of((any::<proptest::sample::Index>(), any::<u8>())),
            cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..6),
        ) {
            let mut text = text.into_bytes();
            if let Some((at, byte)) = spoil && !text.is_empty() {
                let at = at.index(text.len());
                text[at] = byte;
            }
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let pieces = cuts.windows(2).map(|pair| &text[pair[0]..pair[1]]);
            prop_assert_eq!(feed(pieces).0, verdict_of_std(&text).0);
            prop_assert_eq!(validate(&text), verdict_of_std(&text).0);
        }
    }
}
