//! Names by which connections of a shard are found beside their users': of the tokens that they
//! were made with.
//!
//! ```text
//!   hash of a mark ─▶ its bearers, in order ─▶ a walk, some at a time
//!   member ─▶ hashes of its marks ─▶ forgotten together when it leaves
//! ```
//!
//! A pair takes twelve bytes in each direction and no name is stored again; a member without marks
//! takes nothing, and nothing is ever hashed anew. What a walk meets may bear another mark of the
//! same hash, and whoever walks asks them.
//!
//! Invariant: both directions hold the same pairs. A walk meets all who bore the mark when it began
//! and bear it still, once; it may meet who came after.

use std::collections::BTreeSet;
use std::hash::BuildHasher;

use super::fanout::MemberId;

/// The hash of a mark, in halves, so that a pair with a member has no padding.
type Hash = [u32; 2];

/// A hash of marks, whatever hasher it is made of.
type MarkHash = Box<dyn Fn(&str) -> u64 + Send>;

/// Marks and who bears them.
pub struct Marks {
    /// Keyed, because peers may choose marks: which of them collide must not be known to them.
    hash: MarkHash,
    bearers: BTreeSet<(Hash, u32)>,
    borne: BTreeSet<(u32, Hash)>,
    /// The next that the walk may meet, if there is one.
    cursor: Option<(Hash, u32)>,
}

const _: () = assert!(size_of::<(Hash, u32)>() == 12);

impl Marks {
    /// Nobody bears any. `hasher` is keyed at random by the caller.
    pub fn new(hasher: impl BuildHasher + Send + 'static) -> Self {
        Self {
            hash: Box::new(move |mark: &str| hasher.hash_one(mark)),
            bearers: BTreeSet::new(),
            borne: BTreeSet::new(),
            cursor: None,
        }
    }

    /// The member bears this mark from now on, beside those that it bears.
    pub fn add(&mut self, member: MemberId, mark: &str) {
        let hash = self.hash_of(mark);
        self.bearers.insert((hash, member.0));
        self.borne.insert((member.0, hash));
    }

    /// The member does not bear this mark any more.
    pub fn remove(&mut self, member: MemberId, mark: &str) {
        let hash = self.hash_of(mark);
        self.bearers.remove(&(hash, member.0));
        self.borne.remove(&(member.0, hash));
    }

    /// The member is gone, and bears none.
    pub fn leave(&mut self, MemberId(member): MemberId) {
        while let Some(&(_, hash)) = self.borne.range((member, [0; 2])..).next()
            && self.borne.remove(&(member, hash))
        {
            self.bearers.remove(&(hash, member));
        }
    }

    /// Begins a walk over those who bear this mark, instead of any other.
    pub fn begin(&mut self, mark: &str) {
        self.cursor = Some((self.hash_of(mark), 0));
    }

    /// The next member of the walk.
    pub fn pass(&mut self) -> Option<MemberId> {
        let (hash, member) = self.cursor.take()?;
        let (_, member) = *self.bearers.range((hash, member)..=(hash, u32::MAX)).next()?;
        self.cursor = member.checked_add(1).map(|next| (hash, next));
        Some(MemberId(member))
    }

    /// Whether the walk goes on, as far as is known.
    pub fn has_next(&self) -> bool {
        self.cursor.is_some()
    }

    /// Marks that are borne, counted for each bearer.
    pub fn len(&self) -> usize {
        self.bearers.len()
    }

    /// Whether nobody bears any.
    pub fn is_empty(&self) -> bool {
        self.bearers.is_empty()
    }

    fn hash_of(&self, mark: &str) -> Hash {
        let hash = (self.hash)(mark);
        let half = |bits: u64| u32::try_from(bits & u64::from(u32::MAX)).expect("32 bits");
        [half(hash >> 32), half(hash)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::hash::RandomState;

    /// What happens next.
    #[derive(Clone, Copy, Debug)]
    enum Step {
        Add { member: u32, mark: usize },
        Remove { member: u32, mark: usize },
        Leave { member: u32 },
        Begin { mark: usize },
        Next,
    }

    const NAMES: [&str; 3] = ["", "one", "two"];

    fn step() -> impl Strategy<Value = Step> {
        let member = || prop_oneof![0..4_u32, Just(u32::MAX)];
        prop_oneof![
            4 => (member(), 0..3_usize).prop_map(|(member, mark)| Step::Add { member, mark }),
            2 => (member(), 0..3_usize).prop_map(|(member, mark)| Step::Remove { member, mark }),
            1 => member().prop_map(|member| Step::Leave { member }),
            1 => (0..3_usize).prop_map(|mark| Step::Begin { mark }),
            4 => Just(Step::Next),
        ]
    }

    fn all_of(marks: &mut Marks, mark: &str) -> BTreeSet<u32> {
        marks.begin(mark);
        std::iter::from_fn(|| marks.pass()).map(|MemberId(member)| member).collect()
    }

    proptest! {
        /// Against plain sets, with walks that are cut by what happens between their steps.
        #[test]
        fn a_walk_meets_all_who_bear_the_mark_and_those_alone(
            steps in proptest::collection::vec(step(), 0..200),
        ) {
            let mut marks = Marks::new(RandomState::new());
            let mut model: BTreeMap<usize, BTreeSet<u32>> = BTreeMap::new();
            let (mut walked, mut met, mut awaited) = (None, BTreeSet::new(), BTreeSet::new());
            for step in steps {
                match step {
                    Step::Add { member, mark } => {
                        marks.add(MemberId(member), NAMES[mark]);
                        model.entry(mark).or_default().insert(member);
                    }
                    Step::Remove { member, mark } => {
                        marks.remove(MemberId(member), NAMES[mark]);
                        model.entry(mark).or_default().remove(&member);
                        if walked == Some(mark) {
                            awaited.remove(&member);
                        }
                    }
                    Step::Leave { member } => {
                        marks.leave(MemberId(member));
                        for bearers in model.values_mut() {
                            bearers.remove(&member);
                        }
                        awaited.remove(&member);
                    }
                    Step::Begin { mark } => {
                        marks.begin(NAMES[mark]);
                        walked = Some(mark);
                        awaited = model.get(&mark).cloned().unwrap_or_default();
                        met.clear();
                    }
                    Step::Next => match (marks.pass(), walked) {
                        (Some(MemberId(member)), Some(mark)) => {
                            prop_assert!(model[&mark].contains(&member) && met.insert(member));
                        }
                        (None, Some(mark)) => {
                            let still = &model.remove(&mark).unwrap_or_default();
                            let mut missed = awaited.difference(&met);
                            prop_assert!(!missed.any(|member| still.contains(member)));
                            model.insert(mark, still.clone());
                            prop_assert!(!marks.has_next());
                        }
                        (passed, None) => prop_assert_eq!(passed, None),
                    },
                }
            }
            for (mark, name) in NAMES.iter().enumerate() {
                let expected = model.get(&mark).cloned().unwrap_or_default();
                prop_assert_eq!(all_of(&mut marks, name), expected);
            }
            prop_assert_eq!(marks.len(), marks.borne.len());
        }
    }

    #[test]
    fn nothing_is_kept_of_who_has_left() {
        let mut marks = Marks::new(RandomState::new());
        for member in 0..3 {
            marks.add(MemberId(member), "shared");
            marks.add(MemberId(member), &member.to_string());
        }
        marks.leave(MemberId(1));
        assert_eq!(all_of(&mut marks, "shared"), [0, 2].into());
        assert_eq!(all_of(&mut marks, "1"), [].into());
        for member in [0, 2] {
            marks.leave(MemberId(member));
        }
        assert!(marks.is_empty() && marks.borne.is_empty());
    }
}
