//! Follows a chunked body to its end, byte by byte, without keeping any (RFC 9112 §7.1).
//!
//! Invariant: what is accepted here has one reading. Line feeds stand behind carriage returns,
//! sizes are plain hexadecimal, and what is no data is bounded by [`HEAD_BYTES_MAX`].

use crate::limits::HEAD_BYTES_MAX;

/// Where in a chunked body the next byte belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// In a chunk's size, of which so many digits came.
    Size { digits: u8 },
    /// In what may follow a size and means nothing to us.
    Extension,
    /// Behind the carriage return of a size.
    SizeEnd,
    /// In a chunk's data.
    Data,
    /// Behind the data.
    DataEnd,
    /// Behind the data and a carriage return.
    DataLine,
    /// At the beginning of a trailer, or of the last line.
    Trailer,
    /// In a trailer.
    TrailerLine,
    /// Behind a trailer's carriage return.
    TrailerEnd,
    /// Behind the last carriage return.
    End,
}

/// A chunked body that has not ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chunks {
    place: Place,
    /// Of the chunk's data, what is still to come.
    left: u64,
    /// Bytes of extensions and trailers so far.
    extra_bytes: usize,
}

/// The body has no end that all readers would agree on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BadChunks;

/// Hexadecimal digits of a chunk's size: more than any body of ours needs.
const SIZE_DIGITS_MAX: u8 = 8;

impl Chunks {
    pub(super) fn new() -> Self {
        Self { place: Place::Size { digits: 0 }, left: 0, extra_bytes: 0 }
    }

    /// Follows the body through `bytes`. Returns how many belong to it, and whether it has ended
    /// with them.
    pub(super) fn follow(&mut self, bytes: &[u8]) -> Result<(usize, bool), BadChunks> {
        let mut at = 0;
        while at < bytes.len() {
            if self.place == Place::Data {
                let ahead = (bytes.len() - at) as u64;
                let step = ahead.min(self.left);
                self.left -= step;
                at += usize::try_from(step).expect("not more than the bytes ahead");
                if self.left == 0 {
                    self.place = Place::DataEnd;
                }
                continue;
            }
            let ended = self.place == Place::End && bytes[at] == b'\n';
            self.place = self.step(bytes[at])?;
            at += 1;
            if ended {
                return Ok((at, true));
            }
        }
        Ok((at, false))
    }

    /// One byte that is no data.
    fn step(&mut self, byte: u8) -> Result<Place, BadChunks> {
        match (self.place, byte) {
            (Place::Size { digits }, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                let digit = char::from(byte).to_digit(16).ok_or(BadChunks)?;
                self.left = self.left * 16 + u64::from(digit);
                let fits = digits < SIZE_DIGITS_MAX;
                fits.then_some(Place::Size { digits: digits + 1 }).ok_or(BadChunks)
            }
            (Place::Size { digits: 1.. } | Place::Extension, b'\r') => Ok(Place::SizeEnd),
            (Place::Size { digits: 1.. }, b';')
            | (Place::Extension, b'\t' | b' '..=b'~' | 0x80..) => self.extra(Place::Extension),
            (Place::SizeEnd, b'\n') if self.left > 0 => Ok(Place::Data),
            (Place::SizeEnd | Place::TrailerEnd, b'\n') => Ok(Place::Trailer),
            (Place::DataEnd, b'\r') => Ok(Place::DataLine),
            // Behind the last line the place is that of a body which has not begun.
            (Place::DataLine | Place::End, b'\n') => Ok(Place::Size { digits: 0 }),
            (Place::Trailer, b'\r') => Ok(Place::End),
            (Place::TrailerLine, b'\r') => Ok(Place::TrailerEnd),
            (Place::Trailer, b'!'..=b'~') | (Place::TrailerLine, b'\t' | b' '..=b'~' | 0x80..) => {
                self.extra(Place::TrailerLine)
            }
            _ => Err(BadChunks),
        }
    }

    fn extra(&mut self, place: Place) -> Result<Place, BadChunks> {
        self.extra_bytes += 1;
        (self.extra_bytes <= HEAD_BYTES_MAX).then_some(place).ok_or(BadChunks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Follows `pieces` to the end: bytes of the body, or `None` if it did not end.
    fn follow(pieces: &[&[u8]]) -> Result<Option<usize>, BadChunks> {
        let mut chunks = Chunks::new();
        let mut before = 0;
        for piece in pieces {
            let (bytes, ended) = chunks.follow(piece)?;
            if ended {
                return Ok(Some(before + bytes));
            }
            assert_eq!(bytes, piece.len());
            before += bytes;
        }
        Ok(None)
    }

    #[test]
    fn every_split_ends_alike() {
        for body in [
            &b"0\r\n\r\n"[..],
            b"5\r\nhello\r\n0\r\n\r\n",
            b"1\r\n\r\r\n1\r\n\n\r\n000\r\n\r\n",
            b"A;name=\"value\"\r\n0123456789\r\n0;x\r\nTrailer: a\r\nOther:\r\n\r\n",
        ] {
            let bytes = [body, b"GET / HTTP/1.1\r\n"].concat();
            for cut in 0..=bytes.len() {
                let (head, tail) = bytes.split_at(cut);
                assert_eq!(follow(&[head, tail]), Ok(Some(body.len())), "cut at {cut}");
            }
            for cut in 0..body.len() {
                assert_eq!(follow(&[&body[..cut]]), Ok(None), "no end before the end");
            }
        }
    }

    /// Hazard 16: each of these has been read in two ways by two servers.
    #[test]
    fn ambiguous_chunks_are_refused() {
        for body in [
            "\r\n",
            " 5\r\nhello\r\n0\r\n\r\n",
            "5 \r\nhello\r\n0\r\n\r\n",
            "+5\r\nhello\r\n0\r\n\r\n",
            "0x5\r\nhello\r\n0\r\n\r\n",
            "5\nhello\r\n0\r\n\r\n",
            "5\r\rhello\r\n0\r\n\r\n",
            "5\r\nhello0\r\n\r\n",
            "5\r\nhello\n0\r\n\r\n",
            "5\r\nhello\r\r0\r\n\r\n",
            "5;a\nb\r\nhello\r\n0\r\n\r\n",
            "5;a\rb\r\nhello\r\n0\r\n\r\n",
            "0\r\n\n",
            "0\r\na: b\n\r\n",
            "0\r\n a: b\r\n\r\n",
            "000000005\r\nhello\r\n0\r\n\r\n",
            "fffffffffffffffff\r\n",
            "g\r\n",
        ] {
            assert_eq!(follow(&[body.as_bytes()]), Err(BadChunks), "{body:?}");
        }
    }

    #[test]
    fn what_is_no_data_is_bounded() {
        let extension = format!("1;{}\r\n", "a".repeat(HEAD_BYTES_MAX));
        assert_eq!(follow(&[extension.as_bytes()]), Err(BadChunks));
        let chunks = "1;a\r\nx\r\n".repeat(HEAD_BYTES_MAX);
        assert_eq!(follow(&[chunks.as_bytes()]), Err(BadChunks));
        let trailer = format!("0\r\na: {}\r\n\r\n", "b".repeat(HEAD_BYTES_MAX));
        assert_eq!(follow(&[trailer.as_bytes()]), Err(BadChunks));
    }
}
