//! Commands for users, as a back end gives them and the shards hear them.

use super::{settings, stage};
use crate::protocol::{OptionsForUser, Selection, UserAction, UserCommand, UserSubscription};

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
        assert_eq!((told.as_str(), decoded(&word)), (user, format!("{command:?}")), "{body}");
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
    assert_eq!(told, "ann");
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
    ] {
        let answer = stage.post(&format!("/api/{method}"), "", body).await;
        let error: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(error["error"]["code"], code, "{body}: {error}");
        assert!(stage.told.try_recv().is_err(), "{body}");
    }
    let answer = stage.post("/api/disconnect", "", r#"{"user":"full"}"#).await;
    assert!(answer.body.contains(r#""code":100"#), "{}", answer.body);
}
