//! What the data of a publication may be.

use serde::de::IgnoredAny;

/// What the data of a publication may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DataFormat {
    /// Anything but nothing.
    #[default]
    NotEmpty,
    /// A value in JSON.
    Json,
    /// An object in JSON.
    JsonObject,
    /// Anything, and nothing as well.
    Binary,
}

impl DataFormat {
    /// Whether this may be published.
    pub fn admits(self, data: &[u8]) -> bool {
        match self {
            Self::NotEmpty => !data.is_empty(),
            Self::Binary => true,
            Self::Json => serde_json::from_slice::<IgnoredAny>(data).is_ok(),
            Self::JsonObject => {
                let start = data.iter().find(|byte| !byte.is_ascii_whitespace());
                start == Some(&b'{') && Self::Json.admits(data)
            }
        }
    }
}
