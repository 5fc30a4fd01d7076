//! What is published: which publication of its channel it is, and when it was due.
//!
//! ```text
//!   {"n":17,"at":1234567890,"x":"xxxxx…"}      as long as was asked for
//! ```
#![forbid(unsafe_code)]

use std::time::Duration;

use serde::Deserialize;

/// The shortest: digits of the largest numbers, and what stands around them.
pub const PARCEL_BYTES_MIN: usize = 56;

/// One publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parcel {
    /// Its number in its channel, from 1.
    pub number: u32,
    /// When it was due, since the start of the run.
    pub at: Duration,
}

#[derive(Deserialize)]
struct Written<'a> {
    n: u32,
    at: u64,
    x: &'a str,
}

impl Parcel {
    /// As JSON of `size` bytes.
    pub fn write(self, size: usize) -> String {
        let at = u64::try_from(self.at.as_nanos()).unwrap_or(u64::MAX);
        let head = format!(r#"{{"n":{},"at":{at},"x":""#, self.number);
        let filler = size.saturating_sub(head.len() + 2);
        format!(r#"{head}{:x<filler$}"}}"#, "")
    }

    /// The parcel, if all `size` bytes of it are there.
    pub fn read(data: &[u8], size: usize) -> Option<Self> {
        let Written { n, at, x } = serde_json::from_slice(data).ok()?;
        let is_whole = data.len() == size && x.bytes().all(|byte| byte == b'x');
        is_whole.then_some(Self { number: n, at: Duration::from_nanos(at) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back_at_every_size() {
        for size in PARCEL_BYTES_MIN..PARCEL_BYTES_MIN + 20 {
            for (number, at) in [(1, 0), (u32::MAX, u64::MAX), (7, 123_456_789)] {
                let parcel = Parcel { number, at: Duration::from_nanos(at) };
                let data = parcel.write(size);
                assert_eq!(data.len(), size, "{data}");
                assert_eq!(Parcel::read(data.as_bytes(), size), Some(parcel));
            }
        }
    }

    #[test]
    fn what_is_not_whole_is_no_parcel() {
        let data = Parcel { number: 1, at: Duration::ZERO }.write(64);
        assert_eq!(Parcel::read(data.as_bytes(), 65), None);
        assert_eq!(Parcel::read(data.replace("xxx", "xyx").as_bytes(), 64), None);
        assert_eq!(Parcel::read(b"[]", 64), None);
    }
}
