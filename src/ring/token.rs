//! What a submission carries and its completion brings back: operation, generation, index.
//!
//! Invariant: two things that live at different times in the same slot have different generations,
//! so a late completion is told from one that concerns the present owner.

/// What a completion completes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Operation {
    /// Nothing that anybody waits for.
    Ignored = 0,
    /// A multishot accept on a listener.
    Accept = 1,
    /// The multishot, edge-triggered poll for input on a connection.
    Readable = 2,
    /// A one-shot poll for room in the send buffer of a connection.
    Writable = 3,
    /// A send; reports only when it failed or came back short.
    Send = 4,
    /// A cancellation; its result says nothing that the cancelled operation does not say itself.
    Cancel = 5,
    /// Another ring posted here: look at the mesh.
    Wake = 6,
    /// The pipe that threads without a ring write to.
    Bell = 7,
    /// A connect, in the client role.
    Connect = 8,
    /// The Unix socket on which another shard passes connections.
    Passed = 9,
}

impl Operation {
    /// How many operations there are, for tables indexed by them.
    pub const COUNT: usize = 10;

    /// All of them, in the order of their numbers.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Ignored,
        Self::Accept,
        Self::Readable,
        Self::Writable,
        Self::Send,
        Self::Cancel,
        Self::Wake,
        Self::Bell,
        Self::Connect,
        Self::Passed,
    ];
}

/// The 64 bits of `user_data`: operation (4), generation (28), index (32).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Token(u64);

impl Token {
    /// Generations wrap here; a shard that accepts 1,000 connections a second takes three days to
    /// come round, and no completion is that late.
    pub const GENERATION_MASK: u32 = (1 << 28) - 1;

    /// A token for one life (`generation`, its low 28 bits) of the thing at `index`.
    pub fn new(operation: Operation, generation: u32, index: u32) -> Self {
        let generation = u64::from(generation & Self::GENERATION_MASK);
        Self((operation as u64) << 60 | generation << 32 | u64::from(index))
    }

    /// A token of something a ring has one of.
    pub fn of(operation: Operation) -> Self {
        Self::new(operation, 0, 0)
    }

    /// What completes.
    pub fn operation(self) -> Operation {
        let code = usize::try_from(self.0 >> 60).expect("four bits");
        Operation::ALL.get(code).copied().unwrap_or(Operation::Ignored)
    }

    /// Which life of the thing at [`index`](Self::index), modulo 2^28.
    pub fn generation(self) -> u32 {
        u32::try_from(self.0 >> 32).expect("32 bits") & Self::GENERATION_MASK
    }

    /// The slot.
    pub fn index(self) -> u32 {
        u32::try_from(self.0 & u64::from(u32::MAX)).expect("masked")
    }

    pub(super) fn bits(self) -> u64 {
        self.0
    }

    pub(super) fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_comes_back_with_its_parts() {
        for operation in Operation::ALL {
            for generation in [0, 1, Token::GENERATION_MASK] {
                for index in [0, 1, u32::MAX] {
                    let token = Token::from_bits(Token::new(operation, generation, index).bits());
                    assert_eq!(token.operation(), operation);
                    assert_eq!(token.generation(), generation);
                    assert_eq!(token.index(), index);
                }
            }
        }
    }

    #[test]
    fn a_generation_beyond_28_bits_wraps_without_touching_the_operation() {
        let token = Token::new(Operation::Send, Token::GENERATION_MASK + 1, 7);
        assert_eq!((token.operation(), token.generation()), (Operation::Send, 0));
    }

    #[test]
    fn an_unknown_operation_is_ignored_not_a_panic() {
        assert_eq!(Token::from_bits(u64::MAX).operation(), Operation::Ignored);
    }
}
