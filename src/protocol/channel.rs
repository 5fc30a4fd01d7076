//! What the name of a channel says (15).
//!
//! ```text
//!   $news:rooms#42,43     `$` private, `news` namespace, `42` and `43` the users it is for
//! ```

/// A name's first character that asks for a subscription token.
const PRIVATE_PREFIX: char = '$';
/// What stands between the namespace and the rest.
const NAMESPACE_BOUNDARY: char = ':';
/// What stands before the users whom the channel is for.
const USER_BOUNDARY: char = '#';
/// What stands between them.
const USER_SEPARATOR: char = ',';

/// Whether subscribing takes a token.
pub fn is_private(channel: &str) -> bool {
    channel.starts_with(PRIVATE_PREFIX)
}

/// Whether the channel is only for the users that its name lists.
pub fn is_user_limited(channel: &str) -> bool {
    channel.contains(USER_BOUNDARY)
}

/// Whether the channel is for this user by its name; it never is for nobody.
pub fn is_for_user(channel: &str, user: &str) -> bool {
    let users = channel.rsplit_once(USER_BOUNDARY).map_or("", |(_, users)| users);
    !user.is_empty() && users.split(USER_SEPARATOR).any(|listed| listed == user)
}

/// The channel that is for this user alone.
pub fn personal(namespace: &str, user: &str) -> String {
    let mut name = String::with_capacity(namespace.len() + 2 + user.len());
    if !namespace.is_empty() {
        name.push_str(namespace);
        name.push(NAMESPACE_BOUNDARY);
    }
    name.push(USER_BOUNDARY);
    name + user
}

/// The namespace whose options hold for the channel; `None` for those without one.
pub fn namespace(channel: &str) -> Option<&str> {
    let rest = channel.strip_prefix(PRIVATE_PREFIX).unwrap_or(channel);
    rest.split_once(NAMESPACE_BOUNDARY).map(|(namespace, _)| namespace)
}

/// Whether every character is one that a channel's name may have.
pub fn is_well_formed(channel: &str) -> bool {
    channel.is_ascii()
}

/// Whether a namespace may be called so: two characters at least, of `-`, `_`, `.`, letters and
/// digits.
pub fn is_namespace_name(name: &str) -> bool {
    name.len() >= 2
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_where_it_belongs_and_for_whom_it_is() {
        let cases = [
            ("news", None, false, false),
            ("ns:news", Some("ns"), false, false),
            ("ns:a:b", Some("ns"), false, false),
            ("$secret", None, true, false),
            ("$ns:secret", Some("ns"), true, false),
            ("a$b", None, false, false),
            (":x", Some(""), false, false),
            ("dialog#42,43", None, false, true),
            ("ns:dialog#", Some("ns"), false, true),
            ("", None, false, false),
        ];
        for (channel, namespace_of, private, limited) in cases {
            assert_eq!(namespace(channel), namespace_of, "{channel}");
            assert_eq!(is_private(channel), private, "{channel}");
            assert_eq!(is_user_limited(channel), limited, "{channel}");
        }
    }

    #[test]
    fn names_are_ascii_and_namespaces_are_plainer() {
        assert!(is_well_formed("a b!~#$:,"));
        assert!(!is_well_formed("é"));
        for name in ["ns", "a-b_c.d", "42"] {
            assert!(is_namespace_name(name), "{name}");
        }
        for name in ["", "a", "a b", "a:b", "é1"] {
            assert!(!is_namespace_name(name), "{name}");
        }
    }
}
