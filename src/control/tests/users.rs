//! Commands for users, as a back end gives them and the shards hear them.

use super::{settings, stage};
use crate::protocol::{Selection, UserAction, UserCommand};

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
        assert_eq!((told.as_str(), UserCommand::decode(&word)), (user, Some(command)), "{body}");
    }
}

#[tokio::test]
async fn a_command_for_users_may_be_refused() {
    let mut stage = stage(settings());
    let long = format!(r#"{{"user":"{}"}}"#, "u".repeat(256));
    for (body, code) in [
        ("{}", 107),
        (&*long, 107),
        (r#"{"user":"a","disconnect":{}}"#, 107),
        (r#"{"user":"a","disconnect":{"code":3000}}"#, 107),
        (r#"{"user":"a","disconnect":{"code":68536}}"#, 107),
    ] {
        let answer = stage.post("/api/disconnect", "", body).await;
        let error: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(error["error"]["code"], code, "{body}: {error}");
        assert!(stage.told.try_recv().is_err(), "{body}");
    }
    let answer = stage.post("/api/disconnect", "", r#"{"user":"full"}"#).await;
    assert!(answer.body.contains(r#""code":100"#), "{}", answer.body);
}
