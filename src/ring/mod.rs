//! One io_uring as its owner sees it: typed submissions in, typed completions out.
//!
//! ```text
//!   accept ─ poll ─ send ─ cancel ─ wake ─▶ submission queue ══enter══▶ kernel
//!   Completion { token, result, more }  ◀── completion queue ◀═════════╯
//! ```
//!
//! Invariants, each kept here and nowhere else:
//! * *The batch outlives its sends.* Bytes handed to a send stay in place until every submission
//!   that names them was consumed by the kernel, which copies them inside that call
//!   (`MSG_DONTWAIT`: such a send is never parked). Only then may the batch be recycled.
//! * *A token names one life of one thing.* Cancels go by token, never by descriptor.
//! * *Bytes enter through one seam,* [`receive`].
//!
//! Set-up is `SINGLE_ISSUER | DEFER_TASKRUN | TASKRUN_FLAG | SUBMIT_ALL | CQSIZE`, so Linux 6.1 is
//! the oldest kernel.

#![allow(unsafe_code)]

mod batch;
mod error;
mod receive;
mod token;
mod uring;

pub use batch::{Batch, Frame, Piece};
pub use error::RingError;
pub use receive::{Received, receive};
pub use token::{Operation, Token};
pub use uring::{Completion, OperationCounts, Ring, RingSize, queue_bytes};
