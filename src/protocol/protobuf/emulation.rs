//! What a client over HTTP says beside its stream (23).

use std::borrow::Cow;

use super::super::EmulationRequest;
use super::decode::{Merge, merge};
use super::reader::{Field, Fields, WireError};

/// Reads the body of a request.
pub(in super::super) fn read_emulation(body: &[u8]) -> Result<EmulationRequest<'_>, WireError> {
    let mut request = EmulationRequest::default();
    merge(&mut request, Fields(body))?;
    Ok(request)
}

impl<'a> Merge<'a> for EmulationRequest<'a> {
    fn merge(&mut self, field: Field<'a>) -> Result<(), WireError> {
        match field.number {
            1 => self.node = field.text()?.into(),
            2 => self.session = field.text()?.into(),
            3 => self.frame = Cow::Borrowed(field.bytes()?),
            _ => {}
        }
        Ok(())
    }
}
