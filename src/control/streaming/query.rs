//! One value of a query, as browsers write it (URL Standard, urlencoded parsing).

/// The first value called `name`, decoded; `None` if there is none, or its escapes are none.
pub(super) fn value(query: &str, name: &str) -> Option<Vec<u8>> {
    let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let (_, value) = pairs.into_iter().find(|(key, _)| *key == name)?;
    let mut decoded = Vec::with_capacity(value.len());
    let mut bytes = value.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => hexadecimal(bytes.next()?)? << 4 | hexadecimal(bytes.next()?)?,
            plain => plain,
        });
    }
    Some(decoded)
}

fn hexadecimal(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_decoded_and_what_is_none_is_refused() {
        let query = "a=1&cf_connect=%7B%22a%22%3A+1%7d%0A&cf_connect=2&empty&%";
        assert_eq!(value(query, "cf_connect").unwrap(), b"{\"a\": 1}\n");
        assert_eq!(value(query, "empty").unwrap(), b"");
        assert_eq!(value(query, "connect"), None);
        for broken in ["v=%", "v=%7", "v=%7g", "v=%+7", "v=%\u{e9}"] {
            assert_eq!(value(broken, "v"), None, "{broken}");
        }
    }
}
