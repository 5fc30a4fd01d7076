//! A channel's name to its bucket, a bucket to its home shard.
//!
//! Invariant: the bucket of a name is the same in every process and every version, because the
//! nodes of a cluster and the two sides of an upgrade must agree on it. The table from buckets to
//! shards belongs to one process and may differ.

const SHARDS_MAX: usize = crate::limits::SHARDS_MAX as usize;

/// Hash classes of channel names; the unit in which channels change their home.
pub const BUCKETS: usize = 4096;

/// One hash class of channel names, below [`BUCKETS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bucket(u16);

impl Bucket {
    /// Its place among the [`BUCKETS`].
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// The bucket of a channel: FNV-1a (64 bits) of the name's UTF-8 bytes, its highest twelve bits
/// folded onto its lowest twelve.
///
/// The low bits of FNV-1a see only the low bits of each byte, the high ones see all of them.
pub fn bucket_of(name: &str) -> Bucket {
    let hash = fnv1a_64(name.as_bytes());
    let folded = (hash ^ (hash >> 52)) & (BUCKETS as u64 - 1);
    Bucket(u16::try_from(folded).expect("masked to twelve bits"))
}

fn fnv1a_64(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// One shard of this process, below `SHARDS_MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(u8);

impl ShardId {
    /// The shard with this number.
    ///
    /// Panics at `SHARDS_MAX` and above: shards are numbered by ourselves, at start.
    pub fn new(index: usize) -> Self {
        assert!(index < SHARDS_MAX, "shard {index} of at most {SHARDS_MAX}");
        Self(u8::try_from(index).expect("SHARDS_MAX fits a byte"))
    }

    /// Its number, from 0.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// Which shard is the home of which bucket. One per process, copied to each shard.
#[derive(Clone, Debug)]
pub struct Homes {
    table: Box<[ShardId]>,
    shard_count: usize,
}

impl Homes {
    /// The buckets dealt out to the shards in turn.
    pub fn dealt(shard_count: usize) -> Self {
        assert!((1..=SHARDS_MAX).contains(&shard_count), "{shard_count} shards");
        let table = (0..BUCKETS).map(|bucket| ShardId::new(bucket % shard_count)).collect();
        Self { table, shard_count }
    }

    /// The home of a bucket.
    pub fn home_of(&self, bucket: Bucket) -> ShardId {
        self.table[bucket.index()]
    }

    /// The home of a user: its id is hashed as a channel's name is.
    pub fn home_of_user(&self, user: &str) -> ShardId {
        self.home_of(bucket_of(user))
    }

    /// The home of a channel.
    pub fn home_of_channel(&self, name: &str) -> ShardId {
        self.home_of(bucket_of(name))
    }

    /// How many shards there are.
    pub fn shard_count(&self) -> usize {
        self.shard_count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_fnv_1a_by_its_published_vectors() {
        assert_eq!(fnv1a_64(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a_64(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv1a_64(b"foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn buckets_of_names_never_change() {
        // Another process computes these too: a change here breaks clusters and upgrades.
        assert_eq!(bucket_of(""), Bucket(0x325 ^ 0xcbf));
        assert_eq!(bucket_of("a"), Bucket(0xc8c ^ 0xaf6));
        assert_eq!(bucket_of("foobar"), Bucket(0x7e8 ^ 0x859));
    }

    #[test]
    fn numbered_names_fill_the_buckets_evenly() {
        let mut counts = [0_u32; BUCKETS];
        for number in 0..100 * BUCKETS {
            counts[bucket_of(&format!("user:{number}")).index()] += 1;
        }
        let (least, most) = (counts.iter().min(), counts.iter().max());
        assert!(least >= Some(&50) && most <= Some(&160), "{least:?} to {most:?} of a mean of 100");
    }

    #[test]
    fn every_shard_is_home_to_its_even_part() {
        for shard_count in 1..=SHARDS_MAX {
            let homes = Homes::dealt(shard_count);
            let mut counts = vec![0_usize; shard_count];
            for bucket in 0..BUCKETS {
                let bucket = Bucket(u16::try_from(bucket).unwrap());
                counts[homes.home_of(bucket).index()] += 1;
            }
            let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
            assert!(most - least <= 1, "{shard_count} shards");
        }
    }
}
