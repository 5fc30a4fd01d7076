//! Entry points for random bytes: what must hold whatever a client sends.
//!
//! The fuzz targets and a test over their corpus call the same functions.

use serde_json::Value;

use super::{ClientId, ClientInfo, Command, Commands, Lineage, Publication, Push, Request, json};

/// Reads `data` as a JSON frame: lines are commands, an error ends it, and what a command holds
/// can be said again.
#[doc(hidden)]
pub fn fuzz_json_commands(data: &[u8]) {
    let line_count = 1 + memchr::memchr_iter(b'\n', data).count();
    let mut commands = Commands::json(data);
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

    proptest! {
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
