//! Keys that have another place here: what a back end is sent and answers over HTTP, which
//! Centrifugo keeps in `http`, and longwire with the other keys of the back end.

use super::note::{Note, Reason};
use crate::config::value::{Entry, Value};

/// The sections of back ends.
const PROXIES: [&str; 6] = [
    "client.proxy.connect.",
    "client.proxy.refresh.",
    "channel.proxy.subscribe.",
    "channel.proxy.publish.",
    "channel.proxy.sub_refresh.",
    "rpc.proxy.",
];

/// The list of tables of such keys.
const LIST: &str = "proxies";

/// The entries of a file, those of back ends at longwire's places, and what is said of these.
pub(super) fn moved(mut entries: Vec<Entry>) -> (Vec<Entry>, Vec<Note>) {
    let mut notes = Vec::new();
    for entry in &mut entries {
        let Value::Tables(tables) = &mut entry.value else { continue };
        if entry.path != LIST {
            continue;
        }
        for (index, table) in tables.iter_mut().enumerate() {
            let name = table.iter().find(|option| option.path == "name");
            let name = match name.map(|option| &option.value) {
                Some(Value::Text(name)) => name.clone(),
                _ => index.to_string(),
            };
            move_one(table, "", &format!("{LIST}.{name}."), &mut notes);
        }
    }
    for section in PROXIES {
        move_one(&mut entries, section, "", &mut notes);
    }
    (entries, notes)
}

/// Moves the keys of one back end. `within` is what stands before their paths in notes.
fn move_one(entries: &mut Vec<Entry>, section: &str, within: &str, notes: &mut Vec<Note>) {
    let transforms = format!("{section}http.status_to_code_transforms");
    let headers = format!("{section}http.static_headers.");
    let mut note = |entry: &Entry, to: String| {
        let path = format!("{within}{}", entry.path);
        notes.push(Note { path, line: entry.line, reason: Reason::Moved(to) });
    };
    let mut place = None;
    let mut list = Vec::new();
    let mut left = Vec::new();
    for entry in entries.drain(..) {
        let name = entry.path.strip_prefix(&headers);
        if let (Some(name), Value::Text(value)) = (name, &entry.value) {
            note(&entry, format!("{within}{section}static_headers"));
            list.push(format!("{name}: {value}"));
            place.get_or_insert((left.len(), entry.line));
        } else if entry.path == transforms {
            let path = format!("{section}status_to_code_transforms");
            note(&entry, format!("{within}{path}"));
            left.push(Entry { path, ..entry });
        } else {
            left.push(entry);
        }
    }
    if let Some((index, line)) = place {
        let path = format!("{section}static_headers");
        left.insert(index, Entry { path, value: Value::List(list), line });
    }
    *entries = left;
}
