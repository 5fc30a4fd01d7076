//! What the name of a channel says (15).
//!
//! ```text
//!   $news:rooms#42,43     `$` private, `news` namespace, `42` and `43` the users it is for
//! ```

/// The characters with a meaning in names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Naming {
    /// A name's first character that asks for a subscription token.
    pub private_prefix: char,
    /// What stands between the namespace and the rest.
    pub namespace_boundary: char,
    /// What stands before the users whom the channel is for.
    pub user_boundary: char,
    /// What stands between them.
    pub user_separator: char,
}

impl Default for Naming {
    fn default() -> Self {
        Self {
            private_prefix: '$',
            namespace_boundary: ':',
            user_boundary: '#',
            user_separator: ',',
        }
    }
}

impl Naming {
    /// Whether subscribing takes a token.
    pub fn is_private(&self, channel: &str) -> bool {
        channel.starts_with(self.private_prefix)
    }

    /// Whether the channel is only for the users that its name lists.
    pub fn is_user_limited(&self, channel: &str) -> bool {
        channel.contains(self.user_boundary)
    }

    /// Whether the channel is for this user by its name; it never is for nobody.
    pub fn is_for_user(&self, channel: &str, user: &str) -> bool {
        let users = channel.rsplit_once(self.user_boundary).map_or("", |(_, users)| users);
        !user.is_empty() && users.split(self.user_separator).any(|listed| listed == user)
    }

    /// The channel that is for this user alone; `namespace` is empty for none.
    pub fn personal(&self, namespace: &str, user: &str) -> String {
        let mut name = String::with_capacity(namespace.len() + 2 + user.len());
        if !namespace.is_empty() {
            name.push_str(namespace);
            name.push(self.namespace_boundary);
        }
        name.push(self.user_boundary);
        name + user
    }

    /// The namespace whose options hold for the channel; `None` for those without one.
    pub fn namespace<'a>(&self, channel: &'a str) -> Option<&'a str> {
        self.split(channel).map(|(namespace, _)| namespace)
    }

    /// The part of the name that is the application's own: all but the namespace.
    pub fn rest<'a>(&self, channel: &'a str) -> &'a str {
        self.split(channel).map_or(channel, |(_, rest)| rest)
    }

    fn split<'a>(&self, channel: &'a str) -> Option<(&'a str, &'a str)> {
        let bare = channel.strip_prefix(self.private_prefix).unwrap_or(channel);
        bare.split_once(self.namespace_boundary)
    }
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
        let other = Naming {
            private_prefix: '!',
            namespace_boundary: '/',
            user_boundary: '@',
            user_separator: ';',
        };
        for (channel, namespace, private, limited) in cases {
            let usual = Naming::default();
            let renamed: String = channel.chars().map(|mark| renamed(mark, other)).collect();
            for (naming, channel) in [(usual, channel), (other, &renamed)] {
                assert_eq!(naming.namespace(channel), namespace, "{channel}");
                assert_eq!(naming.is_private(channel), private, "{channel}");
                assert_eq!(naming.is_user_limited(channel), limited, "{channel}");
            }
            assert_eq!(other.namespace(channel), None, "{channel}");
        }
    }

    fn renamed(mark: char, naming: Naming) -> char {
        match mark {
            '$' => naming.private_prefix,
            ':' => naming.namespace_boundary,
            '#' => naming.user_boundary,
            ',' => naming.user_separator,
            other => other,
        }
    }

    #[test]
    fn the_rest_of_a_name_is_all_but_its_namespace() {
        let naming = Naming::default();
        for (channel, rest) in
            [("news", "news"), ("ns:a:b", "a:b"), ("$ns:a", "a"), ("$a", "$a"), (":", ""), ("", "")]
        {
            assert_eq!(naming.rest(channel), rest, "{channel}");
        }
    }

    #[test]
    fn a_personal_channel_is_for_its_user() {
        let naming = Naming::default();
        assert_eq!(naming.personal("", "42"), "#42");
        assert_eq!(naming.personal("own", "42"), "own:#42");
        assert_eq!(naming.namespace("own:#42"), Some("own"));
        assert!(naming.is_for_user("own:#42", "42") && !naming.is_for_user("own:#42", "4"));
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
