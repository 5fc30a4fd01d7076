//! What others read of a publication: any value is embedded whole.

use proptest::prelude::*;

use super::super::{ClientId, ClientInfo, Lineage, Publication, Push};
use super::*;

const CLIENT: ClientId = ClientId { random: 0, lineage: Lineage::ZERO };
const NAME: &str = "00000000-0000-4000-8000-000000000000";

fn push(channel: &str, push: &Push<'_>) -> String {
    let mut out = Vec::new();
    write_push(&mut out, channel, push);
    String::from_utf8(out).unwrap()
}

#[test]
fn a_publication_says_who_and_with_which_words() {
    let publication = Publication {
        data: b"1",
        info: Some(ClientInfo {
            connection_info: b"{\"n\":\r\n1}",
            channel_info: b"2",
            ..ClientInfo::of("", CLIENT)
        }),
        tags: &[("a", ""), ("b", "\"")],
        ..Publication::default()
    };
    let expected = format!(
        concat!(
            r#"{{"push":{{"channel":"ch","pub":{{"data":1,"info":{{"user":"","client":"{}","#,
            r#""conn_info":{{"n":1}},"chan_info":2}},"tags":{{"a":"","b":"\""}}}}}}}}"#
        ),
        NAME
    );
    assert_eq!(push("ch", &Push::Publication(publication)), expected);
}

proptest! {
    #[test]
    fn any_value_is_embedded_whole_on_one_line(text in "\\PC*", channel in ".+") {
        let data = serde_json::json!({ "text": text, "list": [1, null, channel] });
        let pretty = serde_json::to_vec_pretty(&data).unwrap();
        let publication = Publication { data: &pretty, ..Publication::default() };
        let line = push(&channel, &Push::Publication(publication));
        prop_assert!(!line.contains('\n'));
        let read: serde_json::Value = serde_json::from_str(&line).unwrap();
        prop_assert_eq!(&read["push"]["pub"]["data"], &data);
        prop_assert_eq!(read["push"]["channel"].as_str(), Some(&*channel));
    }
}
