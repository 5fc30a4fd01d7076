//! Subscriptions that expire, where a back end says whether they go on.
//!
//! Setup: a server on two shards, whose back end lets clients into a channel until the moment
//! itself, and answers what becomes of it then. Claims: it is asked by the server, and no client
//! does anything; a subscription goes on with what others are shown of it from then on, wherever
//! the channel's home is; and one that does not go on ends.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use longwire::session::{ChannelHooks, ChannelOptions, Hooks, Rules};
use serde_json::json;

#[path = "support/backend.rs"]
mod backend;
#[path = "support/hooked.rs"]
mod hooked;
#[path = "support/session.rs"]
mod session;

use backend::{Asked, BackEnd, Reply};
use hooked::{proxy, serve_by};
use session::{Client, PATIENCE, config};

fn decide(asked: &Asked) -> Reply {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs();
    let result = match (asked.path.as_str(), asked.body["channel"].as_str()) {
        ("/gate", _) => json!({"expire_at": now + 1, "info": {"n": 1}}),
        (_, Some("over")) => json!({"expired": true}),
        _ => json!({"expire_at": now + 1000, "info": {"n": 2}}),
    };
    Reply::json(&json!({"result": result}))
}

fn hook(name: &str) -> ChannelHooks {
    let mut hook = ChannelHooks::default();
    hook.set(None, name.to_owned());
    hook
}

#[test]
fn a_subscription_goes_on_as_the_back_end_says_or_ends() {
    let backend = BackEnd::start(decide);
    let hooks = Hooks { subscribe: hook("gate"), sub_refresh: hook("stay"), ..Hooks::default() };
    let without_namespace = ChannelOptions {
        presence: true,
        allow_presence_for_subscriber: true,
        allow_presence_for_anonymous: true,
        ..ChannelOptions::default()
    };
    let rules = Rules {
        hooks,
        without_namespace,
        allow_anonymous_connect_without_token: true,
        ..Rules::default()
    };
    let proxies = ["gate", "stay"].map(|name| {
        let url = backend.url(&format!("/{name}"));
        (name, proxy(url, PATIENCE.min(Duration::from_mins(1))))
    });
    let (server, _) = serve_by(config(2), rules, proxies.into());
    let mut client = Client::connect(server.address());
    // Homes on both shards.
    let channels = ["a", "b", "c", "d", "e"];
    for channel in channels {
        let reply = client.ask(&format!(r#""subscribe":{{"channel":"{channel}"}}"#));
        assert_eq!(reply["subscribe"], json!({}), "it need not bring anything: {reply}");
        assert_eq!(backend.asked().path, "/gate");
    }
    for _ in channels {
        let asked = backend.asked();
        assert_eq!((&*asked.path, &asked.body["user"]), ("/stay", &json!("")));
    }
    for channel in channels {
        // The answer of the back end is on its way, or is here.
        let mut shown = || {
            let reply = client.ask(&format!(r#""presence":{{"channel":"{channel}"}}"#));
            let clients = reply["presence"]["presence"].as_object().cloned();
            clients.and_then(|all| all.values().next().map(|one| one["chan_info"].clone()))
        };
        let is_new = (0..10_000).any(|_| shown() == Some(json!({"n": 2})));
        assert!(is_new, "{channel} is shown as before");
    }
    client.subscribe("over");
    let push = client.line();
    assert_eq!(push["push"]["unsubscribe"]["code"], json!(2501), "{push}");
    assert_eq!(server.join().counters.consults_unanswered, 0);
}
