//! Bytes by what they are for.
//!
//! Sizes are those that were asked of the allocator or the kernel: what an allocator rounds up, or
//! keeps for later, is in none of them, and neither are code and stacks.

use std::ops::{AddAssign, Index, IndexMut};

/// What memory is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Entries of connections, and what only busy ones have.
    Slab,
    /// The wheel of deadlines.
    Timers,
    /// What sessions have beside their entries: users, tokens, commands under way.
    Sessions,
    /// Channels of each connection.
    Subscriptions,
    /// Connections of each channel, and who is present.
    Members,
    /// Names and states of channels.
    Channels,
    /// Connections of each user.
    Users,
    /// Publications that are kept: streams, and what waits to be acknowledged.
    History,
    /// What is to be sent.
    Output,
    /// What has not arrived whole.
    Input,
    /// Queues between threads.
    Mesh,
    /// What rings send from and receive into.
    Buffers,
    /// The kernel's: queues of rings.
    Rings,
    /// The kernel's: sockets of connections, reckoned by their number.
    Sockets,
}

impl Class {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::Slab,
        Self::Timers,
        Self::Sessions,
        Self::Subscriptions,
        Self::Members,
        Self::Channels,
        Self::Users,
        Self::History,
        Self::Output,
        Self::Input,
        Self::Mesh,
        Self::Buffers,
        Self::Rings,
        Self::Sockets,
    ];

    /// As a label says it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Slab => "slab",
            Self::Timers => "timers",
            Self::Sessions => "sessions",
            Self::Subscriptions => "subscriptions",
            Self::Members => "members",
            Self::Channels => "channels",
            Self::Users => "users",
            Self::History => "history",
            Self::Output => "output",
            Self::Input => "input",
            Self::Mesh => "mesh",
            Self::Buffers => "buffers",
            Self::Rings => "kernel_rings",
            Self::Sockets => "kernel_sockets",
        }
    }

    /// Whether it is the kernel's, and in no figure of the process.
    pub const fn is_kernels(self) -> bool {
        matches!(self, Self::Rings | Self::Sockets)
    }
}

/// Bytes by class. Add those of all shards with `+=`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory([u64; Class::ALL.len()]);

impl Memory {
    /// How many numbers there are.
    pub const COUNT: usize = Class::ALL.len();

    /// Classes and their bytes.
    pub fn iter(&self) -> impl Iterator<Item = (Class, u64)> {
        Class::ALL.into_iter().map(|class| (class, self[class]))
    }

    /// The numbers, in the order of [`Class::ALL`].
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut u64> {
        self.0.iter_mut()
    }

    /// What of this process is explained.
    pub fn user_bytes(&self) -> u64 {
        self.iter().filter(|(class, _)| !class.is_kernels()).map(|(_, bytes)| bytes).sum()
    }
}

impl Index<Class> for Memory {
    type Output = u64;

    fn index(&self, class: Class) -> &u64 {
        &self.0[class as usize]
    }
}

impl IndexMut<Class> for Memory {
    fn index_mut(&mut self, class: Class) -> &mut u64 {
        &mut self.0[class as usize]
    }
}

impl AddAssign<&Self> for Memory {
    fn add_assign(&mut self, other: &Self) {
        for (own, other) in self.0.iter_mut().zip(other.0) {
            *own += other;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_class_has_its_own_number_and_name() {
        let mut memory = Memory::default();
        for (class, number) in Class::ALL.into_iter().zip(0..) {
            assert_eq!(class as usize, usize::try_from(number).unwrap(), "the order of `ALL`");
            memory[class] = 1 << number;
        }
        let sum = memory.clone();
        memory += &sum;
        let told: Vec<u64> = memory.iter().map(|(_, bytes)| bytes).collect();
        assert_eq!(told, (1..=Memory::COUNT).map(|power| 1 << power).collect::<Vec<u64>>());
        let kernels = 2 * (1 << Class::Rings as u64 | 1 << Class::Sockets as u64);
        assert_eq!(memory.user_bytes() + kernels, told.iter().sum::<u64>());
        let mut names = Class::ALL.map(Class::name);
        names.sort_unstable();
        assert!(names.windows(2).all(|two| two[0] != two[1]), "{names:?}");
    }
}
