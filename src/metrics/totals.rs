//! What a process has counted, by names: for the process that takes over from it.
//!
//! A name that the other process does not know is dropped there, and counted.

use super::{Counters, Details};

/// Counts that go on from one process to the next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Totals {
    /// What happened since the first of the processes began.
    pub counters: Counters,
    /// The same by size or by code.
    pub details: Details,
}

impl Totals {
    /// All that has happened.
    pub fn new(counters: Counters, details: Details) -> Self {
        Self { counters, details }
    }

    /// Names and values, without those of which there is nothing.
    pub fn named(&self) -> impl Iterator<Item = (String, u64)> {
        let counters = self.counters.iter().map(|(name, value)| (name.to_owned(), value));
        let all = counters.chain(Details::names().zip(self.details.values()));
        all.filter(|(_, value)| *value > 0)
    }

    /// Those of another process.
    pub fn of_named(named: impl IntoIterator<Item = (String, u64)>) -> Self {
        let mut totals = Self::default();
        for (name, value) in named {
            if !totals.set(&name, value) {
                totals.counters.counts_dropped += 1;
            }
        }
        totals
    }

    /// False if nothing here has the name.
    fn set(&mut self, name: &str, value: u64) -> bool {
        let of_counters = self.counters.iter().position(|(known, _)| known == name);
        let of_details = Details::names().position(|known| known == name);
        let counter =
            of_counters.and_then(|place| self.counters.values_mut().into_iter().nth(place));
        let detail = of_details.and_then(|place| self.details.values_mut().nth(place));
        let found = counter.or(detail);
        found.map(|count| *count = value).is_some()
    }

    /// Clients over HTTP have ended with the process that had them, after it has told its counts.
    pub fn end_streams(&mut self) {
        let counters = &mut self.counters;
        let over_http =
            counters.client_connects_http_stream.saturating_sub(counters.client_ends_http_stream);
        let over_sse = counters.client_connects_sse.saturating_sub(counters.client_ends_sse);
        counters.client_ends_http_stream += over_http;
        counters.client_ends_sse += over_sse;
        counters.client_ends += over_http + over_sse;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With a value of its own everywhere.
    fn full() -> Totals {
        let mut totals = Totals::default();
        let counters = totals.counters.values_mut().into_iter();
        for (value, number) in counters.chain(totals.details.values_mut()).zip(1..) {
            *value = number;
        }
        totals
    }

    #[test]
    fn all_counts_go_on_under_names_of_their_own() {
        assert_eq!(Totals::of_named(full().named()), full());
        let names: std::collections::BTreeSet<_> = full().named().map(|(name, _)| name).collect();
        assert_eq!(names.len(), Counters::COUNT + Details::COUNT);
        assert_eq!(Totals::default().named().count(), 0);
    }

    #[test]
    fn a_name_that_is_not_known_is_dropped_and_counted() {
        let named = [("opened".to_owned(), 5), ("of_tomorrow".to_owned(), 7)];
        let totals = Totals::of_named(named);
        assert_eq!((totals.counters.opened, totals.counters.counts_dropped), (5, 1));
    }

    #[test]
    fn clients_over_http_have_ended_and_the_others_have_not() {
        let mut totals = Totals::default();
        let counters = &mut totals.counters;
        (counters.client_connects, counters.client_ends) = (20, 3);
        (counters.client_connects_http_stream, counters.client_ends_http_stream) = (6, 2);
        (counters.client_connects_sse, counters.client_ends_sse) = (5, 0);
        totals.end_streams();
        let counters = &totals.counters;
        assert_eq!((counters.client_ends_http_stream, counters.client_ends_sse), (6, 5));
        assert_eq!(counters.client_connects - counters.client_ends, 8);
    }
}
