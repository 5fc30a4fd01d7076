//! Commands from their bytes (2, 3). Fields that nothing here uses are skipped; one that is used
//! and comes twice counts as it came last, and messages that come twice are one, as the format
//! has it.

use serde::de::IgnoredAny;

use super::super::command::{
    Channel, Command, Connect, Envelope, Held, History, Publish, Refresh, Rpc, StreamPosition,
    SubRefresh, Subscribe,
};
use super::super::commands::Malformed;
use super::super::text::{Entries, Raw, Text};
use super::reader::{Field, Fields, WireError};

/// The first message of a frame without its length, and what follows it.
pub(in super::super) fn split_first(frame: &[u8]) -> Result<(&[u8], &[u8]), WireError> {
    let mut fields = Fields(frame);
    let message = fields.delimited()?;
    Ok((message, fields.0))
}

impl<'a> Command<'a> {
    /// Reads one message, without its length.
    pub fn from_protobuf(message: &'a [u8]) -> Result<Self, Malformed> {
        let mut envelope = Envelope::default();
        merge(&mut envelope, Fields(message)).map_err(Malformed::Protobuf)?;
        let id = envelope.id;
        envelope.open().ok_or(Malformed::NoRequest { id })
    }
}

/// A message whose fields are known by number.
pub(super) trait Merge<'a>: Default {
    /// Takes over one field, or passes over an unknown one.
    fn merge(&mut self, field: Field<'a>) -> Result<(), WireError>;
}

pub(super) fn merge<'a, T: Merge<'a>>(
    message: &mut T,
    mut fields: Fields<'a>,
) -> Result<(), WireError> {
    while let Some(field) = fields.next()? {
        message.merge(field)?;
    }
    Ok(())
}

/// The same for a message within a message.
pub(super) fn enter<'a, T: Merge<'a>>(
    target: &mut Option<T>,
    field: Field<'a>,
) -> Result<(), WireError> {
    merge(target.get_or_insert_default(), field.fields()?)
}

/// One entry of a map, which is a message of a key and a value.
impl<'a, T: Merge<'a>> Merge<'a> for Entries<'a, T> {
    fn merge(&mut self, field: Field<'a>) -> Result<(), WireError> {
        let (mut key, mut value) = (Text::default(), None);
        let mut fields = field.fields()?;
        while let Some(field) = fields.next()? {
            match field.number {
                1 => key = field.text()?.into(),
                2 => enter(&mut value, field)?,
                _ => {}
            }
        }
        self.0.push((key, value.unwrap_or_default()));
        Ok(())
    }
}

impl<'a> Merge<'a> for Envelope<'a> {
    fn merge(&mut self, field: Field<'a>) -> Result<(), WireError> {
        match field.number {
            1 => self.id = field.u32()?,
            4 => enter(&mut self.connect, field)?,
            5 => enter(&mut self.subscribe, field)?,
            6 => enter(&mut self.unsubscribe, field)?,
            7 => enter(&mut self.publish, field)?,
            8 => enter(&mut self.presence, field)?,
            9 => enter(&mut self.presence_stats, field)?,
            10 => enter(&mut self.history, field)?,
            12 => self.send = pass(field)?,
            13 => enter(&mut self.rpc, field)?,
            14 => enter(&mut self.refresh, field)?,
            15 => enter(&mut self.sub_refresh, field)?,
            _ => {}
        }
        Ok(())
    }
}

/// A message of which nothing is used; it has to be one all the same.
fn pass(field: Field<'_>) -> Result<Option<IgnoredAny>, WireError> {
    let mut fields = field.fields()?;
    while fields.next()?.is_some() {}
    Ok(Some(IgnoredAny))
}

impl<'a> Merge<'a> for Channel<'a> {
    fn merge(&mut self, field: Field<'a>) -> Result<(), WireError> {
        if field.number == 1 {
            self.channel = field.text()?.into();
        }
        Ok(())
    }
}

impl<'a> Merge<'a> for Connect<'a> {
    fn merge(&mut self, field: Field<'a>) -> Result<(), WireError> {
        match field.number {
            1 => self.token = field.text()?.into(),
            2 => self.data = Raw::new(field.bytes()?),
            3 => self.subs.merge(field)?,
            4 => self.name = field.text()?.into(),
            5 => self.version = field.text()?.into(),
            6 => self.headers.0.push(header(field)?),
            _ => {}
        }
        Ok(())
    }
}

/// One entry of a map of texts.
fn header(field: Field<'_>) -> Result<(Text<'_>, Text<'_>), WireError> {
    let (mut key, mut value) = (Text::default(), Text::default());
    let mut fields = field.fields()?;
    while let Some(field) = fields.next()? {
        match field.number {
            1 => key = field.text()?.into(),
            2 => value = field.text()?.into(),
            _ => {}
        }
    }
    Ok((key, value))
}

impl<'a> Merge<'a> for Held<'a> {
    fn merge(&mut self, field: Field<'a>) -> Result<(), WireError> {
        match field.number {
            3 => self.recover = field.flag()?,
            6 => self.epoch = field.text()?.into(),
            7 => self.offset = field.u64()?,
            _ => {}
        }
        Ok(())
    }
}

impl<'a> Merge<'a> for Subscribe<'a> {
    fn merge(&mut self, field: Field<'a>) -> Result<(), WireError> {
        match field.number {
            1 => self.channel = field.text()?.into(),
            2 => self.token = field.text()?.into(),
            3 => self.recover = field.flag()?,
            6 => self.epoch = field.text()?.into(),
            7 => self.offset = field.u64()?,
            8 => self.data = Raw::new(field.bytes()?),
            9 => self.positioned = field.flag()?,
            10 => self.recoverable = field.flag()?,
            11 => self.join_leave = field.flag()?,
            12 => self.delta = field.text()?.into(),
            13 => self.tags_filter = Raw::new(field.bytes()?),
            14 => self.flag = field.i64()?,
            15 => self.kind = field.i32()?,
            _ => {}
        }
        Ok(())
    }
}

impl<'a> Merge<'a> for Publish<'a> {
    fn merge(&mut self, field: Field<'a>) -> Result<(), WireError> {
        match field.number {
            1 => self.channel = field.text()?.into(),
            2 => self.data = Raw::new(field.bytes()?),
            3 => self.kind = field.i32()?,
            _ => {}
        }
        Ok(())
    }
}

impl<'a> Merge<'a> for History<'a> {
    fn merge(&mut self, field: Field<'a>) -> Result<(), WireError> {
        match field.number {
            1 => self.channel = field.text()?.into(),
            7 => self.limit = field.i32()?,
            8 => enter(&mut self.since, field)?,
            9 => self.reverse = field.flag()?,
            _ => {}
        }
        Ok(())
    }
}

impl<'a> Merge<'a> for StreamPosition<'a> {
    fn merge(&mut self, field: Field<'a>) -> Result<(), WireError> {
        match field.number {
            1 => self.offset = field.u64()?,
            2 => self.epoch = field.text()?.into(),
            _ => {}
        }
        Ok(())
    }
}

impl<'a> Merge<'a> for Rpc<'a> {
    fn merge(&mut self, field: Field<'a>) -> Result<(), WireError> {
        match field.number {
            1 => self.data = Raw::new(field.bytes()?),
            2 => self.method = field.text()?.into(),
            _ => {}
        }
        Ok(())
    }
}

impl<'a> Merge<'a> for Refresh<'a> {
    fn merge(&mut self, field: Field<'a>) -> Result<(), WireError> {
        if field.number == 1 {
            self.token = field.text()?.into();
        }
        Ok(())
    }
}

impl<'a> Merge<'a> for SubRefresh<'a> {
    fn merge(&mut self, field: Field<'a>) -> Result<(), WireError> {
        match field.number {
            1 => self.channel = field.text()?.into(),
            2 => self.token = field.text()?.into(),
            _ => {}
        }
        Ok(())
    }
}
