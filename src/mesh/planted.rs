//! Refusals for tests: a queue that is full when it is looked at, and has room at the next look,
//! because the other thread has emptied it between the two.

use std::cell::Cell;

thread_local! {
    /// One message in so many is refused; the state of what draws them.
    static REFUSALS: Cell<(u64, u64)> = const { Cell::new((0, 0)) };
}

/// From now on one message in so many is refused on this thread; 0: none.
pub(crate) fn refuse_one_in(times: u64, seed: u64) {
    REFUSALS.set((times, seed));
}

pub(super) fn refuses() -> bool {
    let (times, state) = REFUSALS.get();
    // Knuth's generator, of which the upper bits are the random ones.
    let next =
        state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    REFUSALS.set((times, next));
    times > 0 && (next >> 33).is_multiple_of(times)
}
