//! `channel.namespaces`: what clients may do in the channels of each namespace.

use crate::config::key::Kind;
use crate::config::setting::Setting;
use crate::config::value::Value;

use super::{WithoutNamespace, table};

/// All namespaces, in the order in which they are written.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Namespaces(pub Vec<Namespace>);

/// One namespace: the channels whose names begin with its name and a colon.
#[derive(Clone, Debug, PartialEq)]
pub struct Namespace {
    /// Its name.
    pub name: String,
    /// What clients may do there.
    pub options: WithoutNamespace,
}

/// Where the keys of a namespace stand that are those of channels without one.
const OPTIONS: &str = "channel.without_namespace.";

impl Setting for Namespaces {
    const KIND: Kind = Kind::Tables(
        "a list of tables, each with a name and the keys of channel.without_namespace; in the \
         environment and in flags as JSON",
    );

    fn read(value: &Value) -> Result<Self, String> {
        let named = table::named(value, OPTIONS, WithoutNamespace::KEYS, WithoutNamespace::read)?;
        let all = named.into_iter().map(|(name, options)| Namespace { name, options });
        Ok(Self(all.collect()))
    }

    /// The default is none, and nothing else is ever written.
    fn write(&self) -> Value {
        Value::List(Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::format::Format;

    fn read(format: Format, text: &str) -> Result<Namespaces, String> {
        let entries = format.entries(text).unwrap();
        let list = entries.iter().find(|entry| entry.path == "list").unwrap();
        Namespaces::read(&list.value)
    }

    #[test]
    fn every_format_and_the_environment_say_the_same() {
        let chat = Namespace {
            name: "chat".to_owned(),
            options: WithoutNamespace { allow_publish_for_client: true, ..Default::default() },
        };
        let rest = Namespace { name: "a.b-c".to_owned(), options: WithoutNamespace::default() };
        let expected = Ok(Namespaces(vec![chat, rest]));
        let json = r#"[{"name": "chat", "allow_publish_for_client": true}, {"name": "a.b-c"}]"#;
        let toml = "[[list]]\nname = \"chat\"\nallow_publish_for_client = true\n\
                    [[list]]\nname = \"a.b-c\"\n";
        let yaml = "list:\n  - name: chat\n    allow_publish_for_client: true\n  - name: a.b-c\n";
        assert_eq!(read(Format::Toml, toml), expected);
        assert_eq!(read(Format::Yaml, yaml), expected);
        assert_eq!(read(Format::Json, &format!("{{\"list\": {json}}}")), expected);
        assert_eq!(Namespaces::read(&Value::Text(json.to_owned())), expected);
        for none in ["", " ", "[]"] {
            assert_eq!(Namespaces::read(&Value::Text(none.to_owned())), Ok(Namespaces::default()));
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        let with = |line: &str| format!("[[list]]\nname = \"chat\"\n{line}\n");
        let cases = [
            (with("allow_publish_for_clients = true"), "line 3: there is no allow_publish_for_cl"),
            (with("allow_publish_for_clients = true"), "did you mean allow_publish_for_client?"),
            (with("subscription_type = 1"), "line 3: subscription_type is a setting of Centrifugo"),
            (with("history_ttl = \"1500ms\""), "this is not a number of whole seconds"),
            (with("allow_publish_for_client = \"yes\""), "line 3: allow_publish_for_client is"),
            (with("[[list]]\nname = \"chat\""), "line 4: \"chat\" is there twice"),
            ("[[list]]\nallow_publish_for_client = true\n".to_owned(), "has no name"),
            ("[[list]]\nname = \"a:b\"\n".to_owned(), "\"a:b\" is no name"),
            ("[[list]]\nname = \"a\"\n".to_owned(), "two characters"),
            ("[[list]]\nname = [\"a\"]\n".to_owned(), "line 2: name: this is a list"),
            ("list = [\"chat\"]\n".to_owned(), "this is a list, and the key takes"),
            ("list = [\"chat\", {}]\n".to_owned(), "a list of lists or tables"),
        ];
        for (text, expected) in cases {
            let says = read(Format::Toml, &text).unwrap_err();
            assert!(says.contains(expected), "{text}: {says}");
        }
        for text in ["chat", "{}", "[1]", "\"chat\"", "[{\"name\":\"chat\"}"] {
            assert!(Namespaces::read(&Value::Text(text.to_owned())).is_err(), "{text}");
        }
    }
}
