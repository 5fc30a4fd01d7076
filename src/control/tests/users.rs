//! Commands for users, as a back end gives them and the shards hear them.

use super::scrape::fetch;
use super::{settings, stage};
use crate::control::{Audience, Settings};
use crate::limits::{REVOCATIONS_MAX, USER_COMMAND_BYTES_MAX};
use crate::protocol::{OptionsForUser, Selection, Term, UserAction, UserCommand, UserSubscription};
use crate::sys::clock;

fn disconnect(code: u16, reason: &str) -> UserAction {
    UserAction::Disconnect { code, reason: reason.to_owned() }
}

#[tokio::test]
async fn a_disconnect_says_whose_which_and_why() {
    let mut stage = stage(settings());
    let all = Selection::default();
    let some =
        Selection { client: "c".to_owned(), session: "s".to_owned(), spared: vec!["w".to_owned()] };
    for (body, user, clients, action) in [
        (r#"{"user":"ann"}"#, "ann", &all, disconnect(3503, "force disconnect")),
        (
            r#"{"user":"","client":"c","session":"s","whitelist":["w"],"more":1}"#,
            "",
            &some,
            disconnect(3503, "force disconnect"),
        ),
        (
            r#"{"user":"ann","disconnect":{"code":4100,"reason":"out"}}"#,
            "ann",
            &all,
            disconnect(4100, "out"),
        ),
        (
            r#"{"user":"ann","disconnect":{"code":3013}}"#,
            "ann",
            &all,
            disconnect(3013, "too many requests"),
        ),
    ] {
        let answer = stage.post("/api/disconnect", "", body).await;
        assert_eq!((answer.status, &*answer.body), (200, r#"{"result":{}}"#), "{body}");
        let (told, word) = stage.told.try_recv().expect("the shards hear of it");
        let command = UserCommand { clients: clients.clone(), action };
        assert_eq!(
            (told, decoded(&word)),
            (Audience::User(user.to_owned()), format!("{command:?}")),
            "{body}"
        );
    }
}

/// A command in words, as JSON within it can only be compared so.
fn decoded(word: &[u8]) -> String {
    format!("{:?}", UserCommand::decode(word).expect("a command"))
}

/// What the shards hear of a command for `ann`.
async fn heard(stage: &mut super::Stage, method: &str, body: &str) -> String {
    let answer = stage.post(&format!("/api/{method}"), "", body).await;
    assert_eq!((answer.status, &*answer.body), (200, r#"{"result":{}}"#), "{body}");
    let (told, word) = stage.told.try_recv().expect("the shards hear of it");
    assert_eq!(told, Audience::User("ann".to_owned()));
    decoded(&word)
}

fn for_all(action: UserAction) -> String {
    format!("{:?}", UserCommand { clients: Selection::default(), action })
}

#[tokio::test]
async fn a_subscription_is_heard_with_all_that_is_said_of_it() {
    let mut stage = stage(settings());
    let json = |text: &str| serde_json::value::RawValue::from_string(text.to_owned()).ok();
    let plain = UserSubscription { channel: "a".to_owned(), ..UserSubscription::default() };
    let options = OptionsForUser {
        presence: Some(false),
        force_recovery: Some(true),
        ..OptionsForUser::default()
    };
    let full = UserSubscription {
        info: json(r#"{"i": 1}"#),
        data: json("[1]"),
        since: Some((7, "abcdefgh".to_owned())),
        expires_s: 99,
        options,
        ..plain.clone()
    };
    for (body, subscription) in [
        (r#"{"user":"ann","channel":"a","info":null}"#, plain),
        (
            r#"{"user":"ann","channel":"a","info":{"i": 1},"b64data":"WzFd",
            "expire_at":99,"recover_since":
            {"offset":7,"epoch":"abcdefgh"},"override":{"presence":{"value":false},
            "force_recovery":{"value":true}}}"#,
            full,
        ),
    ] {
        let subscribe = for_all(UserAction::Subscribe(Box::new(subscription)));
        assert_eq!(heard(&mut stage, "subscribe", body).await, subscribe);
    }
    let out = for_all(UserAction::Unsubscribe { channel: "a".to_owned() });
    let body = r#"{"user":"ann","channel":"a"}"#;
    assert_eq!(heard(&mut stage, "unsubscribe", body).await, out);
    let refresh = UserAction::Refresh { expired: true, expires_s: 9, info: json("{}") };
    let body = r#"{"user":"ann","expired":true,"expire_at":9,"info":{}}"#;
    assert_eq!(heard(&mut stage, "refresh", body).await, for_all(refresh));
}

#[tokio::test]
async fn a_command_for_users_may_be_refused() {
    let mut stage = stage(settings());
    let long = format!(r#"{{"user":"{}"}}"#, "u".repeat(256));
    for (method, body, code) in [
        ("disconnect", "{}", 107),
        ("disconnect", &*long, 107),
        ("disconnect", r#"{"user":"a","disconnect":{}}"#, 107),
        ("disconnect", r#"{"user":"a","disconnect":{"code":3000}}"#, 107),
        ("disconnect", r#"{"user":"a","disconnect":{"code":68536}}"#, 107),
        ("subscribe", r#"{"channel":"a"}"#, 107),
        ("subscribe", r#"{"user":"a"}"#, 107),
        ("subscribe", r#"{"user":"a","channel":"ns:a"}"#, 102),
        ("subscribe", r#"{"user":"a","channel":"a","b64info":"bm8="}"#, 107),
        ("subscribe", r#"{"user":"a","channel":"a","expire_at":-1}"#, 107),
        ("unsubscribe", r#"{"user":"a"}"#, 107),
        ("unsubscribe", r#"{"user":"a","channel":"ns:a"}"#, 102),
        ("refresh", "{}", 107),
        ("refresh", r#"{"user":"a","expire_at":-1}"#, 107),
        ("revoke_token", "{}", 107),
        ("revoke_token", &*long.replace("user", "uid"), 107),
        ("revoke_token", r#"{"uid":"t","expire_at":1}"#, 107),
        ("revoke_token", r#"{"uid":"t","expire_at":-1}"#, 107),
        ("invalidate_user_tokens", "{}", 107),
        ("invalidate_user_tokens", &*long, 107),
        ("invalidate_user_tokens", r#"{"user":"a","issued_before":-1}"#, 107),
        ("invalidate_user_tokens", r#"{"user":"a","expire_at":1}"#, 107),
        ("invalidate_user_tokens", r#"{"user":"a","channel":"ns:a"}"#, 102),
    ] {
        let answer = stage.post(&format!("/api/{method}"), "", body).await;
        let error: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(error["error"]["code"], code, "{body}: {error}");
        assert!(stage.told.try_recv().is_err(), "{body}");
    }
    let data = "x".repeat(USER_COMMAND_BYTES_MAX);
    let body = format!(r#"{{"user":"a","channel":"a","data":"{data}"}}"#);
    let answer = stage.post("/api/subscribe", "", &body).await;
    assert!(answer.body.contains(r#""code":107"#) && stage.told.try_recv().is_err());
    for user in ["full", "failing"] {
        let body = format!(r#"{{"user":"{user}"}}"#);
        let answer = stage.post("/api/disconnect", "", &body).await;
        assert!(answer.body.contains(r#""code":100"#), "{user}: {}", answer.body);
    }
}

#[tokio::test]
async fn who_bears_a_revoked_token_hears_of_it_and_a_user_of_its_own() {
    let mut stage = stage(settings());
    let before = clock::since_epoch().as_secs();
    let answer = stage.post("/api/revoke_token", "", r#"{"uid":"t","expire_at":9999999999}"#).await;
    assert_eq!(answer.body, r#"{"result":{}}"#);
    let (told, word) = stage.told.try_recv().expect("the shards hear of it");
    let Some(UserAction::RevokeToken { id, term: Term { since_s, until_s } }) =
        UserCommand::decode(&word).map(|command| command.action)
    else {
        panic!("{told:?}")
    };
    let bearers = Audience::Bearers("t".to_owned());
    assert_eq!((told, &*id, until_s), (bearers, "t", 9_999_999_999));
    assert!((before..=clock::since_epoch().as_secs()).contains(&since_s));
    for (fields, channel_is, issued) in
        [("", "", None), (r#","channel":"a","issued_before":7"#, "a", Some(7))]
    {
        let body = format!(r#"{{"user":"ann"{fields}}}"#);
        let answer = stage.post("/api/invalidate_user_tokens", "", &body).await;
        assert_eq!(answer.body, r#"{"result":{}}"#);
        let (told, word) = stage.told.try_recv().expect("the shards hear of it");
        let Some(UserAction::RevokeTokens { channel, issued_before_s, term }) =
            UserCommand::decode(&word).map(|command| command.action)
        else {
            panic!("{told:?}")
        };
        assert_eq!((told, &*channel), (Audience::User("ann".to_owned()), channel_is));
        assert_eq!((issued_before_s, term.until_s), (issued.unwrap_or(term.since_s), 0));
    }
}

#[tokio::test]
async fn one_revocation_too_many_is_refused_and_no_shard_hears_of_it() {
    let internal_listen = Some("127.0.0.1:0".parse().expect("an address"));
    let mut stage = stage(Settings { internal_listen, ..settings() });
    let revoke = |number: usize| format!(r#"{{"revoke_token":{{"uid":"{number}"}}}}"#);
    let numbers: Vec<usize> = (0..REVOCATIONS_MAX).collect();
    for some in numbers.chunks(1000) {
        let commands: Vec<String> = some.iter().map(|number| revoke(*number)).collect();
        let body = format!(r#"{{"commands":[{}]}}"#, commands.join(","));
        let answer = stage.post("/api/batch", "", &body).await;
        assert!(!answer.body.contains("error"), "{}", answer.body);
    }
    while stage.told.try_recv().is_ok() {}
    for (method, body) in
        [("revoke_token", r#"{"uid":"one more"}"#), ("invalidate_user_tokens", r#"{"user":"ann"}"#)]
    {
        let answer = stage.post(&format!("/api/{method}"), "", body).await;
        assert!(answer.body.contains(r#""code":100"#), "{}", answer.body);
        assert!(stage.told.try_recv().is_err());
    }
    let again = stage.post("/api/revoke_token", "", r#"{"uid":"7"}"#).await;
    assert_eq!(again.body, r#"{"result":{}}"#, "it is there already");
    let (_, metrics) = fetch(&stage, "/metrics").await;
    assert!(metrics.contains("longwire_api_revocations_refused_total 2\n"), "{metrics}");
    assert!(metrics.contains("longwire_api_revocations 16384\n"), "{metrics}");
}
