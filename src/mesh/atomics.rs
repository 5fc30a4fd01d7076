//! The atomics of the mesh, from one place: those of the standard library, or, when a model
//! checker runs (`--cfg longwire_loom`), loom's, which tries every order of every access.
#![forbid(unsafe_code)]

#[cfg(longwire_loom)]
pub(super) use loom::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
#[cfg(not(longwire_loom))]
pub(super) use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
