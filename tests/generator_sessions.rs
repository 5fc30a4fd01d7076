//! The load generator over the client protocol, against servers of this crate.
//!
//! Setup: a server with two shards in this process, and a generator on one thread or on four, which
//! have to agree on what was published. Claims: every scenario comes to a run without fault and
//! with the counts that were asked for; what a server leaves out, refuses or ends is a fault of its
//! own class. A fault that went unseen here would be a number that nobody may trust.

use longwire::bench::session::{
    Scenario, SessionArgs, SessionPlan, Summary, measure, measure_in_tables,
};
use longwire::protocol::Format;
use longwire::session::{ChannelOptions, Retention, Rules};
use longwire::token::{HmacKey, TokenRules};
use longwire::{Running, SessionSettings};
use session::{config, serve, settings};
use std::time::Duration;

#[path = "support/session.rs"]
mod session;

const SESSIONS: u32 = 60;

fn server(rules: Rules) -> Running {
    serve(config(2), &SessionSettings { rules, ..settings() })
}

fn open() -> Rules {
    Rules { insecure: true, ..Rules::default() }
}

/// Channels keep what is published, and their members recover it.
fn keeping() -> Rules {
    let history = Some(Retention { publications_max: 100, ttl_s: 600, meta_ttl_s: 600 });
    let options = ChannelOptions { history, force_recovery: true, ..ChannelOptions::default() };
    Rules { without_namespace: options, ..open() }
}

fn plan(server: &Running, scenario: Scenario, change: impl Fn(&mut SessionArgs)) -> SessionPlan {
    let mut args = SessionArgs {
        scenario,
        target: server.address(),
        path: "/connection/websocket".into(),
        format: Format::Json,
        connections: SESSIONS,
        channels: 6,
        channel_prefix: "bench-".into(),
        rate: None,
        seconds: 1,
        size: 80,
        publishers: 2,
        publish_rate: None,
        churn_rate: None,
        missed: 0,
        publications: None,
        bare: false,
        echo_connections: 0,
        echo_rate: None,
        echo_seconds: 1,
        hmac_key: None,
        server_pid: Some(std::process::id()),
        server_metrics: None,
        cpu: None,
        alpha: 1.0,
        memory_bytes_min: 0,
        deadline: Duration::from_secs(30),
    };
    change(&mut args);
    let mut plan = SessionPlan::new(&args).expect("the arguments are good");
    // A run without a fault ends when all is there, on a busy machine too.
    plan.drain_deadline = Duration::from_secs(30);
    plan
}

/// On one thread, and on four.
fn run_both(plan: &SessionPlan) -> [Summary; 2] {
    [measure(plan), measure_in_tables(plan, SESSIONS / 4)].map(|summary| summary.expect("it runs"))
}

#[track_caller]
fn assert_good(summary: &Summary) {
    assert_eq!(summary.faults(), [] as [String; 0], "{summary}");
    assert_eq!(summary.ready, u64::from(SESSIONS), "{summary}");
}

#[test]
fn sessions_come_to_stand_and_are_timed() {
    let server = server(open());
    for summary in run_both(&plan(&server, Scenario::Connect, |args| args.rate = Some(2000))) {
        assert_good(&summary);
        assert!(summary.begin.is_some());
        // 60 at 2,000 a second: the last is due at 29.5 ms, and none before its time.
        assert!(summary.ramp_s >= 0.029, "{summary}");
    }
}

#[test]
fn every_session_has_a_user_of_its_own() {
    let rules = Rules {
        token: TokenRules { key: HmacKey::new(b"secret"), ..TokenRules::default() },
        user_connection_limit: 1,
        without_namespace: ChannelOptions {
            allow_subscribe_for_client: true,
            ..ChannelOptions::default()
        },
        ..Rules::default()
    };
    let server = server(rules);
    let with_key = |key: &str| {
        let key = Some(key.to_owned());
        plan(&server, Scenario::Connect, |args| args.hmac_key.clone_from(&key))
    };
    // Only once: those of a second run would find that theirs are not gone yet.
    assert_good(&measure_in_tables(&with_key("secret"), SESSIONS / 4).expect("it runs"));
    let summary = measure(&with_key("another")).expect("it runs");
    assert_eq!(summary.ready, 0, "{summary}");
    // 3500: invalid token.
    assert_eq!(summary.closed_by.get(&3500), Some(&u64::from(SESSIONS)), "{summary}");
    assert!(summary.to_string().contains("WORTHLESS     60 sessions did not come to stand"));
}

#[test]
fn pings_are_answered_and_counted() {
    let ping_interval = Some(Duration::from_secs(1));
    let pong_timeout = Duration::from_millis(900);
    let rules = Rules { ping_interval_s: 1, ..open() };
    let settings = SessionSettings { rules, ping_interval, pong_timeout, ..settings() };
    let server = serve(config(2), &settings);
    let plan = plan(&server, Scenario::Idle, |args| args.seconds = 3);
    let summary = measure_in_tables(&plan, SESSIONS / 4).expect("it runs");
    // Two of three: the last may be late by a moment.
    assert_eq!(summary.pings_due, u64::from(2 * SESSIONS), "{summary}");
    assert!(
        summary.costs.server_bytes_per_session.is_some() && summary.costs.server_cores.is_some()
    );
    // A machine that stalls is late with pings, but ends nobody that answers.
    assert_eq!((summary.ready, summary.tally.broken), (u64::from(SESSIONS), 0), "{summary}");
    assert!(summary.pings > 0, "{summary}");
}

#[test]
fn an_echo_comes_back_to_its_own_session_only() {
    let server = server(open());
    for publish_rate in [None, Some(600)] {
        let plan = plan(&server, Scenario::Echo, |args| args.publish_rate = publish_rate);
        for summary in run_both(&plan) {
            assert_good(&summary);
            assert!(summary.tally.arrived >= u64::from(SESSIONS), "{summary}");
            assert!(summary.latency.is_some());
        }
    }
}

#[test]
fn every_publication_reaches_every_member_whichever_thread_has_it() {
    let server = server(open());
    for publish_rate in [None, Some(100)] {
        let plan = plan(&server, Scenario::Fanout, |args| args.publish_rate = publish_rate);
        for summary in run_both(&plan) {
            assert_good(&summary);
            // Ten members in each of six channels, two of which have a publisher.
            assert_eq!(summary.tally.arrived % 10, 0, "{summary}");
            assert!(summary.spread_ms.is_some(), "{summary}");
        }
    }
}

/// Three publications into one channel of everybody.
fn rounds(args: &mut SessionArgs) {
    (args.channels, args.publishers, args.publications) = (1, 1, Some(3));
}

#[track_caller]
fn assert_rounds(summary: &Summary) {
    let copies: Vec<u64> = summary.publications.iter().map(|one| one.copies).collect();
    assert_eq!(copies, [u64::from(SESSIONS); 3], "{summary}");
    assert!(summary.publications.iter().all(|one| one.first_to_last_ms > 0.0), "{summary}");
    for two in summary.publications.windows(2) {
        let last_ms = two[0].first_ms + two[0].first_to_last_ms;
        assert!(two[1].first_ms > last_ms, "one began before all had the other: {summary}");
    }
}

#[test]
fn each_of_some_publications_is_timed_from_its_first_copy_to_its_last() {
    let server = server(open());
    for summary in run_both(&plan(&server, Scenario::Fanout, rounds)) {
        assert_good(&summary);
        assert_rounds(&summary);
        assert_eq!(summary.tally.expected, 3 * u64::from(SESSIONS), "{summary}");
    }
}

#[test]
fn a_plain_loop_sends_the_same_to_as_many() {
    let server = server(open());
    let plan = plan(&server, Scenario::Fanout, |args| {
        rounds(args);
        (args.bare, args.hmac_key) = (true, Some("secret".into()));
    });
    for summary in run_both(&plan) {
        assert_good(&summary);
        assert_rounds(&summary);
        assert!(summary.costs.server_cores.is_some_and(|cores| cores > 0.0), "{summary}");
    }
    assert_eq!(server.snapshot().expect("it runs").counters.opened, 0, "the server had no part");
}

#[test]
fn who_echoes_beside_the_run_is_timed_apart() {
    let server = server(open());
    for scenario in [Scenario::Fanout, Scenario::Idle] {
        let plan = plan(&server, scenario, |args| {
            (args.echo_connections, args.echo_rate) = (5, Some(200));
        });
        for summary in run_both(&plan) {
            assert_eq!(summary.faults(), [] as [String; 0], "{summary}");
            assert_eq!(summary.ready, u64::from(SESSIONS + 5), "{summary}");
            assert!(summary.echo_latency.is_some(), "{summary}");
            // None of them is among the deliveries of the run: an idle one has none.
            let expected = scenario == Scenario::Fanout;
            assert_eq!((summary.messages > 0, summary.latency.is_some()), (expected, expected));
        }
    }
}

#[test]
fn who_leaves_comes_anew_while_the_others_stand() {
    let server = server(open());
    let plan = plan(&server, Scenario::Churn, |args| args.churn_rate = Some(40));
    let mut opened = 0;
    for summary in run_both(&plan) {
        assert_good(&summary);
        assert!(summary.left > 0, "{summary}");
        let back = summary.recovered + summary.unrecovered;
        assert_eq!((back, summary.attempts), (summary.left, summary.left), "{summary}");
        opened += u64::from(SESSIONS) + summary.left;
    }
    assert_eq!(server.snapshot().expect("it runs").counters.opened, opened);
}

#[test]
fn every_scenario_speaks_protobuf() {
    let server = server(keeping());
    for scenario in [Scenario::Echo, Scenario::Fanout, Scenario::Chat, Scenario::Storm] {
        let plan = plan(&server, scenario, |args| {
            (args.format, args.missed) = (Format::Protobuf, 5);
        });
        let summary = measure_in_tables(&plan, SESSIONS / 4).expect("it runs");
        assert_good(&summary);
        assert!(summary.tally.arrived > 0, "{summary}");
        let dropped = if scenario == Scenario::Storm { u64::from(SESSIONS - 2) } else { 0 };
        assert_eq!((summary.recovered, summary.unrecovered), (dropped, 0), "{summary}");
    }
    let bare = plan(&server, Scenario::Fanout, |args| {
        rounds(args);
        (args.bare, args.format) = (true, Format::Protobuf);
    });
    assert_rounds(&measure(&bare).expect("it runs"));
}

#[test]
fn in_a_chat_everybody_hears_everybody_once() {
    let server = server(open());
    let plan = plan(&server, Scenario::Chat, |args| args.publish_rate = Some(300));
    for summary in run_both(&plan) {
        assert_good(&summary);
        // Ten members in each of six channels, into all of which somebody publishes.
        assert!(summary.tally.arrived >= 60 && summary.tally.arrived % 10 == 0, "{summary}");
        assert!(summary.timeline.len() > 1 && summary.costs.bottleneck.is_some(), "{summary}");
        let page = summary.to_html();
        // How many depends on how long it took: rates want some samples.
        assert!(page.contains("<svg"), "{page}");
    }
}

#[test]
fn a_host_without_memory_ends_the_run() {
    let server = server(open());
    let plan = SessionPlan {
        memory_bytes_min: u64::MAX,
        ..plan(&server, Scenario::Idle, |args| args.seconds = 3600)
    };
    for end in [measure(&plan), measure_in_tables(&plan, SESSIONS / 4)] {
        let error = end.expect_err("there is no such host");
        assert!(error.to_string().starts_with("stopped: only "), "{error}");
    }
}

#[test]
fn those_who_come_back_have_all_they_missed() {
    let server = server(keeping());
    let plan = plan(&server, Scenario::Storm, |args| args.missed = 5);
    for summary in run_both(&plan) {
        assert_good(&summary);
        // All but the publishers, who stay.
        let dropped = u64::from(SESSIONS - 2);
        assert_eq!((summary.recovered, summary.unrecovered), (dropped, 0), "{summary}");
        // Twenty members of two channels with five publications each.
        assert_eq!(summary.tally.arrived, 20 * 5, "{summary}");
        assert!(summary.storm_s.is_some_and(|seconds| seconds >= 0.5), "{summary}");
    }
}

#[test]
fn what_cannot_be_recovered_is_missed() {
    let server = server(open());
    let plan = plan(&server, Scenario::Storm, |args| args.missed = 3);
    let plan = SessionPlan { drain_deadline: Duration::from_secs(1), ..plan };
    let summary = measure(&plan).expect("it runs");
    assert_eq!((summary.recovered, summary.unrecovered), (0, u64::from(SESSIONS - 2)), "{summary}");
    // The publishers have theirs, and nobody else was there.
    assert_eq!(summary.lost, 18 * 3, "{summary}");
}

#[test]
fn a_channel_that_nobody_may_enter_is_a_fault_by_its_code() {
    let rules = Rules { allow_anonymous_connect_without_token: true, ..Rules::default() };
    let server = server(rules);
    let summary = measure(&plan(&server, Scenario::Connect, |_| ())).expect("it runs");
    // 103: permission denied.
    assert_eq!(summary.refused_by.get(&103), Some(&u64::from(SESSIONS)), "{summary}");
    assert_eq!(summary.ready, 0);
}

#[test]
fn a_server_that_ends_sessions_is_told_on() {
    // All at once: they have begun when the server ends them.
    let summary = stopped_after(SESSIONS, None);
    let ended = summary.tally.broken + u64::from(SESSIONS) - summary.ready;
    assert_eq!(ended, u64::from(SESSIONS), "{summary}");
    // 3001: shutdown, or 1001 for those that had not begun.
    assert!(summary.closed_by.keys().all(|code| [1001, 3001].contains(code)), "{summary}");
}

#[test]
fn who_is_ended_while_others_begin_is_counted_once() {
    // Three seconds of beginnings: the server is gone when a third has come to stand.
    let summary = stopped_after(SESSIONS / 3, Some(20));
    let ended = summary.tally.broken + u64::from(SESSIONS) - summary.ready;
    assert_eq!(ended, u64::from(SESSIONS), "{summary}");
    assert!(summary.tally.broken > 0, "{summary}");
}

/// An idle run, at `rate` sessions a second, whose server stops when `opened` connections have
/// been opened.
fn stopped_after(opened: u32, rate: Option<u64>) -> Summary {
    let server = server(open());
    let plan = plan(&server, Scenario::Idle, |args| (args.rate, args.seconds) = (rate, 3));
    std::thread::scope(|scope| {
        let run = scope.spawn(|| measure(&plan).expect("it runs"));
        let all = u64::from(opened);
        while server.snapshot().is_none_or(|now| now.counters.opened < all) {
            std::thread::yield_now();
        }
        server.stop();
        run.join().expect("no panic")
    })
}
