//! Filters by tags: which publications of a channel a subscription gets (12).
//!
//! ```text
//!   Node, as a client writes it ─▶ Filter::of: checked, bounded ─▶ admits(tags of a publication)
//!   {op, nodes}  {key, cmp, val, vals}
//! ```
//!
//! Equal filters are one: they compare, so that each is kept once, and asked once per publication
//! for all who have it. Numbers are compared as the decimals that they are written as, of any
//! length.
//!
//! Invariant: a filter that was made decides on all tags there can be, in time that is bounded by
//! its bytes and theirs.

#![forbid(unsafe_code)]

mod decimal;
mod reading;

use serde::Deserialize;

use self::decimal::Decimal;
pub use self::reading::Reading;
use crate::limits::{FILTER_BYTES_MAX, FILTER_DEPTH_MAX};
use std::cmp::Ordering;

/// The tags of a publication.
pub type Tags = Vec<(String, String)>;

/// A filter as a client writes it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Node {
    /// `and`, `or`, `not`, or nothing for a comparison.
    pub op: String,
    /// The tag that is compared.
    pub key: String,
    /// How it is compared.
    pub cmp: String,
    /// With what.
    pub val: String,
    /// With which of several.
    pub vals: Vec<String>,
    /// What `op` joins.
    pub nodes: Vec<Node>,
}

/// A filter that can be asked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Filter(Rule);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rule {
    All(Box<[Rule]>),
    Any(Box<[Rule]>),
    Not(Box<Rule>),
    Tag { key: Box<str>, test: Test },
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Test {
    Is(Box<str>),
    IsNot(Box<str>),
    In(Box<[Box<str>]>),
    NotIn(Box<[Box<str>]>),
    Exists,
    IsMissing,
    StartsWith(Box<str>),
    EndsWith(Box<str>),
    Contains(Box<str>),
    /// A number; `None` if what it is compared with is none, which nothing is less or more than.
    Number(Order, Option<Decimal>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Order {
    Less,
    LessOrEqual,
    More,
    MoreOrEqual,
}

/// Why a filter cannot be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FilterError {
    /// No operation has this name.
    Operation,
    /// No comparison has this name.
    Comparison,
    /// A comparison without a key.
    Key,
    /// A comparison that needs a value has none, or one that takes none has one.
    Value,
    /// A comparison that needs a list of values has none, or one that takes none has one.
    Values,
    /// An operation joins nothing, or `not` more than one.
    Nodes {
        /// How many it joins.
        count: usize,
    },
    /// Filters within filters beyond the bound.
    TooDeep,
    /// More bytes than a filter may have.
    TooLong {
        /// How many.
        bytes: usize,
    },
}

impl Filter {
    /// The filter that a client means.
    pub fn of(node: Node) -> Result<Self, FilterError> {
        let bytes = node.bytes();
        if bytes > FILTER_BYTES_MAX {
            return Err(FilterError::TooLong { bytes });
        }
        Rule::of(node, 1).map(Self)
    }

    /// Whether a publication with these tags passes.
    pub fn admits(&self, tags: &[(String, String)]) -> bool {
        self.0.admits(tags)
    }

    /// Bytes of memory that it takes, about.
    pub fn bytes(&self) -> usize {
        self.0.bytes()
    }

    /// A filter in words, of which [`of`](Self::of) makes the same one.
    pub fn node(&self) -> Node {
        self.0.node()
    }
}

impl Node {
    /// Bytes of what it says, each node for one at least.
    fn bytes(&self) -> usize {
        let own = 1 + self.op.len() + self.key.len() + self.cmp.len() + self.val.len();
        let values: usize = self.vals.iter().map(|value| 1 + value.len()).sum();
        own + values + self.nodes.iter().map(Self::bytes).sum::<usize>()
    }
}

impl Rule {
    fn of(node: Node, depth: usize) -> Result<Self, FilterError> {
        if depth > FILTER_DEPTH_MAX {
            return Err(FilterError::TooDeep);
        }
        let count = node.nodes.len();
        let nodes = |nodes: Vec<Node>| -> Result<Box<[Self]>, FilterError> {
            nodes.into_iter().map(|node| Self::of(node, depth + 1)).collect()
        };
        match &*node.op {
            "" => Test::of(&node).map(|test| Self::Tag { key: node.key.into(), test }),
            "and" | "or" if count == 0 => Err(FilterError::Nodes { count }),
            "and" => nodes(node.nodes).map(Self::All),
            "or" => nodes(node.nodes).map(Self::Any),
            "not" => {
                let [one] = <[Node; 1]>::try_from(node.nodes)
                    .map_err(|nodes| FilterError::Nodes { count: nodes.len() })?;
                Self::of(one, depth + 1).map(|rule| Self::Not(Box::new(rule)))
            }
            _ => Err(FilterError::Operation),
        }
    }

    fn admits(&self, tags: &[(String, String)]) -> bool {
        match self {
            Self::All(rules) => rules.iter().all(|rule| rule.admits(tags)),
            Self::Any(rules) => rules.iter().any(|rule| rule.admits(tags)),
            Self::Not(rule) => !rule.admits(tags),
            Self::Tag { key, test } => {
                // Of a tag that is there twice, a client keeps the last.
                let found = tags.iter().rev().find(|(name, _)| **name == **key);
                test.admits(found.map(|(_, value)| &**value))
            }
        }
    }

    fn node(&self) -> Node {
        let joined = |op: &str, rules: &[Self]| Node {
            op: op.to_owned(),
            nodes: rules.iter().map(Self::node).collect(),
            ..Node::default()
        };
        match self {
            Self::All(rules) => joined("and", rules),
            Self::Any(rules) => joined("or", rules),
            Self::Not(rule) => joined("not", std::slice::from_ref(rule)),
            Self::Tag { key, test } => Node { key: key.to_string(), ..test.node() },
        }
    }

    fn bytes(&self) -> usize {
        let inside = match self {
            Self::All(rules) | Self::Any(rules) => rules.iter().map(Self::bytes).sum(),
            Self::Not(rule) => rule.bytes(),
            Self::Tag { key, test } => key.len() + test.bytes(),
        };
        size_of::<Self>() + inside
    }
}

impl Test {
    fn of(node: &Node) -> Result<Self, FilterError> {
        let value = || -> Result<Box<str>, FilterError> {
            let is_there = !node.val.is_empty();
            is_there.then(|| (*node.val).into()).ok_or(FilterError::Value)
        };
        let values = || -> Box<[Box<str>]> { node.vals.iter().map(|one| (**one).into()).collect() };
        let number = |order| Ok(Self::Number(order, Decimal::read(&value()?)));
        let test = match &*node.cmp {
            "eq" => Self::Is(value()?),
            "neq" => Self::IsNot(value()?),
            "sw" => Self::StartsWith(value()?),
            "ew" => Self::EndsWith(value()?),
            "ct" => Self::Contains(value()?),
            "lt" => number(Order::Less)?,
            "lte" => number(Order::LessOrEqual)?,
            "gt" => number(Order::More)?,
            "gte" => number(Order::MoreOrEqual)?,
            "in" => Self::In(values()),
            "nin" => Self::NotIn(values()),
            "ex" => Self::Exists,
            "nex" => Self::IsMissing,
            _ => return Err(FilterError::Comparison),
        };
        let takes_list = matches!(test, Self::In(_) | Self::NotIn(_));
        let takes_none = matches!(test, Self::Exists | Self::IsMissing);
        if node.vals.is_empty() == takes_list {
            return Err(FilterError::Values);
        }
        if (takes_list || takes_none) && !node.val.is_empty() {
            return Err(FilterError::Value);
        }
        if node.key.is_empty() && !takes_none {
            return Err(FilterError::Key);
        }
        Ok(test)
    }

    /// A comparison without its key.
    fn node(&self) -> Node {
        let (cmp, val) = match self {
            Self::Is(value) => ("eq", &**value),
            Self::IsNot(value) => ("neq", &**value),
            Self::StartsWith(value) => ("sw", &**value),
            Self::EndsWith(value) => ("ew", &**value),
            Self::Contains(value) => ("ct", &**value),
            Self::In(_) => ("in", ""),
            Self::NotIn(_) => ("nin", ""),
            Self::Exists => ("ex", ""),
            Self::IsMissing => ("nex", ""),
            // What is no number is none however it is written.
            Self::Number(order, _) => (order.name(), "?"),
        };
        let val = match self {
            Self::Number(_, Some(number)) => number.text(),
            _ => val.to_owned(),
        };
        let vals = match self {
            Self::In(values) | Self::NotIn(values) => &values[..],
            _ => &[],
        };
        let vals = vals.iter().cloned().map(Into::into).collect();
        Node { cmp: cmp.to_owned(), val, vals, ..Node::default() }
    }

    /// Whether a tag passes; `None` if there is no such tag. A list takes it for an empty one.
    fn admits(&self, tag: Option<&str>) -> bool {
        let among = |values: &[Box<str>]| {
            let tag = tag.unwrap_or_default();
            values.iter().any(|value| **value == *tag)
        };
        match self {
            Self::Is(value) => tag == Some(value),
            Self::IsNot(value) => tag != Some(value),
            Self::In(values) => among(values),
            Self::NotIn(values) => !among(values),
            Self::Exists => tag.is_some(),
            Self::IsMissing => tag.is_none(),
            Self::StartsWith(value) => tag.is_some_and(|tag| tag.starts_with(&**value)),
            Self::EndsWith(value) => tag.is_some_and(|tag| tag.ends_with(&**value)),
            Self::Contains(value) => tag.is_some_and(|tag| tag.contains(&**value)),
            Self::Number(order, value) => {
                let number = tag.and_then(Decimal::read);
                let both = number.as_ref().zip(value.as_ref());
                both.is_some_and(|(number, value)| order.allows(number.compare(value)))
            }
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Is(value)
            | Self::IsNot(value)
            | Self::StartsWith(value)
            | Self::EndsWith(value)
            | Self::Contains(value) => value.len(),
            Self::In(values) | Self::NotIn(values) => {
                values.iter().map(|value| value.len() + size_of::<Box<str>>()).sum()
            }
            Self::Exists | Self::IsMissing => 0,
            Self::Number(_, value) => value.as_ref().map_or(0, Decimal::bytes),
        }
    }
}

impl Order {
    fn name(self) -> &'static str {
        match self {
            Self::Less => "lt",
            Self::LessOrEqual => "lte",
            Self::More => "gt",
            Self::MoreOrEqual => "gte",
        }
    }

    fn allows(self, is: Ordering) -> bool {
        match self {
            Self::Less => is.is_lt(),
            Self::LessOrEqual => is.is_le(),
            Self::More => is.is_gt(),
            Self::MoreOrEqual => is.is_ge(),
        }
    }
}

#[cfg(test)]
mod tests;
