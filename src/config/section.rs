//! How a section is written: once, as a struct whose fields are keys.
//!
//! ```text
//! section! {
//!     /// What the section is about.
//!     pub struct Client in "client." {
//!         /// What the key means.
//!         ping_interval: Period = Period::Every(PING_INTERVAL_DEFAULT), in 64..=DAY_MS;
//!     }
//! }
//! ```
//!
//! gives the struct, its `Default`, its keys with path, kind, range, meaning and default, and the
//! way from raw values to it. A range is in the base unit of the type: milliseconds, bytes, ones.

/// A day: no key of a time takes more.
pub(super) const DAY_MS: u64 = 24 * 3_600_000;

/// A year: no time that something is kept for is longer.
pub(super) const YEAR_MS: u64 = 365 * DAY_MS;

macro_rules! section {
    (
        $(#[$about:meta])*
        pub struct $name:ident in $prefix:literal {
            $(
                $(#[doc = $doc:literal])+
                $field:ident: $type:ty = $default:expr $(, in $low:literal..=$high:expr)?;
            )+
        }
    ) => {
        $(#[$about])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name {
            $($(#[doc = $doc])+ pub $field: $type,)+
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $default,)+ }
            }
        }

        impl $name {
            pub(super) const KEYS: &[$crate::config::key::Key] = &[$(
                $crate::config::key::Key {
                    path: concat!($prefix, stringify!($field)),
                    kind: <$type as $crate::config::setting::Setting>::KIND,
                    range: section!(@range $($low, $high)?),
                    doc: concat!($($doc, "\n"),+),
                    default: || $crate::config::setting::Setting::write(&$name::default().$field),
                },
            )+];

            pub(super) fn read(reader: &mut $crate::config::raw::Reader<'_>) -> Self {
                let mut keys = Self::KEYS.iter();
                // Fields are made in the order they are written, as the keys are.
                Self { $($field: reader.read(keys.next().expect("a key per field"), $default),)+ }
            }

            pub(super) fn adopt(&mut self, new: &Self, changes: &mut $crate::config::Changes) {
                let mut keys = Self::KEYS.iter();
                $(
                    let key = keys.next().expect("a key per field");
                    if self.$field != new.$field && changes.note(key) {
                        self.$field = new.$field.clone();
                    }
                )+
            }
        }
    };
    (@range) => { None };
    (@range $low:literal, $high:expr) => { Some(($low, $high)) };
}
pub(super) use section;
