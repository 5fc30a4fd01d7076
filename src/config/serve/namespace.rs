//! `channel.namespaces`: what clients may do in the channels of each namespace.

use crate::config::fault::{Fault, Source};
use crate::config::format::Format;
use crate::config::key::Kind;
use crate::config::names::{is_foreign, nearest};
use crate::config::raw::Raw;
use crate::config::setting::Setting;
use crate::config::value::{Entry, Value};

use super::WithoutNamespace;

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
        let mut namespaces: Vec<Namespace> = Vec::new();
        for table in value.tables()? {
            let line = table.first().map_or(1, |entry| entry.line);
            let namespace = Namespace::read(&table)?;
            if namespaces.iter().any(|known| known.name == namespace.name) {
                return Err(format!("line {line}: {:?} is there twice", namespace.name));
            }
            namespaces.push(namespace);
        }
        Ok(Self(namespaces))
    }

    /// The default is none, and nothing else is ever written.
    fn write(&self) -> Value {
        Value::List(Vec::new())
    }
}

impl Namespace {
    fn read(table: &[Entry]) -> Result<Self, String> {
        let mut name = None;
        let mut options = Raw::new();
        for Entry { path, value, line } in table {
            if path == "name" {
                let text = value.text().map_err(|says| format!("line {line}: name: {says}"))?;
                name = Some(text.to_owned());
                continue;
            }
            let full_path = format!("{OPTIONS}{path}");
            let Some(key) = WithoutNamespace::KEYS.iter().find(|key| key.path == full_path) else {
                return Err(format!("line {line}: {}", unknown(path)));
            };
            let source = Source::File { name: String::new(), line: *line };
            options.give(key, value.clone(), source);
        }
        let name = name.ok_or("a namespace has no name")?;
        if !is_name(&name) {
            let rule = "two characters at least, of letters, digits and -_.";
            return Err(format!("{name:?} is no name of a namespace: {rule}"));
        }
        let options = options.read(WithoutNamespace::read).map_err(|faults| says(&faults[0]))?;
        Ok(Self { name, options })
    }
}

/// As Centrifugo has them: `^[-a-zA-Z0-9_.]{2,}$`.
fn is_name(name: &str) -> bool {
    let in_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    name.len() >= 2 && name.bytes().all(in_name)
}

fn unknown(path: &str) -> String {
    if is_foreign(&format!("{OPTIONS}{path}")) {
        return format!("{path} is a setting of Centrifugo that longwire does not have");
    }
    let known = WithoutNamespace::KEYS.iter().filter_map(|key| key.path.strip_prefix(OPTIONS));
    match nearest(path, known.chain(["name"])) {
        Some(meant) => format!("there is no {path}: did you mean {meant}?"),
        None => format!("there is no {path}"),
    }
}

/// A fault of one key, in the words of its namespace.
fn says(fault: &Fault) -> String {
    match fault {
        Fault::Invalid { source: Source::File { line, .. }, key, value, says } => {
            let name = key.path.strip_prefix(OPTIONS).unwrap_or(key.path);
            format!("line {line}: {name} is {value}: {says}")
        }
        other => other.to_string(),
    }
}

impl Value {
    /// The tables of a list. One text is such a list as JSON, as the environment writes it.
    fn tables(&self) -> Result<Vec<Vec<Entry>>, String> {
        match self {
            Self::Tables(tables) => Ok(tables.clone()),
            Self::List(items) if items.is_empty() => Ok(Vec::new()),
            Self::Text(text) if text.trim().is_empty() => Ok(Vec::new()),
            Self::Text(text) => {
                let wrapped = format!("{{\"list\":{text}}}");
                let entries = Format::Json.entries(&wrapped).map_err(|error| error.says)?;
                match entries.into_iter().next().map(|entry| entry.value) {
                    Some(Self::Text(_)) | None => Err("this is no list of objects".to_owned()),
                    Some(value) => value.tables(),
                }
            }
            other => Err(other.is_not("a list of tables")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
