//! What was published, read back from its bytes (4, 5).

use super::super::text::{Entries, Raw, Text};
use super::super::translate::{Member, News, Published, Who};
use super::decode::{Merge, enter, merge};
use super::reader::{Field, Fields, WireError};

/// What a push says, if `reply` is one, without its length.
pub(in super::super) fn read_push(reply: &[u8]) -> Result<News<'_>, WireError> {
    let mut envelope = Envelope::default();
    merge(&mut envelope, Fields(reply))?;
    Ok(envelope.push.unwrap_or_default())
}

#[derive(Default)]
struct Envelope<'a> {
    push: Option<News<'a>>,
}

impl<'a> Merge<'a> for Envelope<'a> {
    fn merge(&mut self, field: Field<'a>) -> Result<(), WireError> {
        match field.number {
            4 => enter(&mut self.push, field),
            _ => Ok(()),
        }
    }
}

impl<'a> Merge<'a> for News<'a> {
    fn merge(&mut self, field: Field<'a>) -> Result<(), WireError> {
        match field.number {
            2 => self.channel = field.text()?.into(),
            4 => enter(&mut self.publication, field)?,
            5 => enter(&mut self.join, field)?,
            6 => enter(&mut self.leave, field)?,
            _ => {}
        }
        Ok(())
    }
}

impl<'a> Merge<'a> for Published<'a> {
    fn merge(&mut self, field: Field<'a>) -> Result<(), WireError> {
        match field.number {
            4 => self.data = Raw::new(field.bytes()?),
            5 => enter(&mut self.info, field)?,
            6 => self.offset = field.u64()?,
            7 => self.tags.merge(field)?,
            14 => self.epoch = field.text()?.into(),
            _ => {}
        }
        Ok(())
    }
}

impl<'a> Merge<'a> for Entries<'a, Text<'a>> {
    /// One tag, which is a message of its own.
    fn merge(&mut self, field: Field<'a>) -> Result<(), WireError> {
        let (mut key, mut value) = (Text::default(), Text::default());
        let mut fields = field.fields()?;
        while let Some(field) = fields.next()? {
            match field.number {
                1 => key = field.text()?.into(),
                2 => value = field.text()?.into(),
                _ => {}
            }
        }
        self.0.push((key, value));
        Ok(())
    }
}

impl<'a> Merge<'a> for Member<'a> {
    fn merge(&mut self, field: Field<'a>) -> Result<(), WireError> {
        match field.number {
            1 => enter(&mut self.info, field),
            _ => Ok(()),
        }
    }
}

impl<'a> Merge<'a> for Who<'a> {
    fn merge(&mut self, field: Field<'a>) -> Result<(), WireError> {
        match field.number {
            1 => self.user = field.text()?.into(),
            2 => self.client = field.text()?.into(),
            3 => self.connection_info = Raw::new(field.bytes()?),
            4 => self.channel_info = Raw::new(field.bytes()?),
            _ => {}
        }
        Ok(())
    }
}
