//! The secret names of sessions over HTTP: what a client says beside its stream, and whoever else
//! knows the name could say in its place.
//!
//! A name is made of the client's id and a key of the process, so that nobody has to keep it:
//! others are shown the id, and cannot make the name of it.

use std::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::protocol::ClientId;

/// Bytes of the code that a name is: nobody tries 2^128 names.
const NAME_BYTES: usize = 16;

/// The key that names are made with.
#[derive(Clone)]
pub struct SessionKey([u8; 32]);

impl SessionKey {
    /// A key of these random bytes.
    pub fn new(random: [u8; 32]) -> Self {
        Self(random)
    }

    /// The name of this client's session: 32 hexadecimal digits.
    pub fn name(&self, client: ClientId) -> String {
        let mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("a key may have any length");
        let code = mac.chain_update(client.bytes()).finalize().into_bytes();
        let mut name = String::with_capacity(2 * NAME_BYTES);
        for byte in &code[..NAME_BYTES] {
            for digit in [byte >> 4, byte & 0xf] {
                name.push(char::from(b"0123456789abcdef"[usize::from(digit)]));
            }
        }
        name
    }
}

impl fmt::Debug for SessionKey {
    /// Without the key, which is a secret.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("SessionKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Lineage;

    #[test]
    fn a_name_is_the_clients_and_the_keys_alone() {
        let client = |random| ClientId { random, lineage: Lineage::new(7) };
        let [key, other] = [[1; 32], [2; 32]].map(SessionKey::new);
        let name = key.name(client(1));
        assert_eq!((name.len(), &name), (32, &key.name(client(1))));
        assert_ne!(name, key.name(client(2)));
        assert_ne!(name, other.name(client(1)));
        assert!(!format!("{key:?}").contains('1'), "a key is not for the log");
    }
}
