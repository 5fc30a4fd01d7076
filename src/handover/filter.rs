//! A filter by tags on its way with the membership that reads by it.

use super::field::{self, Record, Writer};
use crate::limits::FILTER_DEPTH_MAX;

/// A filter, or a part of one, as a client writes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FilterNode {
    /// How the nodes are joined; empty for a comparison.
    pub op: String,
    /// The tag that is compared.
    pub key: String,
    /// How it is compared.
    pub cmp: String,
    /// With what.
    pub val: String,
    /// With which of several.
    pub vals: Vec<String>,
    /// What is joined.
    pub nodes: Vec<FilterNode>,
}

impl FilterNode {
    pub(super) fn write<'w, 'o>(&self, put: &'w mut Writer<'o>) -> &'w mut Writer<'o> {
        put.bytes(1, self.op.as_bytes())
            .bytes(2, self.key.as_bytes())
            .bytes(3, self.cmp.as_bytes())
            .bytes(4, self.val.as_bytes())
            // Each in a field of its own, so that empty ones are there as well.
            .each(5, &self.vals, |put, value| put.number(1, 1).bytes(2, value.as_bytes()))
            .each(6, &self.nodes, |put, node| node.write(put))
    }

    /// `None` if the bytes are none, or nest deeper than any filter.
    pub(super) fn read(value: &[u8]) -> Option<Self> {
        Self::read_within(value, FILTER_DEPTH_MAX)
    }

    fn read_within(value: &[u8], depth: usize) -> Option<Self> {
        let deeper = depth.checked_sub(1)?;
        let mut one = Self::default();
        Record::inner(value, |field, value| {
            match field {
                1 => one.op = field::text(value)?,
                2 => one.key = field::text(value)?,
                3 => one.cmp = field::text(value)?,
                4 => one.val = field::text(value)?,
                5 => one.vals.push(read_value(value)?),
                6 => one.nodes.push(Self::read_within(value, deeper)?),
                _ => return Some(false),
            }
            Some(true)
        })?;
        Some(one)
    }
}

fn read_value(value: &[u8]) -> Option<String> {
    let mut text = String::new();
    Record::inner(value, |field, value| {
        match field {
            1 => {}
            2 => text = field::text(value)?,
            _ => return Some(false),
        }
        Some(true)
    })?;
    Some(text)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::handover::field::{first, record};

    fn written(node: &FilterNode) -> Vec<u8> {
        let mut bytes = Vec::new();
        record(&mut bytes, 1, |put| node.write(put));
        bytes.split_off(first(&bytes).unwrap().unwrap().1.min(super::field::RECORD_HEAD_BYTES))
    }

    /// With a value of its own in every field.
    pub(in crate::handover) fn full() -> FilterNode {
        let leaf = FilterNode {
            key: "k".into(),
            cmp: "in".into(),
            vals: vec!["a".into(), String::new()],
            ..FilterNode::default()
        };
        let other = FilterNode { cmp: "eq".into(), val: "größe".into(), ..leaf.clone() };
        FilterNode { op: "and".into(), nodes: vec![leaf, other], ..FilterNode::default() }
    }

    #[test]
    fn a_filter_comes_back_unless_it_nests_too_deep() {
        assert_eq!(FilterNode::read(&written(&full())), Some(full()));
        let mut node = full();
        for depth in 3..=FILTER_DEPTH_MAX + 1 {
            node = FilterNode { op: "not".into(), nodes: vec![node], ..FilterNode::default() };
            let is_read = FilterNode::read(&written(&node)).is_some();
            assert_eq!(is_read, depth <= FILTER_DEPTH_MAX, "{depth}");
        }
    }
}
