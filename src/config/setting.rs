//! The types of settings: from the text of a key to a value that is valid by type, and back.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use super::key::Kind;
use super::measure;
use super::value::Value;

/// A type that a key can have.
pub trait Setting: Sized {
    /// What its keys take.
    const KIND: Kind;

    /// Reads what was written; the error says what is wrong with it, not what would be right.
    fn read(value: &Value) -> Result<Self, String>;

    /// Writes what [`read`](Self::read) reads.
    fn write(&self) -> Value;

    /// What a key's range is about, in the base unit of the kind; `None` is in every range.
    fn amount(&self) -> Option<u64> {
        None
    }
}

impl Setting for bool {
    const KIND: Kind = Kind::Switch;

    fn read(value: &Value) -> Result<Self, String> {
        match value.text()? {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err("this is neither true nor false".to_owned()),
        }
    }

    fn write(&self) -> Value {
        Value::Text(self.to_string())
    }
}

impl Setting for Duration {
    const KIND: Kind = Kind::Time;

    fn read(value: &Value) -> Result<Self, String> {
        measure::time(value.text()?)
    }

    fn write(&self) -> Value {
        Value::Text(measure::show_time(*self))
    }

    fn amount(&self) -> Option<u64> {
        // Rounded up, so that a time above the range by less than a unit is not in it.
        Some(u64::try_from(self.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX))
    }
}

/// A time of whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seconds(pub u32);

impl Setting for Seconds {
    const KIND: Kind = Kind::Time;

    fn read(value: &Value) -> Result<Self, String> {
        let time = measure::time(value.text()?)?;
        match u32::try_from(time.as_secs()) {
            Ok(seconds) if time.subsec_nanos() == 0 => Ok(Self(seconds)),
            _ => Err("this is not a number of whole seconds".to_owned()),
        }
    }

    fn write(&self) -> Value {
        Duration::from_secs(self.0.into()).write()
    }

    fn amount(&self) -> Option<u64> {
        Some(u64::from(self.0) * 1_000)
    }
}

/// A time between two of something, or never.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Period {
    /// Never.
    Off,
    /// Once per period.
    Every(Duration),
}

impl Period {
    /// The time; `None` for never.
    pub fn time(self) -> Option<Duration> {
        match self {
            Self::Off => None,
            Self::Every(period) => Some(period),
        }
    }
}

impl Setting for Period {
    const KIND: Kind = Kind::Period;

    fn read(value: &Value) -> Result<Self, String> {
        match value.text()? {
            "off" => Ok(Self::Off),
            text => match measure::time(text)? {
                Duration::ZERO => Err("zero is not a period: to have none, say off".to_owned()),
                period => Ok(Self::Every(period)),
            },
        }
    }

    fn write(&self) -> Value {
        match self {
            Self::Off => Value::Text("off".to_owned()),
            Self::Every(period) => period.write(),
        }
    }

    fn amount(&self) -> Option<u64> {
        self.time().and_then(|period| period.amount())
    }
}

/// A size in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes(pub usize);

impl Setting for Bytes {
    const KIND: Kind = Kind::Bytes;

    fn read(value: &Value) -> Result<Self, String> {
        measure::bytes(value.text()?).map(Self)
    }

    fn write(&self) -> Value {
        Value::Text(measure::show_bytes(self.0 as u64))
    }

    fn amount(&self) -> Option<u64> {
        Some(self.0 as u64)
    }
}

impl Setting for u32 {
    const KIND: Kind = Kind::Count;

    fn read(value: &Value) -> Result<Self, String> {
        number(value.text()?)
    }

    fn write(&self) -> Value {
        Value::Text(self.to_string())
    }

    fn amount(&self) -> Option<u64> {
        Some((*self).into())
    }
}

impl Setting for u16 {
    const KIND: Kind = Kind::Count;

    fn read(value: &Value) -> Result<Self, String> {
        number(value.text()?)
    }

    fn write(&self) -> Value {
        Value::Text(self.to_string())
    }

    fn amount(&self) -> Option<u64> {
        Some((*self).into())
    }
}

/// A number that the machine decides where nobody else does.
impl Setting for Option<NonZeroU32> {
    const KIND: Kind = Kind::Auto;

    fn read(value: &Value) -> Result<Self, String> {
        match value.text()? {
            "auto" => Ok(None),
            text => Ok(Some(number(text)?)),
        }
    }

    fn write(&self) -> Value {
        Value::Text(self.map_or_else(|| "auto".to_owned(), |number| number.to_string()))
    }

    fn amount(&self) -> Option<u64> {
        self.map(|number| number.get().into())
    }
}

/// A port of an optional listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Port(pub Option<u16>);

impl Setting for Port {
    const KIND: Kind = Kind::Port;

    fn read(value: &Value) -> Result<Self, String> {
        match value.text()? {
            "off" => Ok(Self(None)),
            text => Ok(Self(Some(number(text)?))),
        }
    }

    fn write(&self) -> Value {
        Value::Text(self.0.map_or_else(|| "off".to_owned(), |port| port.to_string()))
    }

    fn amount(&self) -> Option<u64> {
        self.0.map(u64::from)
    }
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    match text.parse() {
        Ok(number) => Ok(number),
        Err(_) if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) => {
            Err("the number is out of range".to_owned())
        }
        Err(_) => Err("this is not a whole number".to_owned()),
    }
}

impl Setting for String {
    const KIND: Kind = Kind::Text("a text, or nothing");

    fn read(value: &Value) -> Result<Self, String> {
        Ok(value.text()?.to_owned())
    }

    fn write(&self) -> Value {
        Value::Text(self.clone())
    }
}

impl Setting for PathBuf {
    const KIND: Kind = Kind::Text("the path of a file");

    fn read(value: &Value) -> Result<Self, String> {
        Ok(value.text()?.into())
    }

    fn write(&self) -> Value {
        Value::Text(self.display().to_string())
    }
}

/// A text that is never shown, nor in a log. Empty means that there is none.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, if there is one.
    pub fn reveal(&self) -> Option<&str> {
        (!self.0.is_empty()).then_some(&self.0)
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(if self.0.is_empty() { "Secret(none)" } else { "Secret(hidden)" })
    }
}

impl Setting for Secret {
    const KIND: Kind = Kind::Secret;

    fn read(value: &Value) -> Result<Self, String> {
        let text = value.text()?;
        if text.trim() != text {
            return Err("white space at an end would be a part of it".to_owned());
        }
        Ok(Self::new(text))
    }

    /// The default is no secret, and nothing else is ever written.
    fn write(&self) -> Value {
        Value::Text(String::new())
    }
}

/// An item of a list.
pub trait Item: Sized {
    /// What the items are, in words.
    const WHAT: &str;

    /// Reads one item.
    fn read(text: &str) -> Result<Self, String>;

    /// Writes what [`read`](Self::read) reads.
    fn write(&self) -> String;
}

impl<T: Item> Setting for Vec<T> {
    const KIND: Kind = Kind::List(T::WHAT);

    fn read(value: &Value) -> Result<Self, String> {
        let items = value.items()?.into_iter();
        items.map(|text| T::read(text).map_err(|says| format!("{text}: {says}"))).collect()
    }

    fn write(&self) -> Value {
        Value::List(self.iter().map(Item::write).collect())
    }
}

/// Implements [`Setting`] for an enum: one word for each variant.
macro_rules! words {
    ($name:ident { $($word:literal => $variant:ident),+ $(,)? }) => {
        impl $crate::config::setting::Setting for $name {
            const KIND: $crate::config::key::Kind = $crate::config::key::Kind::Word(&[$($word),+]);

            fn read(value: &$crate::config::value::Value) -> Result<Self, String> {
                match value.text()? {
                    $($word => Ok(Self::$variant),)+
                    _ => Err("this is none of the words".to_owned()),
                }
            }

            fn write(&self) -> $crate::config::value::Value {
                let word = match self { $(Self::$variant => $word),+ };
                $crate::config::value::Value::Text(word.to_owned())
            }
        }
    };
}
pub(super) use words;
