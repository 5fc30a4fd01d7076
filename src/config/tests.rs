//! The table of keys as a whole: every rule for every key.

use std::collections::BTreeSet;

use super::*;

/// The configuration that one flag makes.
pub(super) fn with_flag(path: &str, value: &str) -> Serve {
    let key = keys().find(|key| key.path == path).expect("a key");
    with(&[(LAYERS[2], key, value)])
}

/// The public half of a key that was made for these tests and thrown away.
const RSA_KEY: &str = "-----BEGIN PUBLIC KEY----- \
    MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAtbrGmvNgIGekn3bPK8A1 \
    CBUgFTSAIXG+31grBwhUgR+2k52ybW6B+Nw9wSn7LzLOso7EHO8dniQGCRPR9ozz \
    KAbUc6b6CSZ6Yk6BglgmiOZwyutWfrbYNndRZPVb9NDMruSr5WOgBrrlfhzzfdRs \
    OzFpyqUyOtdhJCTKhYCAFCnbreP+DmRnLyV7ROxG0eSjsih3VaI4IpChCLQa2Yc/ \
    PepMw2BpWHhZJ8v9mv4ZrA98HCiKkeb6aOmN6/E28+XbQM5RSRf8BbSpLfjd0wh6 \
    tjOTppCBwx891TD4p7ln4X0x//CNAwuahc214i/oPPK5z1G0IyWL2NxHPm59Dvj1 \
    mQIDAQAB \
    -----END PUBLIC KEY-----";

/// The public half of a key that was made for these tests and thrown away.
const ECDSA_KEY: &str = "-----BEGIN PUBLIC KEY----- \
    MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAELSIJ5miseiNPjs6TXVKUGD9nvm99 \
    7n8ob8z3tztcJ4vTbfPbdLUvWRRuH8XxIiKG4sTj7NZdOZugMwidxr6j9A== \
    -----END PUBLIC KEY-----";

/// A value of a key that is valid and not its default.
pub(super) fn other(key: &Key) -> String {
    let value = match (key.kind, key.path) {
        (Kind::Switch, _) => "true",
        (Kind::Time | Kind::Period, "client.pong_timeout") => "7s",
        (Kind::Time | Kind::Period, _) => "59s",
        (Kind::Bytes, "channel.max_length") | (Kind::Count | Kind::Auto | Kind::Port, _) => "77",
        (Kind::Bytes, _) => "128KiB",
        (Kind::Word(words), _) => words[1],
        (Kind::Secret, _) => "hush",
        (Kind::List(_), "listen") => "127.0.0.1:77",
        (Kind::List(_), "trusted_proxies") => "10.0.0.0/8",
        (Kind::List(_), "channel.without_namespace.allowed_delta_types") => "fossil",
        (Kind::List(_), "events.types") => "unsubscribe",
        (Kind::List(_) | Kind::Text(_), "client.allowed_origins") => "https://a.b",
        (_, "channel.without_namespace.channel_regex") => "^a",
        (_, path) if path.ends_with("_namespace") => "chat",
        (_, "channel.private_prefix") => "!",
        (_, "channel.namespace_boundary") => "/",
        (_, "channel.user_boundary") => "@",
        (_, "channel.user_separator") => ";",
        (_, path) if path.ends_with("_transforms") => {
            r#"[{"status_code":404,"to_error":{"code":404}}]"#
        }
        (_, "proxies") => r#"[{"name":"other","endpoint":"http://a"}]"#,
        (_, path) if path.ends_with(".endpoint") => "http://127.0.0.1:77/",
        (_, path) if path.ends_with(".static_headers") => "X-Key:other",
        (_, path) if path.ends_with("_headers") => "X-Other",
        (_, path) if path.ends_with("proxy_name") => "other",
        (_, "rpc.namespace_boundary") => "/",
        (Kind::Tables(_), _) => r#"[{"name":"chat"}]"#,
        (_, "http_server.address" | "http_server.internal_address") => "192.0.2.1",
        (_, path) if path.ends_with(".handler_prefix") => "/other",
        (_, "client.user_id_http_header") => "X-User",
        (_, "log.level") => "debug",
        (_, path) if path.ends_with("_file") => "/run/secret",
        (_, path) if path.ends_with("token.rsa_public_key") => RSA_KEY,
        (_, path) if path.ends_with("token.ecdsa_public_key") => ECDSA_KEY,
        (_, path) if path.ends_with("token.jwks_public_endpoint") => "https://a.b/keys",
        (_, path) if path.contains("token.") => "other",
        (kind, path) => panic!("no value for {path}: {kind:?}"),
    };
    value.to_owned()
}

fn default_text(key: &Key) -> String {
    match (key.default)() {
        Value::Text(text) => text,
        Value::List(items) => items.join(" "),
        other => panic!("{other:?}"),
    }
}

fn toml_line(key: &Key, value: &str) -> String {
    format!("{} = {value:?}\n", key.path)
}

type Lay = fn(&mut Raw, &'static Key, &str);

/// The layers, the weakest first.
const LAYERS: [Lay; 3] = [
    |raw, key, value| raw.lay_file("c.toml", Format::Toml, &toml_line(key, value)),
    |raw, key, value| raw.lay_environment([(key.variable(), value.to_owned())]),
    |raw, key, value| raw.lay_flag(key, vec![value.to_owned()]),
];

fn with(lays: &[(Lay, &'static Key, &str)]) -> Serve {
    let mut raw = Raw::new();
    for (lay, key, value) in lays {
        lay(&mut raw, key, value);
    }
    Serve::new(raw).unwrap_or_else(|faults| panic!("{}", faults[0]))
}

#[test]
fn every_key_reaches_the_configuration_from_every_layer() {
    for key in keys() {
        let seen: Vec<Serve> = LAYERS.iter().map(|lay| with(&[(*lay, key, &other(key))])).collect();
        for serve in &seen {
            assert_ne!(*serve, Serve::default(), "{} has no effect", key.path);
            assert_eq!(*serve, seen[0], "{}", key.path);
        }
    }
}

#[test]
fn flags_are_stronger_than_the_environment_and_that_than_files() {
    for key in keys() {
        for (weak, strong) in [(0, 1), (0, 2), (1, 2)] {
            let weak_lay = (LAYERS[weak], key, other(key));
            let strong_lay = (LAYERS[strong], key, default_text(key));
            let expected = with(&[(LAYERS[strong], key, &default_text(key))]);
            let lays = [
                (weak_lay.0, key, weak_lay.2.as_str()),
                (strong_lay.0, key, strong_lay.2.as_str()),
            ];
            assert_eq!(with(&lays), expected, "{} from layers {weak}, {strong}", key.path);
            let reversed = [lays[1], lays[0]];
            assert_eq!(with(&reversed), expected, "{} in the other order", key.path);
        }
    }
}

#[test]
fn every_default_and_both_ends_of_every_range_are_valid() {
    for key in keys() {
        assert_eq!(with(&[(LAYERS[2], key, &default_text(key))]), Serve::default(), "{}", key.path);
        let Some((low, high)) = key.range else { continue };
        for amount in [low, high] {
            let text = key.kind.amount(amount);
            let mut raw = Raw::new();
            raw.lay_flag(key, vec![text.clone()]);
            if let Err(faults) = Serve::new(raw) {
                // The ends of two ranges may contradict each other.
                assert!(matches!(faults[0], Fault::Contradiction { .. }), "{}", faults[0]);
            }
        }
    }
}

#[test]
fn a_value_beyond_either_end_of_a_range_is_refused() {
    for key in keys() {
        let Some((low, high)) = key.range else { continue };
        for amount in [low.checked_sub(1), high.checked_add(1)].into_iter().flatten() {
            let mut raw = Raw::new();
            raw.lay_flag(key, vec![key.kind.amount(amount)]);
            let faults = Serve::new(raw).unwrap_err();
            let is_named = matches!(&faults[0], Fault::Invalid { key: named, .. }
                if named.path == key.path);
            assert!(is_named, "{}: {}", key.path, faults[0]);
        }
    }
}

#[test]
fn no_two_keys_share_a_variable_or_a_flag() {
    let variables: BTreeSet<String> = keys().map(Key::variable).collect();
    let flags: BTreeSet<String> = keys().map(Key::flag).collect();
    assert_eq!(variables.len(), keys().count());
    assert_eq!(flags.len(), keys().count());
}

#[test]
fn variables_and_flags_are_the_path_in_their_spelling() {
    let key = keys().find(|key| key.path == "channel.without_namespace.allow_publish_for_client");
    let key = key.unwrap();
    assert_eq!(key.variable(), "LONGWIRE_CHANNEL_WITHOUT_NAMESPACE_ALLOW_PUBLISH_FOR_CLIENT");
    assert_eq!(key.flag(), "channel-without-namespace-allow-publish-for-client");
}

#[test]
fn every_key_says_what_it_means_in_a_sentence() {
    for key in keys() {
        let meaning = key.meaning();
        assert!(meaning.ends_with('.') && meaning.len() > 20, "{}: {meaning}", key.path);
        assert!(!key.allowed().is_empty(), "{}", key.path);
    }
}

#[test]
fn every_secret_has_a_file_and_is_not_shown() {
    for key in keys().filter(|key| key.is_secret()) {
        let file = format!("{}_file", key.path);
        let file = keys().find(|key| key.path == file).expect("a key for its file");
        let mut raw = Raw::new();
        raw.lay_flag(file, vec!["/run/secret".to_owned()]);
        raw.open_secrets(|path| Ok(format!("from {path}\n")));
        let shown = format!("{:?}", Serve::new(raw).unwrap());
        assert!(shown.contains("Secret(hidden)") && !shown.contains("from /run"), "{shown}");
        let mut raw = Raw::new();
        raw.lay_flag(key, vec![" hush hush ".to_owned()]);
        let fault = Serve::new(raw).unwrap_err()[0].to_string();
        assert!(fault.contains("(hidden)") && !fault.contains("hush"), "{fault}");
    }
}

#[test]
fn a_secret_is_read_from_the_file_that_is_named() {
    let file = keys().find(|key| key.path == "http_api.key_file").unwrap();
    let mut raw = Raw::new();
    raw.lay_flag(file, vec!["/run/secret".to_owned()]);
    raw.open_secrets(|path| {
        assert_eq!(path, "/run/secret");
        Ok("hush\n".to_owned())
    });
    assert_eq!(Serve::new(raw).unwrap().http_api.key.reveal(), Some("hush"));
    for text in ["", "\n", "two\nlines\n"] {
        let mut raw = Raw::new();
        raw.lay_flag(file, vec!["/run/secret".to_owned()]);
        raw.open_secrets(|_| Ok(text.to_owned()));
        let faults = Serve::new(raw).unwrap_err();
        assert!(matches!(faults[0], Fault::SecretFile { .. }), "{}", faults[0]);
    }
}

#[test]
fn a_secret_and_its_file_from_one_source_are_one_too_many() {
    let mut raw = Raw::new();
    let text = "[http_api]\nkey = \"a\"\nkey_file = \"/b\"\n";
    raw.lay_file("c.toml", Format::Toml, text);
    raw.open_secrets(|_| Ok("b".to_owned()));
    let faults = Serve::new(raw).unwrap_err();
    assert!(matches!(faults[0], Fault::Twice { .. }), "{}", faults[0]);
}

#[test]
fn an_unknown_variable_is_told_with_the_one_that_was_meant() {
    let mut raw = Raw::new();
    let variable = |name: &str| (name.to_owned(), "1".to_owned());
    raw.lay_environment([
        variable("LONGWIRE_CLIENT_PING_INTERVAL_"),
        variable("LONGWIRE_SERVICE_PORT"),
        variable("LONGWIRE_PORT_8000_TCP"),
        variable("PATH"),
    ]);
    let faults = Serve::new(raw).unwrap_err();
    assert_eq!(faults.len(), 1);
    assert!(faults[0].to_string().ends_with("did you mean LONGWIRE_CLIENT_PING_INTERVAL?"));
}

#[test]
fn all_faults_are_told_at_once_and_an_unknown_table_once() {
    let text =
        "shard = 1\n[clinet]\na = 1\nb = 2\n[clinet.c]\nd = 3\n[client]\nping_interval = 5\n";
    let mut raw = Raw::new();
    raw.lay_file("c.toml", Format::Toml, text);
    let faults = Serve::new(raw).unwrap_err();
    let lines: Vec<String> = faults.iter().map(ToString::to_string).collect();
    assert_eq!(faults.len(), 3, "{lines:?}");
    for (line, starts) in lines.iter().zip(["c.toml:1: ", "c.toml:2: ", "c.toml:8: "]) {
        assert!(line.starts_with(starts), "{line}");
    }
}

#[test]
fn several_flags_make_a_list_as_white_space_does() {
    let listen = keys().find(|key| key.path == "listen").unwrap();
    let mut raw = Raw::new();
    raw.lay_flag(listen, vec!["127.0.0.1:1".to_owned(), "[::1]:1".to_owned()]);
    let by_flags = Serve::new(raw).unwrap();
    let mut raw = Raw::new();
    raw.lay_environment([("LONGWIRE_LISTEN".to_owned(), "127.0.0.1:1  [::1]:1".to_owned())]);
    assert_eq!(Serve::new(raw).unwrap(), by_flags);
    assert_eq!(by_flags.listens().len(), 2);
}

#[test]
fn the_smaller_limit_of_connections_holds() {
    let read = |text: &str| {
        let mut raw = Raw::new();
        raw.lay_file("c.toml", Format::Toml, text);
        Serve::new(raw).unwrap().connections_max()
    };
    assert_eq!(read(""), None);
    assert_eq!(read("max_connections = 5"), Some(5));
    assert_eq!(read("client.connection_limit = 7"), Some(7));
    assert_eq!(read("max_connections = 5\nclient.connection_limit = 7"), Some(5));
    assert_eq!(read("max_connections = 9\nclient.connection_limit = 7"), Some(7));
}
