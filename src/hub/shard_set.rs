//! A set of shards as one bit each: what a home keeps per channel, and whom a publication is for.

use super::bucket::ShardId;

/// A set of shards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShardSet([u64; 2]);

const _: () = assert!(crate::limits::SHARDS_MAX <= 128);

impl ShardSet {
    /// Adds a shard.
    pub fn insert(&mut self, shard: ShardId) {
        self.0[shard.index() / 64] |= 1 << (shard.index() % 64);
    }

    /// Takes a shard out.
    pub fn remove(&mut self, shard: ShardId) {
        self.0[shard.index() / 64] &= !(1 << (shard.index() % 64));
    }

    /// Whether the shard is in it.
    pub fn contains(self, shard: ShardId) -> bool {
        self.0[shard.index() / 64] & (1 << (shard.index() % 64)) != 0
    }

    /// Whether no shard is in it.
    pub fn is_empty(self) -> bool {
        self.0 == [0, 0]
    }

    /// How many shards are in it.
    pub fn len(self) -> usize {
        (self.0[0].count_ones() + self.0[1].count_ones()) as usize
    }
}

impl IntoIterator for ShardSet {
    type Item = ShardId;
    type IntoIter = Shards;

    fn into_iter(self) -> Shards {
        Shards(self)
    }
}

/// The shards of a set, from the lowest.
#[derive(Clone, Debug)]
pub struct Shards(ShardSet);

impl Iterator for Shards {
    type Item = ShardId;

    fn next(&mut self) -> Option<ShardId> {
        let word = usize::from(self.0.0[0] == 0);
        let bits = self.0.0[word];
        if bits == 0 {
            return None;
        }
        let shard = ShardId::new(word * 64 + bits.trailing_zeros() as usize);
        self.0.remove(shard);
        Some(shard)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    const SHARDS_MAX: usize = crate::limits::SHARDS_MAX as usize;

    #[test]
    fn it_holds_each_shard_apart_from_the_others() {
        let mut set = ShardSet::default();
        for index in 0..SHARDS_MAX {
            assert!(!set.contains(ShardId::new(index)));
            set.insert(ShardId::new(index));
            assert_eq!(set.len(), index + 1);
        }
        for index in (0..SHARDS_MAX).step_by(2) {
            set.remove(ShardId::new(index));
        }
        let odd: Vec<usize> = set.into_iter().map(ShardId::index).collect();
        assert_eq!(odd, (1..SHARDS_MAX).step_by(2).collect::<Vec<_>>());
        set.into_iter().for_each(|shard| set.remove(shard));
        assert!(set.is_empty());
    }
}
