//! Lists for replies, each put into words once for all who are told the same: what a home gives
//! to several askers is one object, by which the words are found again.
//!
//! Invariant: the words of an object outlive no other object at the same address, for they keep
//! it.

#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use super::client_words::{format_of, kind_of, shown};
use crate::filter::Reading;
use crate::handler::{Message, Present, Publications};
use crate::limits::{ENCODING_BYTES_MAX, ENCODINGS_BYTES_MAX, ENCODINGS_KEPT_MAX};
use crate::protocol::{Format, PublicationList, delta, translate};

/// The lists that were put into words last.
#[derive(Default)]
pub(super) struct Encodings {
    /// The last that was wanted stands last.
    kept: VecDeque<Encoding>,
    /// Bytes of all that are kept.
    kept_bytes: usize,
    /// Lists that were put into words.
    pub(super) made: u64,
    /// Lists that were wanted again.
    pub(super) found: u64,
}

struct Encoding {
    source: Source,
    format: Format,
    bytes: Rc<[u8]>,
}

/// What was put into words.
enum Source {
    /// Of a history.
    History(Publications),
    /// Of what a client has missed, as it reads the channel.
    Recovered(Publications, Reading),
    /// As they are pushed.
    Pushes(Publications),
    Clients(Arc<[Present]>),
}

impl Source {
    fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::History(one), Self::History(other))
            | (Self::Pushes(one), Self::Pushes(other)) => one.is_same(other),
            (Self::Recovered(one, reading), Self::Recovered(other, of)) => {
                one.is_same(other) && reading == of
            }
            (Self::Clients(one), Self::Clients(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }

    fn encode(&self, format: Format) -> Option<Vec<u8>> {
        match self {
            Self::History(publications) => {
                let all = payloads(publications, format)?;
                write(&all, PublicationList::History, format)
            }
            Self::Recovered(publications, reading) => {
                let all = payloads(publications, format)?;
                write(&as_read(all, reading, format), PublicationList::Subscribe, format)
            }
            Self::Pushes(publications) => {
                Some(payloads(publications, format)?.join(format.separator()))
            }
            Self::Clients(clients) => {
                let mut bytes = Vec::new();
                format.write_clients(&mut bytes, clients.iter().map(shown));
                Some(bytes)
            }
        }
    }
}

impl Encodings {
    /// Publications as the list of a history; `None` if one cannot be said in this format.
    pub(super) fn history(
        &mut self,
        publications: &Publications,
        format: Format,
    ) -> Option<Rc<[u8]>> {
        if publications.is_empty() {
            return Some(Rc::default());
        }
        self.words(Source::History(publications.clone()), format)
    }

    /// The same as the list of what a client has missed, as it reads the channel.
    pub(super) fn recovered(
        &mut self,
        publications: &Publications,
        reading: Reading,
        format: Format,
    ) -> Option<Rc<[u8]>> {
        if publications.is_empty() {
            return Some(Rc::default());
        }
        self.words(Source::Recovered(publications.clone(), reading), format)
    }

    /// Publications as pushes of their channel, behind each other.
    pub(super) fn pushes(
        &mut self,
        publications: &Publications,
        format: Format,
    ) -> Option<Rc<[u8]>> {
        if publications.is_empty() {
            return Some(Rc::default());
        }
        self.words(Source::Pushes(publications.clone()), format)
    }

    /// Clients as a list for the result of a presence.
    pub(super) fn clients(&mut self, clients: &Arc<[Present]>, format: Format) -> Rc<[u8]> {
        let words = self.words(Source::Clients(clients.clone()), format);
        words.expect("what is shown of clients is said in both formats")
    }

    fn words(&mut self, source: Source, format: Format) -> Option<Rc<[u8]>> {
        let is_it = |one: &Encoding| one.format == format && one.source.is(&source);
        if let Some(place) = self.kept.iter().rposition(is_it) {
            self.found += 1;
            let encoding = self.kept.remove(place).expect("it is there");
            let bytes = encoding.bytes.clone();
            self.kept.push_back(encoding);
            return Some(bytes);
        }
        self.made += 1;
        let bytes: Rc<[u8]> = source.encode(format)?.into();
        if bytes.len() <= ENCODING_BYTES_MAX {
            self.kept_bytes += bytes.len();
            self.kept.push_back(Encoding { source, format, bytes: bytes.clone() });
            while self.kept.len() > ENCODINGS_KEPT_MAX || self.kept_bytes > ENCODINGS_BYTES_MAX {
                let oldest = self.kept.pop_front().expect("there is more than the bound");
                self.kept_bytes -= oldest.bytes.len();
            }
        }
        Some(bytes)
    }
}

/// The messages of publications in one format; `None` if one cannot be said in it.
fn payloads(publications: &Publications, format: Format) -> Option<Vec<Cow<'_, [u8]>>> {
    let into = |message: Message<'_>| translate(message.payload(), format_of(message.kind()));
    publications.payloads(kind_of(format), into).collect()
}

/// Those of them that a client reads, in its way. Of those that are deltas the first is whole.
fn as_read<'a>(all: Vec<Cow<'a, [u8]>>, reading: &Reading, format: Format) -> Vec<Cow<'a, [u8]>> {
    match reading {
        Reading::Whole => all,
        Reading::Selected(filter) => {
            let is_admitted = |one: &Cow<'_, [u8]>| filter.admits(&delta::tags(one, format));
            all.into_iter().filter(is_admitted).collect()
        }
        Reading::Deltas => {
            let said = |place: usize| {
                let before = place.checked_sub(1).map(|before| &all[before]);
                let patch = before.and_then(|before| delta::delta(&all[place], before, format));
                let said = patch.or_else(|| delta::whole(&all[place], format));
                said.map_or_else(|| all[place].clone(), Cow::Owned)
            };
            (0..all.len()).map(said).collect()
        }
    }
}

fn write(all: &[Cow<'_, [u8]>], list: PublicationList, format: Format) -> Option<Vec<u8>> {
    let parts =
        all.iter().map(|payload| format.publication_part(payload).map(|part| &payload[part]));
    let parts: Option<Vec<_>> = parts.collect();
    let mut bytes = Vec::new();
    format.write_publications(&mut bytes, list, parts?.into_iter());
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    /// A list of so many who are present.
    fn list(count: usize) -> Arc<[Present]> {
        (0..count).map(|_| Present::new([7; 16], "ann", b"", b"")).collect()
    }

    #[test]
    fn a_crowd_that_asks_for_many_lists_in_any_order_finds_each_again() {
        let mut encodings = Encodings::default();
        let lists: Vec<_> = (0..1000).map(|_| list(1)).collect();
        for list in lists.iter().chain(lists.iter().rev()) {
            encodings.clients(list, Format::Json);
        }
        assert_eq!((encodings.made, encodings.found), (1000, 1000));
    }

    #[test]
    fn what_is_kept_is_bounded_in_number_and_in_bytes_and_the_last_wanted_stays() {
        for (count, clients) in [(2 * ENCODINGS_KEPT_MAX, 1), (60, 5000)] {
            let mut encodings = Encodings::default();
            let first = list(clients);
            for _ in 0..count {
                encodings.clients(&first, Format::Json);
                encodings.clients(&list(clients), Format::Json);
            }
            assert_eq!(encodings.found, count as u64 - 1, "the first is wanted all the time");
            let bytes: usize = encodings.kept.iter().map(|one| one.bytes.len()).sum();
            assert_eq!(encodings.kept_bytes, bytes);
            assert!(bytes <= ENCODINGS_BYTES_MAX && encodings.kept.len() <= ENCODINGS_KEPT_MAX);
            assert!(encodings.kept.len() < count, "the bound was met");
        }
    }
}
