//! Replies and pushes byte by byte, in both formats: the examples of the reference (29), and more
//! of the kind. The bytes in Protobuf are those of the official Python SDK's generated classes.

use proptest::prelude::*;

use super::{
    ClientId, ClientInfo, ConnectResult, ErrorCode, Farewell, Format, HistoryResult, Lineage,
    PresenceStats, Publication, PublicationList, Push, RefreshResult, Reply, StreamNames,
    SubscribeResult, Subscription, UnsubscribeCode,
};

const CLIENT: ClientId = ClientId { random: 0, lineage: Lineage::ZERO };
const BOTH: [Format; 2] = [Format::Json, Format::Protobuf];

/// The client's name, where an example says so.
fn named(example: &str) -> String {
    let name = CLIENT.to_string();
    let field = format!("24{}", digits(name.as_bytes()));
    example.replace("NAME", &name).replace("name", &field)
}

fn digits(bytes: &[u8]) -> String {
    let pairs: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    pairs.concat()
}

/// Bytes as an example has them: text in JSON, digits in Protobuf.
fn shown(format: Format, bytes: &[u8]) -> String {
    match format {
        Format::Json => String::from_utf8(bytes.to_vec()).unwrap(),
        Format::Protobuf => digits(bytes),
    }
}

fn written_reply(format: Format, id: u32, reply: &Reply<'_>) -> String {
    let mut out = Vec::new();
    format.write_reply(&mut out, id, reply);
    shown(format, &out)
}

fn written_push(format: Format, push: &Push<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    format.write_push(&mut out, "ch", push);
    out
}

/// What is said of publications in a list, one of them for every push.
fn list(format: Format, list: PublicationList, pushes: &[Publication<'_>]) -> Vec<u8> {
    let messages = pushes.iter().map(|one| written_push(format, &Push::Publication(*one)));
    let messages: Vec<Vec<u8>> = messages.collect();
    let parts = messages.iter().map(|message| {
        let part = format.publication_part(message).expect("a publication");
        &message[part]
    });
    let mut out = Vec::new();
    format.write_publications(&mut out, list, parts);
    out
}

#[test]
fn replies_are_written_as_in_the_examples() {
    let result = ConnectResult {
        client: CLIENT,
        version: "1",
        ttl_s: None,
        ping_s: 25,
        pong: true,
        data: b"",
        subs: &[],
        stream: None,
    };
    let late = ConnectResult { ttl_s: Some(60), ping_s: 0, pong: false, ..result };
    let failed = |code: ErrorCode| Reply::Error(code.into());
    let stats = |clients, users| Reply::PresenceStats(PresenceStats { clients, users });
    let json = [
        (
            1,
            Reply::Connect(result),
            r#""connect":{"client":"NAME","version":"1","ping":25,"pong":true}"#,
        ),
        (
            1,
            Reply::Connect(late),
            r#""connect":{"client":"NAME","version":"1","expires":true,"ttl":60}"#,
        ),
        (2, Reply::Subscribe(SubscribeResult::default()), r#""subscribe":{}"#),
        (
            3,
            failed(ErrorCode::PermissionDenied),
            r#""error":{"code":103,"message":"permission denied"}"#,
        ),
        (
            9,
            failed(ErrorCode::TooManyRequests),
            r#""error":{"code":111,"message":"too many requests","temporary":true}"#,
        ),
        (4, Reply::Publish, r#""publish":{}"#),
        (5, stats(2, 1), r#""presence_stats":{"num_clients":2,"num_users":1}"#),
        (6, stats(0, 0), r#""presence_stats":{"num_clients":0,"num_users":0}"#),
        (6, Reply::Unsubscribe, r#""unsubscribe":{}"#),
    ];
    let protobuf = [
        "3108012a2d0aname12013138194001",
        "3108012a2d0aname1201311801203c",
        "0408023200",
        "1908031215086712117065726d697373696f6e2064656e696564",
        "1b08091217086f1211746f6f206d616e792072657175657374731801",
        "0408044200",
        "080805520408021001",
        "0408065200",
        "0408063a00",
    ];
    are_written(&json, &protobuf);
}

fn are_written(json: &[(u32, Reply<'_>, &str)], protobuf: &[&str]) {
    assert_eq!(json.len(), protobuf.len());
    for ((id, reply, json), protobuf) in json.iter().zip(protobuf) {
        let json = named(&format!(r#"{{"id":{id},{json}}}"#));
        assert_eq!(written_reply(Format::Json, *id, reply), json);
        assert_eq!(written_reply(Format::Protobuf, *id, reply), named(protobuf), "{reply:?}");
    }
}

#[test]
fn what_expires_says_when_in_fields_of_its_own() {
    let json = [
        (7, Reply::Refresh(RefreshResult { ttl_s: None }), r#""refresh":{}"#),
        (
            7,
            Reply::Refresh(RefreshResult { ttl_s: Some(9) }),
            r#""refresh":{"expires":true,"ttl":9}"#,
        ),
        (7, Reply::SubRefresh(RefreshResult { ttl_s: None }), r#""sub_refresh":{}"#),
        (
            7,
            Reply::SubRefresh(RefreshResult { ttl_s: Some(9) }),
            r#""sub_refresh":{"expires":true,"ttl":9}"#,
        ),
        (
            2,
            Reply::Subscribe(SubscribeResult { ttl_s: Some(9), ..SubscribeResult::default() }),
            r#""subscribe":{"expires":true,"ttl":9}"#,
        ),
    ];
    let protobuf = [
        "0408077200",
        "080807720418012009",
        "0408077a00",
        "0808077a0408011009",
        "080802320408011009",
    ];
    are_written(&json, &protobuf);
}

#[test]
fn results_with_publications_are_written_as_in_the_examples() {
    let first = Publication { data: b"{}", offset: 6, ..Publication::default() };
    let second = Publication { data: b"1", offset: 7, ..Publication::default() };
    let recovered = SubscribeResult {
        recoverable: true,
        epoch: "E",
        recovered: true,
        offset: 5,
        positioned: true,
        was_recovering: true,
        ..SubscribeResult::default()
    };
    let one = [
        concat!(
            r#"{"id":2,"subscribe":{"recoverable":true,"epoch":"E","publications":[{"data":{},"#,
            r#""offset":6}],"recovered":true,"offset":5,"positioned":true,"was_recovering":true}}"#
        ),
        "190802321518013201453a0622027b7d30064001480550016001",
    ];
    let two = [
        concat!(
            r#"{"id":2,"subscribe":{"recoverable":true,"epoch":"E","publications":[{"data":{},"#,
            r#""offset":6},{"data":1,"offset":7}],"recovered":true,"offset":5,"positioned":true,"#,
            r#""data":[],"was_recovering":true}}"#
        ),
        "240802322018013201453a0622027b7d30063a0522013130074001480550015a025b5d6001",
    ];
    for (format, [one, two]) in BOTH.into_iter().zip([[one[0], two[0]], [one[1], two[1]]]) {
        let publications = list(format, PublicationList::Subscribe, &[first]);
        let result = SubscribeResult { publications: &publications, ..recovered };
        assert_eq!(written_reply(format, 2, &Reply::Subscribe(result)), one);
        let publications = list(format, PublicationList::Subscribe, &[first, second]);
        let result = SubscribeResult { publications: &publications, data: b"[]", ..recovered };
        assert_eq!(written_reply(format, 2, &Reply::Subscribe(result)), two);
    }
}

#[test]
fn a_history_says_everything_always() {
    let first = Publication { data: b"{}", offset: 6, ..Publication::default() };
    let info = Some(ClientInfo::of("42", CLIENT));
    let second = Publication { data: b"1", offset: 7, info, ..Publication::default() };
    let expected = [
        [
            concat!(
                r#"{"id":7,"history":{"publications":[{"data":{},"offset":6},{"data":1,"#,
                r#""info":{"user":"42","client":"NAME"},"offset":7}],"epoch":"E","offset":7}}"#
            ),
            r#"{"id":7,"history":{"publications":[],"epoch":"","offset":0}}"#,
        ],
        ["4408075a400a0622027b7d30060a312201312a2a0a02343212name30071201451807", "0408075a00"],
    ];
    for (format, [full, empty]) in BOTH.into_iter().zip(expected) {
        let publications = list(format, PublicationList::History, &[first, second]);
        let result = HistoryResult { publications: &publications, epoch: "E", offset: 7 };
        assert_eq!(written_reply(format, 7, &Reply::History(result)), named(full));
        let reply = Reply::History(HistoryResult::default());
        assert_eq!(written_reply(format, 7, &reply), empty);
    }
}

#[test]
fn a_presence_names_every_client() {
    let info = ClientInfo {
        connection_info: b"{\"n\":\n1}",
        channel_info: b"2",
        ..ClientInfo::of("42", CLIENT)
    };
    let one = [
        concat!(
            r#"{"id":6,"presence":{"presence":{"NAME":{"user":"42","client":"NAME","#,
            r#""conn_info":{"n":1},"chan_info":2}}}}"#
        ),
        // The line feed stays in Protobuf, where values are any bytes.
        "6508064a610a5f0aname12370a02343212name1a087b226e223a0a317d220132",
    ];
    let none = [r#"{"id":6,"presence":{"presence":{}}}"#, "0408064a00"];
    for (place, format) in BOTH.into_iter().enumerate() {
        let mut clients = Vec::new();
        format.write_clients(&mut clients, [info].into_iter());
        assert_eq!(written_reply(format, 6, &Reply::Presence(&clients)), named(one[place]));
        assert_eq!(written_reply(format, 6, &Reply::Presence(b"")), none[place]);
    }
    let other = ClientId { random: 1, ..CLIENT };
    let mut two = Vec::new();
    let infos = [info, ClientInfo::of("", other)];
    Format::Json.write_clients(&mut two, infos.into_iter());
    let reply = written_reply(Format::Json, 6, &Reply::Presence(&two));
    let read: serde_json::Value = serde_json::from_str(&reply).unwrap();
    let known = read["presence"]["presence"].as_object().unwrap();
    assert_eq!(known.len(), 2);
    assert_eq!(known[&other.to_string()]["user"], "");
}

#[test]
fn channels_that_the_server_chose_are_told_with_the_connect() {
    let server = SubscribeResult {
        recoverable: true,
        epoch: "E",
        offset: 3,
        positioned: true,
        data: br#"{"b":2}"#,
        ..SubscribeResult::default()
    };
    let subs = [("srv", server)];
    let result = ConnectResult {
        client: CLIENT,
        version: "1",
        ttl_s: Some(60),
        ping_s: 25,
        pong: true,
        data: br#"{"a":1}"#,
        subs: &subs,
        stream: None,
    };
    let expected = [
        concat!(
            r#"{"id":1,"connect":{"client":"NAME","version":"1","expires":true,"ttl":60,"#,
            r#""data":{"a":1},"subs":{"srv":{"recoverable":true,"epoch":"E","offset":3,"#,
            r#""positioned":true,"data":{"b":2}}},"ping":25,"pong":true}}"#
        ),
        concat!(
            "5908012a550aname1201311801203c2a077b2261223a317d32190a03737276121218013201454803",
            "50015a077b2262223a327d38194001"
        ),
    ];
    for (format, expected) in BOTH.into_iter().zip(expected) {
        assert_eq!(written_reply(format, 1, &Reply::Connect(result)), named(expected));
    }
}

#[test]
fn who_speaks_over_http_is_told_its_session_and_its_end() {
    let stream = Some(StreamNames { session: "s", node: "n" });
    let result = ConnectResult {
        client: CLIENT,
        version: "1",
        ttl_s: None,
        ping_s: 25,
        pong: true,
        data: b"",
        subs: &[],
        stream,
    };
    let [json, protobuf] = BOTH.map(|format| written_reply(format, 1, &Reply::Connect(result)));
    assert!(json.ends_with(r#""ping":25,"pong":true,"session":"s","node":"n"}}"#), "{json}");
    assert!(protobuf.ends_with("381940014a017352016e"), "{protobuf}");
    let cases = [
        (3001, r#""code":3001,"reason":"go","reconnect":true"#, "08b9171202676f1801"),
        (3501, r#""code":3501,"reason":"go""#, "08ad1b1202676f"),
        (4500, r#""code":4500,"reason":"go""#, "0894231202676f"),
    ];
    for (code, json, protobuf) in cases {
        let push = Push::Disconnect(Farewell { code, reason: "go" });
        let expected =
            [format!(r#"{{"push":{{"disconnect":{{{json}}}}}}}"#), framed_disconnect(protobuf)];
        for (format, expected) in BOTH.into_iter().zip(expected) {
            let mut out = Vec::new();
            format.write_push(&mut out, "", &push);
            assert_eq!(shown(format, &out), expected);
        }
    }
}

#[test]
fn a_message_to_one_client_is_of_no_channel() {
    for (format, expected) in
        BOTH.into_iter().zip([r#"{"push":{"message":{"data":{}}}}"#, "08220642040a027b7d"])
    {
        let mut out = Vec::new();
        format.write_push(&mut out, "", &Push::Message(b"{}"));
        assert_eq!(shown(format, &out), expected);
    }
}

/// These bytes as field 11 of a push, which is field 4 of a reply, behind its length.
fn framed_disconnect(inner: &str) -> String {
    let bytes = inner.len() / 2;
    format!("{:02x}22{:02x}5a{bytes:02x}{inner}", bytes + 4, bytes + 2)
}

#[test]
fn pushes_are_written_as_in_the_examples() {
    let publication = Publication { data: br#"{"a":1}"#, offset: 7, ..Publication::default() };
    let words = Publication {
        data: b"1",
        info: Some(ClientInfo { connection_info: br#"{"n":1}"#, ..ClientInfo::of("", CLIENT) }),
        tags: &[("a", "b")],
        ..Publication::default()
    };
    let first = Publication { data: b"1", offset: 1, epoch: "E", ..Publication::default() };
    let info = ClientInfo::of("42", CLIENT);
    let subscription =
        Subscription { recoverable: true, epoch: "E", offset: 5, positioned: true, data: b"{}" };
    let cases = [
        (Push::Publication(publication), r#""pub":{"data":{"a":1},"offset":7}"#),
        (
            Push::Publication(words),
            concat!(
                r#""pub":{"data":1,"info":{"user":"","client":"NAME","conn_info":{"n":1}},"#,
                r#""tags":{"a":"b"}}"#
            ),
        ),
        (Push::Publication(first), r#""pub":{"data":1,"offset":1,"epoch":"E"}"#),
        (Push::Join(info), r#""join":{"info":{"user":"42","client":"NAME"}}"#),
        (
            Push::Leave(ClientInfo { channel_info: b"1", ..info }),
            r#""leave":{"info":{"user":"42","client":"NAME","chan_info":1}}"#,
        ),
        (
            Push::Subscribe(subscription),
            concat!(
                r#""subscribe":{"recoverable":true,"epoch":"E","offset":5,"#,
                r#""positioned":true,"data":{}}"#
            ),
        ),
        (Push::Subscribe(Subscription::default()), r#""subscribe":{}"#),
        (
            Push::Unsubscribe(UnsubscribeCode::InsufficientState),
            r#""unsubscribe":{"code":2500,"reason":"insufficient state"}"#,
        ),
    ];
    let protobuf = [
        "13221112026368220b22077b2261223a317d3007",
        "44224212026368223c2201312a2f12name1a077b226e223a317d3a060a0161120162",
        "10220e1202636822082201313001720145",
        "342232120263682a2c0a2a0a02343212name",
        "37223512026368322f0a2d0a02343212name220131",
        "152213120263684a0d0801220145280530013a027b7d",
        "082206120263684a00",
        "1f221d120263683a1710c4131a12696e73756666696369656e74207374617465",
    ];
    for ((push, json), protobuf) in cases.into_iter().zip(protobuf) {
        let json = named(&format!(r#"{{"push":{{"channel":"ch",{json}}}}}"#));
        assert_eq!(shown(Format::Json, &written_push(Format::Json, &push)), json);
        let bytes = written_push(Format::Protobuf, &push);
        assert_eq!(shown(Format::Protobuf, &bytes), named(protobuf));
    }
}

#[test]
fn only_the_push_of_one_publication_has_a_part_and_takes_a_place() {
    let info = ClientInfo::of("42", CLIENT);
    let one = Push::Publication(Publication { data: b"1", ..Publication::default() });
    for format in BOTH {
        let message = written_push(format, &one);
        assert!(format.numbered(&message, 7, "E").is_some());
        let two = [&message[..], format.separator(), &message].concat();
        let others = [
            written_push(format, &Push::Join(info)),
            written_push(format, &Push::Unsubscribe(UnsubscribeCode::Server)),
            [&message[..], format.separator(), format.ping()].concat(),
            format.ping().to_vec(),
            Vec::new(),
            two,
        ];
        for other in &others {
            assert_eq!(format.publication_part(other), None, "{}", shown(format, other));
            assert_eq!(format.numbered(other, 7, "E"), None);
        }
        for end in 0..message.len() {
            assert_eq!(format.publication_part(&message[..end]), None, "{format:?} to {end}");
        }
    }
}

#[test]
fn a_publication_that_others_have_written_is_none_of_ours() {
    let before_its_channel = [8, 0x22, 6, 0x22, 0, 0x12, 2, b'c', b'h'];
    assert_eq!(Format::Protobuf.publication_part(&before_its_channel), None);
    let behind_spaces = br#"{"push": {"channel":"ch","pub":{}}}"#;
    assert_eq!(Format::Json.publication_part(behind_spaces), None);
}

proptest! {
    #[test]
    fn a_publication_takes_its_place_as_if_it_had_had_it(
        channel in ".{0,9}", data in "\\PC{0,200}", user in "[\"\\\\}a]{0,4}",
        offset in any::<u64>(), epoch in "[a-z]{8}", has_info in any::<bool>(),
        tags in proptest::collection::vec((".{0,3}", ".{0,3}"), 0..3),
    ) {
        let data = serde_json::to_vec(&data).unwrap();
        let info = ClientInfo { connection_info: b"{\"}}\":1}", ..ClientInfo::of(&user, CLIENT) };
        let tags: Vec<_> = tags.iter().map(|(key, value)| (&**key, &**value)).collect();
        let info = has_info.then_some(info);
        let publication = Publication { data: &data, info, tags: &tags, ..Publication::default() };
        for format in BOTH {
            for offset in [1, offset] {
                let placed = Publication {
                    offset,
                    epoch: if offset == 1 { &epoch } else { "" },
                    ..publication
                };
                let write = |one| {
                    let mut out = Vec::new();
                    format.write_push(&mut out, &channel, &Push::Publication(one));
                    out
                };
                let numbered = format.numbered(&write(publication), offset, &epoch);
                prop_assert_eq!(numbered, Some(write(placed)));
            }
        }
    }

    #[test]
    fn a_part_is_the_publication_as_a_list_has_it(
        channel in ".{0,9}", data in "[{}\", ]{0,9}", offset in any::<u64>(),
    ) {
        let data = serde_json::to_vec(&data).unwrap();
        let publication = Publication { data: &data, offset, ..Publication::default() };
        for format in BOTH {
            let mut message = Vec::new();
            format.write_push(&mut message, &channel, &Push::Publication(publication));
            let part = format.publication_part(&message).expect("there is one");
            match format {
                Format::Json => {
                    let read: serde_json::Value = serde_json::from_slice(&message[part]).unwrap();
                    let value: serde_json::Value = serde_json::from_slice(&data).unwrap();
                    prop_assert_eq!(&read["data"], &value);
                    prop_assert_eq!(read["offset"].as_u64().unwrap_or(0), offset);
                }
                Format::Protobuf => {
                    let expected = [&[0x22, u8::try_from(data.len()).unwrap()][..], &data].concat();
                    prop_assert!(message[part].starts_with(&expected));
                }
            }
        }
    }
}
