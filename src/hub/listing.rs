//! Which channels have members here, told in pages so that no turn walks over a million of them.

use super::fanout::Fanout;

/// Where a list goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Page(u32);

impl<F> Fanout<F> {
    /// Tells the channels in some places from a page on, each with its members; returns where to
    /// go on, if there are more. A channel that is there all the while is told once.
    pub fn list(
        &self,
        page: Page,
        place_count: u32,
        mut found: impl FnMut(&str, u32),
    ) -> Option<Page> {
        let end = page.0.saturating_add(place_count);
        for (name, channel) in self.channels.in_places(page.0..end) {
            if channel.member_count() > 0 {
                found(name, channel.member_count());
            }
        }
        (end < self.channels.places()).then_some(Page(end))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{FanoutBounds, Homes, MemberId};
    use super::*;
    use std::collections::BTreeMap;
    use std::hash::RandomState;

    #[test]
    fn every_channel_with_members_is_told_once_whatever_the_page() {
        let bounds = FanoutBounds::default();
        let mut fanout: Fanout<()> = Fanout::new(Homes::dealt(1), 5000, bounds, RandomState::new());
        for member in 0..3000 {
            fanout.join(&format!("c{}", member % 1500), MemberId(member)).unwrap();
        }
        for gone in 0..1000 {
            for member in [gone, gone + 1500] {
                let id = fanout.find(&format!("c{gone}")).unwrap();
                fanout.leave(id, MemberId(member));
            }
        }
        for place_count in [1, 7, 1024, 5000] {
            let mut told = BTreeMap::new();
            let mut page = Some(Page::default());
            while let Some(next) = page {
                page = fanout.list(next, place_count, |name, members| {
                    assert_eq!(told.insert(name.to_owned(), members), None, "{name} twice");
                });
            }
            assert_eq!(told.len(), 500);
            assert!(told.iter().all(|(name, members)| *members == 2 && name.starts_with("c1")));
        }
    }
}
