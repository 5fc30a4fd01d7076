//! Finds where a request or response head ends while it arrives, and the faults of a head.
//!
//! Invariant: no byte is looked at twice, and a head over a limit is refused at the first byte
//! over it; so what a caller keeps for an unfinished head is bounded by `HEAD_BYTES_MAX`.

use std::fmt;

use crate::limits::{HEAD_BYTES_MAX, HEAD_LINE_BYTES_MAX, HEAD_LINES_MAX};
use memchr::memchr;

/// A rule of HTTP/1.1 (RFC 9112), or a limit of ours, that a head broke.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadError {
    /// More than [`HEAD_BYTES_MAX`] bytes.
    HeadTooLong,
    /// A line of more than [`HEAD_LINE_BYTES_MAX`] bytes, its line break included.
    LineTooLong,
    /// More than [`HEAD_LINES_MAX`] headers.
    TooManyHeaders,
    /// A line feed without a carriage return before it (RFC 9112 §2.2).
    BareLineFeed,
    /// No empty line at the end: the caller did not wait for the scanner.
    Unfinished,
    /// Not `method SP target SP HTTP/x.y`.
    BadRequestLine,
    /// A target that is neither a path nor an absolute `http` URI, or has a fragment.
    BadTarget,
    /// A version of HTTP other than 1.0 and 1.1.
    UnknownVersion,
    /// Not `HTTP/1.1 SP status`.
    BadStatusLine,
    /// A header continued on a line that begins with white space (RFC 9112 §5.2).
    FoldedLine {
        /// Which header, from 0.
        index: usize,
    },
    /// A header name that is no token, or has white space before its colon (RFC 9112 §5.1).
    BadHeaderName {
        /// Which header, from 0.
        index: usize,
    },
    /// A header value with a control character, such as NUL or a bare carriage return.
    BadHeaderValue {
        /// Which header, from 0.
        index: usize,
    },
}

impl HeadError {
    /// The status of the answer.
    pub fn status(self) -> u16 {
        match self {
            Self::HeadTooLong | Self::LineTooLong | Self::TooManyHeaders => 431,
            Self::UnknownVersion => 505,
            Self::BareLineFeed
            | Self::Unfinished
            | Self::BadRequestLine
            | Self::BadTarget
            | Self::BadStatusLine
            | Self::FoldedLine { .. }
            | Self::BadHeaderName { .. }
            | Self::BadHeaderValue { .. } => 400,
        }
    }
}

impl fmt::Display for HeadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HeadTooLong => write!(f, "head is over {HEAD_BYTES_MAX} bytes"),
            Self::LineTooLong => write!(f, "line of the head is over {HEAD_LINE_BYTES_MAX} bytes"),
            Self::TooManyHeaders => write!(f, "more than {HEAD_LINES_MAX} headers"),
            Self::BareLineFeed => f.write_str("line feed without carriage return"),
            Self::Unfinished => f.write_str("head without an empty line at its end"),
            Self::BadRequestLine => f.write_str("malformed request line"),
            Self::BadTarget => f.write_str("malformed request target"),
            Self::UnknownVersion => f.write_str("HTTP version is not 1.1"),
            Self::BadStatusLine => f.write_str("malformed status line"),
            Self::FoldedLine { index } => write!(f, "header {index} follows a folded line"),
            Self::BadHeaderName { index } => write!(f, "header {index} has a malformed name"),
            Self::BadHeaderValue { index } => write!(f, "header {index} has a malformed value"),
        }
    }
}

impl std::error::Error for HeadError {}

/// How far one head has been looked at. Plain data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeadScanner {
    /// Bytes looked at; `line_start <= scanned <= HEAD_BYTES_MAX`.
    scanned: u16,
    /// Where the line that has not ended begins.
    line_start: u16,
    /// Lines that have ended, the first line included.
    line_count: u16,
}

const _: () = assert!(size_of::<HeadScanner>() <= 8);
const _: () = assert!(HEAD_BYTES_MAX <= u16::MAX as usize);
const _: () = assert!(HEAD_LINES_MAX < u16::MAX as usize);

impl HeadScanner {
    /// Looks at the bytes that are new since the last call; how many bytes the head has, once its
    /// empty line is there. `head_so_far` begins with all bytes of the calls before.
    pub fn scan(&mut self, head_so_far: &[u8]) -> Result<Option<usize>, HeadError> {
        let window = &head_so_far[..head_so_far.len().min(HEAD_BYTES_MAX)];
        while let Some(ahead) = memchr(b'\n', &window[self.scanned.into()..]) {
            let line_end = usize::from(self.scanned) + ahead + 1;
            let line = &window[self.line_start.into()..line_end];
            if line.len() > HEAD_LINE_BYTES_MAX {
                return Err(HeadError::LineTooLong);
            }
            let text = line.strip_suffix(b"\r\n").ok_or(HeadError::BareLineFeed)?;
            self.scanned = offset(line_end);
            self.line_start = self.scanned;
            if text.is_empty() {
                return Ok(Some(line_end));
            }
            self.line_count += 1;
            if usize::from(self.line_count) > 1 + HEAD_LINES_MAX {
                return Err(HeadError::TooManyHeaders);
            }
        }
        self.scanned = offset(window.len());
        // A line this long without its line feed can only get longer; the same of the head.
        if window.len() - usize::from(self.line_start) >= HEAD_LINE_BYTES_MAX {
            return Err(HeadError::LineTooLong);
        }
        if window.len() == HEAD_BYTES_MAX {
            return Err(HeadError::HeadTooLong);
        }
        Ok(None)
    }
}

fn offset(within_head: usize) -> u16 {
    u16::try_from(within_head).expect("within HEAD_BYTES_MAX")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scans arrivals; the end or the fault, and after how many bytes it was known.
    fn scan_all(pieces: &[&[u8]]) -> (Result<Option<usize>, HeadError>, usize) {
        let mut scanner = HeadScanner::default();
        let mut head = Vec::new();
        for piece in pieces {
            head.extend_from_slice(piece);
            match scanner.scan(&head) {
                Ok(None) => {}
                verdict => return (verdict, head.len()),
            }
        }
        (Ok(None), head.len())
    }

    fn header_lines(count: usize) -> Vec<u8> {
        [b"GET / HTTP/1.1\r\n".to_vec(), b"a: b\r\n".repeat(count), b"\r\n".to_vec()].concat()
    }

    /// A first line of `bytes`, its line break included.
    fn first_line(bytes: usize) -> Vec<u8> {
        let mut line = vec![b'x'; bytes - 2];
        line.extend_from_slice(b"\r\n");
        line
    }

    /// A head of `bytes` in lines that are each within their limit.
    fn head_of(bytes: usize) -> Vec<u8> {
        let mut head = first_line(HEAD_LINE_BYTES_MAX);
        head.extend(first_line(bytes - HEAD_LINE_BYTES_MAX - 2));
        head.extend_from_slice(b"\r\n");
        assert_eq!(head.len(), bytes);
        head
    }

    #[test]
    fn every_split_finds_the_same_end() {
        let heads: [&[u8]; 7] = [
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\nbehind \r\n\r\n",
            b"GET / HTTP/1.1\r\n\r\n",
            b"\r\n",
            b"GET / HTTP/1.1\nHost: a\r\n\r\n",
            b"GET / HTTP/1.1\r\n\n",
            b"GET / HTTP/1.1\r\r\n\r\n",
            b"no end yet\r",
        ];
        for head in heads {
            let whole = scan_all(&[head]).0;
            assert_eq!(scan_all(&head.chunks(1).collect::<Vec<_>>()).0, whole);
            for second in 0..=head.len() {
                for first in 0..=second {
                    let pieces = [&head[..first], &head[first..second], &head[second..]];
                    assert_eq!(scan_all(&pieces).0, whole, "{first}, {second} in {head:?}");
                }
            }
        }
        assert_eq!(scan_all(&[heads[0]]).0, Ok(Some(27)));
        assert_eq!(scan_all(&[heads[3]]).0, Err(HeadError::BareLineFeed));
    }

    /// Hazard 4, CVE-2023-43669: a head sent byte by byte costs as much as one sent at once.
    /// What was scanned is overwritten, all but the byte that may be half of a line break.
    #[test]
    fn earlier_arrivals_are_not_looked_at_again() {
        let head = header_lines(20);
        let mut scanner = HeadScanner::default();
        let mut arrived = Vec::new();
        for (index, &byte) in head.iter().enumerate() {
            if let Some(before) = index.checked_sub(2) {
                arrived[before] = b'\n';
            }
            arrived.push(byte);
            let end = scanner.scan(&arrived).unwrap();
            assert_eq!(end.is_some(), index + 1 == head.len(), "at byte {index}");
        }
    }

    /// Hazard 4: refused as soon as the limit is passed, in any number of arrivals.
    #[test]
    fn a_head_over_the_limit_is_refused_by_its_length() {
        let head = head_of(HEAD_BYTES_MAX);
        assert_eq!(scan_all(&[&head]), (Ok(Some(HEAD_BYTES_MAX)), HEAD_BYTES_MAX));
        let long = head_of(HEAD_BYTES_MAX + 1);
        for size in [1, 100, long.len()] {
            let (verdict, known_after) = scan_all(&long.chunks(size).collect::<Vec<_>>());
            assert_eq!(verdict, Err(HeadError::HeadTooLong));
            assert!(known_after < HEAD_BYTES_MAX + size);
        }
        assert_eq!(HeadError::HeadTooLong.status(), 431);
    }

    /// Hazard 4.
    #[test]
    fn a_line_over_the_limit_is_refused_by_its_length() {
        let line = first_line(HEAD_LINE_BYTES_MAX);
        let head = [&line[..], b"\r\n"].concat();
        assert_eq!(scan_all(&[&head]).0, Ok(Some(head.len())));
        let long = first_line(HEAD_LINE_BYTES_MAX + 1);
        for size in [1, 100, long.len()] {
            let (verdict, known_after) = scan_all(&long.chunks(size).collect::<Vec<_>>());
            assert_eq!(verdict, Err(HeadError::LineTooLong));
            assert!(known_after < HEAD_LINE_BYTES_MAX + size);
        }
        assert_eq!(HeadError::LineTooLong.status(), 431);
    }

    /// Hazard 5, CVE-2024-37890: too many headers are a status, not a crash.
    #[test]
    fn a_header_too_many_is_refused() {
        let head = header_lines(HEAD_LINES_MAX);
        assert_eq!(scan_all(&[&head]).0, Ok(Some(head.len())));
        let head = header_lines(HEAD_LINES_MAX + 1);
        assert_eq!(scan_all(&[&head]).0, Err(HeadError::TooManyHeaders));
        assert_eq!(HeadError::TooManyHeaders.status(), 431);
    }
}
