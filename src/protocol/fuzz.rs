//! Entry points for random bytes: what must hold whatever a client sends.
//!
//! The fuzz targets and a test over their corpus call the same functions.

use serde_json::Value;
use serde_json::value::RawValue;

use super::channel::{self, Naming};
use super::{
    ClientId, ClientInfo, Command, Commands, Format, Lineage, Publication, Push, Request, fossil,
    json, protobuf, translate,
};

/// Reads `data` as a JSON frame: lines are commands, an error ends it, and what a command holds
/// can be said again.
#[doc(hidden)]
pub fn fuzz_json_commands(data: &[u8]) {
    let line_count = 1 + memchr::memchr_iter(b'\n', data).count();
    let mut commands = Commands::new(Format::Json, data);
    let mut count = 0;
    while let Some(step) = commands.next() {
        count += 1;
        assert!(count <= line_count, "more commands than lines");
        let Ok(command) = step else {
            assert!(commands.next().is_none(), "an error is the last of a frame");
            return;
        };
        let line = data.split(|byte| *byte == b'\n').nth(count - 1).expect("counted");
        assert_eq!(Command::from_json(line).as_ref(), Ok(&command), "a line stands for itself");
        say_again(&command);
    }
    assert!(count > 0, "an empty frame is an error");
}

/// Reads `data` as a frame in Protobuf: messages are commands, an error ends it, and what is
/// published can be said in JSON exactly if it is JSON.
#[doc(hidden)]
pub fn fuzz_protobuf_commands(data: &[u8]) {
    let mut commands = Commands::new(Format::Protobuf, data);
    let mut left = data.len();
    let mut has_any = false;
    while let Some(step) = commands.next() {
        has_any = true;
        let Ok(command) = step else {
            assert!(commands.next().is_none(), "an error is the last of a frame");
            return;
        };
        let frame = &data[data.len() - left..];
        left = commands.rest().map_or(0, <[u8]>::len);
        assert!(left < frame.len(), "every command takes a byte");
        let own = &frame[..frame.len() - left];
        let alone: Vec<_> = Commands::new(Format::Protobuf, own).collect();
        assert_eq!(alone, [Ok(command.clone())], "a message stands for itself");
        publish_and_translate(&command);
    }
    assert!(has_any, "an empty frame is an error");
}

/// Takes `data` for the name of a channel, and what stands before its first line feed for a user:
/// a name is put together again from what it says, and a user is in its own channels.
#[doc(hidden)]
pub fn fuzz_channel_names(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (user, name) = text.split_once('\n').unwrap_or(("", text));
    let naming = Naming::default();
    let rest = naming.rest(name);
    match naming.namespace(name) {
        Some(namespace) => {
            let prefix = if naming.is_private(name) { "$" } else { "" };
            assert_eq!(format!("{prefix}{namespace}:{rest}"), name);
            assert!(!namespace.contains(':'), "it ends at the first boundary");
        }
        None => assert_eq!(rest, name),
    }
    let is_listed = naming.is_for_user(name, user);
    assert!(!is_listed || (naming.is_user_limited(name) && !user.is_empty()));
    let is_plain = !user.is_empty() && !user.contains(['#', ',']);
    if is_plain {
        let users = name.rsplit_once('#').map_or("", |(_, users)| users);
        let is_whole = |&(at, user): &(usize, &str)| {
            let (before, behind) = (&users[..at], &users[at + user.len()..]);
            (before.is_empty() || before.ends_with(','))
                && (behind.is_empty() || behind.starts_with(','))
        };
        let is_named = users.match_indices(user).any(|found| is_whole(&found));
        assert_eq!(is_listed, is_named, "a part of a user's name is another user");
    }
    let own = naming.personal("", user);
    assert!(naming.is_user_limited(&own) && naming.is_for_user(&own, user) == is_plain);
    assert_eq!(channel::is_well_formed(name), name.bytes().all(|byte| byte < 0x80));
}

/// Takes `data` for a message of pushes in either format: whatever part of it is found can be cut
/// out, and what is given a place still has that part.
#[doc(hidden)]
pub fn fuzz_pushes(data: &[u8]) {
    for format in [Format::Json, Format::Protobuf] {
        if let Some(said) = translate(data, format) {
            assert!(translate(&said, format.other()).is_some(), "it can be said again");
        }
        let part = format.publication_part(data);
        let numbered = format.numbered(data, 1, "abcdefgh");
        assert_eq!(part.is_some(), numbered.is_some(), "a part is what takes a place");
        if let (Some(part), Some(numbered)) = (part, numbered) {
            let again = format.publication_part(&numbered).expect("it is such a message still");
            let body = &data[part.start..part.end - usize::from(format == Format::Json)];
            assert!(numbered[again].starts_with(body), "nothing is lost");
        }
    }
}

/// Takes what stands before the first zero for a base, and the rest for what follows it, and for a
/// delta: one that is made gives what it was made of, in text if that is text, and any other bytes
/// are refused or give something.
#[doc(hidden)]
pub fn fuzz_deltas(data: &[u8]) {
    let end = memchr::memchr(0, data).unwrap_or(data.len());
    let (base, rest) = data.split_at(end);
    let target = rest.strip_prefix(&[0]).unwrap_or(rest);
    if let Some(delta) = fossil::encode(base, target) {
        assert!(delta.len() < target.len(), "it is worth it");
        assert_eq!(fossil::decode(base, &delta).as_deref(), Ok(target));
        let is_text = |bytes| std::str::from_utf8(bytes).is_ok();
        assert!(is_text(&delta) || !is_text(base) || !is_text(target), "it can be a string");
    }
    if let Ok(made) = fossil::decode(base, target) {
        assert!(
            made.len() <= target.len().saturating_mul(base.len().max(1)),
            "copies and literals"
        );
    }
}

/// Publishes what a command would publish, and says it in JSON if that can be done.
fn publish_and_translate(command: &Command<'_>) {
    let Request::Publish(request) = &command.request else { return };
    let data = request.data.bytes();
    let mut out = Vec::new();
    let push = Push::Publication(Publication { data, ..Publication::default() });
    protobuf::write_push(&mut out, &request.channel, &push);
    let is_json = data.is_empty() || serde_json::from_slice::<&RawValue>(data).is_ok();
    let Some(text) = translate(&out, Format::Protobuf) else {
        assert!(!is_json, "JSON can be said in JSON");
        return;
    };
    assert!(is_json, "what is no JSON is never said to be some");
    assert!(!text.contains(&b'\n'), "one line");
    // White space around the data goes when it is read from JSON; nothing else ever changes.
    let back = translate(&text, Format::Json).expect("it was read from the other format");
    let text = translate(&back, Format::Protobuf).expect("it is JSON still");
    assert_eq!(translate(&text, Format::Json), Some(back));
}

/// Publishes what a command would publish, and lets another parser read it.
fn say_again(command: &Command<'_>) {
    let Request::Publish(request) = &command.request else { return };
    if request.data.is_empty() || request.channel.is_empty() {
        return;
    }
    let client = ClientId { random: command.id.into(), lineage: Lineage::ZERO };
    let publication = Publication {
        data: request.data.bytes(),
        info: Some(ClientInfo::of("", client)),
        ..Publication::default()
    };
    let mut out = Vec::new();
    json::write_push(&mut out, &request.channel, &Push::Publication(publication));
    assert!(!out.contains(&b'\n'), "one line");
    // Numbers out of range and deep nesting are legal and passed on, but not everyone reads them.
    if let Ok(read) = serde_json::from_slice::<Value>(&out) {
        assert_eq!(read["push"]["channel"].as_str(), Some(&*request.channel));
        let data: Value = serde_json::from_slice(request.data.bytes()).expect("it was a value");
        assert_eq!(read["push"]["pub"]["data"], data);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_corpus_of_json_commands_holds() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus/json_commands");
        let files = fs::read_dir(&corpus).expect("the corpus is committed");
        let count = files.map(|file| fuzz_json_commands(&fs::read(file.unwrap().path()).unwrap()));
        assert!(count.count() >= 10);
    }

    #[test]
    fn the_corpus_of_protobuf_commands_holds() {
        let folder = "tests/fuzz/corpus/protobuf_commands";
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        let files = fs::read_dir(&corpus).expect("the corpus is committed");
        let run = |file: std::io::Result<fs::DirEntry>| {
            fuzz_protobuf_commands(&fs::read(file.unwrap().path()).unwrap());
        };
        assert!(files.map(run).count() >= 10);
    }

    #[test]
    fn the_corpus_of_channel_names_holds() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus/channel_names");
        let files = fs::read_dir(&corpus).expect("the corpus is committed");
        let count = files.map(|file| fuzz_channel_names(&fs::read(file.unwrap().path()).unwrap()));
        assert!(count.count() >= 10);
    }

    #[test]
    fn the_corpus_of_pushes_holds() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus/pushes");
        let files = fs::read_dir(&corpus).expect("the corpus is committed");
        let count = files.map(|file| fuzz_pushes(&fs::read(file.unwrap().path()).unwrap()));
        assert!(count.count() >= 10);
    }

    #[test]
    fn the_corpus_of_deltas_holds() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus/deltas");
        let files = fs::read_dir(&corpus).expect("the corpus is committed");
        let count = files.map(|file| fuzz_deltas(&fs::read(file.unwrap().path()).unwrap()));
        assert!(count.count() >= 8);
    }

    proptest! {
        #[test]
        fn random_pairs_hold(text in "[ab]{0,60}\u{0}[ab]{0,60}", more in "\\PC{0,40}") {
            fuzz_deltas(text.as_bytes());
            fuzz_deltas(format!("{more}{more}\u{0}{more}ab{more}").as_bytes());
        }

        #[test]
        fn names_hold(text in "([a#,]{0,3}\n)?[$]?[a:#,$é]{0,9}", any in ".{0,20}") {
            fuzz_channel_names(text.as_bytes());
            fuzz_channel_names(any.as_bytes());
        }

        #[test]
        fn random_bytes_hold_as_pushes(data in proptest::collection::vec(any::<u8>(), 0..60)) {
            fuzz_pushes(&data);
        }

        #[test]
        fn almost_pushes_hold(
            head in r#"\{"push":\{("channel":"[a"\\]{0,3}",)?"#, body in r#"[{}":,a1\n]{0,9}"#,
            tail in "[}\n]{0,3}",
        ) {
            fuzz_pushes(format!("{head}\"pub\":{{{body}{tail}").as_bytes());
        }

        #[test]
        fn random_bytes_hold_in_protobuf(data in proptest::collection::vec(any::<u8>(), 0..200)) {
            fuzz_protobuf_commands(&data);
        }

        #[test]
        fn publishes_of_random_data_hold(
            data in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..100),
                r#"[0-9e.{}\[\]"\\n ]{0,8}"#.prop_map(String::into_bytes),
            ],
            cut in any::<prop::sample::Index>(),
        ) {
            // Lengths below 128 are one byte each.
            let length = |bytes: usize| u8::try_from(bytes).expect("short");
            let mut request = vec![0x0a, 1, b'a', 0x12, length(data.len())];
            request.extend(&data);
            let head = [length(request.len() + 4), 8, 1, 0x3a, length(request.len())];
            let frame = [&head[..], &request[..]].concat();
            fuzz_protobuf_commands(&frame);
            fuzz_protobuf_commands(&frame[..cut.index(frame.len())]);
        }

        #[test]
        fn random_bytes_hold(data in proptest::collection::vec(any::<u8>(), 0..200)) {
            fuzz_json_commands(&data);
        }

        #[test]
        fn random_frames_hold(lines in proptest::collection::vec(line(), 0..6)) {
            fuzz_json_commands(lines.join("\n").as_bytes());
        }
    }

    /// Something like a command, with one byte of it changed now and then.
    fn line() -> impl Strategy<Value = String> {
        let request = prop_oneof![
            Just(r#""connect":{"name":"js"}"#.to_owned()),
            ".{0,4}".prop_map(|name| format!(r#""subscribe":{{"channel":"{name}"}}"#)),
            ("[a-c]", r#"[0-9e.{}\[\]"\\n ]{0,6}"#).prop_map(|(name, data)| format!(
                r#""publish":{{"channel":"{name}","data":{data}}}"#
            )),
            Just(r#""send":{}"#.to_owned()),
        ];
        (any::<u8>(), request).prop_map(|(id, request)| format!(r#"{{"id":{id},{request}}}"#))
    }
}
