//! A filter by tags from its bytes (5, 12).

use super::reader::{Field, Fields, WireError};
use crate::filter::Node;
use crate::limits::FILTER_DEPTH_MAX;

/// The filter of a subscribe, as it is written.
pub(in super::super) fn read_filter(bytes: &[u8]) -> Result<Node, WireError> {
    read_node(Fields(bytes), FILTER_DEPTH_MAX)
}

/// A node with so many others within each other at most.
fn read_node(mut fields: Fields<'_>, depth_left: usize) -> Result<Node, WireError> {
    let mut node = Node::default();
    let text = |field: Field<'_>| field.text().map(str::to_owned);
    while let Some(field) = fields.next()? {
        match field.number {
            1 => node.op = text(field)?,
            2 => node.key = text(field)?,
            3 => node.cmp = text(field)?,
            4 => node.val = text(field)?,
            5 => node.vals.push(text(field)?),
            6 if depth_left == 0 => return Err(WireError::TooDeep),
            6 => node.nodes.push(read_node(field.fields()?, depth_left - 1)?),
            _ => {}
        }
    }
    Ok(node)
}
