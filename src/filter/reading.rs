//! How a subscription reads what is published in its channel.

use super::Filter;
use std::sync::Arc;

/// How a subscription reads what is published.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Reading {
    /// All of it, as it is.
    #[default]
    Whole,
    /// All of it, each as a delta to the one before it where there is one.
    Deltas,
    /// What this admits.
    Selected(Arc<Filter>),
}
