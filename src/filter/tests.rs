//! What filters decide, against what their words say; what cannot be asked is refused.

use super::*;
use proptest::prelude::*;

fn read(text: &str) -> Result<Filter, FilterError> {
    Filter::of(serde_json::from_str(text).expect("a node"))
}

fn tags(pairs: &[(&str, &str)]) -> Tags {
    pairs.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect()
}

fn admits(text: &str, pairs: &[(&str, &str)]) -> bool {
    read(text).unwrap_or_else(|error| panic!("{text}: {error:?}")).admits(&tags(pairs))
}

/// Every comparison against a tag that passes, one that does not, and none at all.
#[test]
fn comparisons_decide_as_they_say() {
    let cases = [
        (r#""cmp":"eq","val":"b""#, "b", "c", false),
        (r#""cmp":"neq","val":"b""#, "c", "b", true),
        (r#""cmp":"in","vals":["a","b"]"#, "b", "ab", false),
        (r#""cmp":"nin","vals":["a","b"]"#, "ab", "b", true),
        (r#""cmp":"sw","val":"ab""#, "abc", "cab", false),
        (r#""cmp":"ew","val":"ab""#, "cab", "abc", false),
        (r#""cmp":"ct","val":"ab""#, "cabc", "acb", false),
        (r#""cmp":"lt","val":"10""#, "9.99", "10", false),
        (r#""cmp":"lte","val":"10""#, "10.0", "10.01", false),
        (r#""cmp":"gt","val":"10""#, "10.01", "9", false),
        (r#""cmp":"gte","val":"10""#, "10", "9.99", false),
    ];
    for (comparison, passes, fails, without) in cases {
        let filter = format!(r#"{{"key":"a",{comparison}}}"#);
        assert!(admits(&filter, &[("a", passes)]), "{filter}");
        assert!(!admits(&filter, &[("a", fails)]), "{filter}");
        assert_eq!(admits(&filter, &[("b", passes)]), without, "{filter}");
    }
    assert!(admits(r#"{"key":"a","cmp":"ex"}"#, &[("a", "")]));
    assert!(!admits(r#"{"key":"a","cmp":"ex"}"#, &[]));
    assert!(admits(r#"{"key":"a","cmp":"nex"}"#, &[("b", "")]));
    assert!(!admits(r#"{"key":"a","cmp":"nex"}"#, &[("a", "")]));
    assert!(admits(r#"{"key":"a","cmp":"in","vals":[""]}"#, &[]), "as the reference has it");
    for text in ["", "x", "1e3", "١"] {
        assert!(!admits(r#"{"key":"a","cmp":"lt","val":"10"}"#, &[("a", text)]), "{text:?}");
        assert!(!admits(r#"{"key":"a","cmp":"gte","val":"x"}"#, &[("a", text)]), "{text:?}");
    }
    assert!(admits(r#"{"key":"a","cmp":"eq","val":"2"}"#, &[("a", "1"), ("a", "2")]));
}

#[test]
fn what_cannot_be_asked_is_refused_by_what_is_wrong() {
    let one = r#"{"key":"a","cmp":"ex"}"#;
    for (text, expected) in [
        (r#"{"op":"xor","nodes":[]}"#.to_owned(), FilterError::Operation),
        ("{}".to_owned(), FilterError::Comparison),
        (r#"{"key":"a","cmp":"like","val":"b"}"#.to_owned(), FilterError::Comparison),
        (r#"{"cmp":"eq","val":"b"}"#.to_owned(), FilterError::Key),
        (r#"{"key":"a","cmp":"eq"}"#.to_owned(), FilterError::Value),
        (r#"{"key":"a","cmp":"lt"}"#.to_owned(), FilterError::Value),
        (r#"{"key":"a","cmp":"ex","val":"b"}"#.to_owned(), FilterError::Value),
        (r#"{"key":"a","cmp":"in","val":"b","vals":["c"]}"#.to_owned(), FilterError::Value),
        (r#"{"key":"a","cmp":"eq","val":"b","vals":["c"]}"#.to_owned(), FilterError::Values),
        (r#"{"key":"a","cmp":"ex","vals":["c"]}"#.to_owned(), FilterError::Values),
        (r#"{"key":"a","cmp":"nin"}"#.to_owned(), FilterError::Values),
        (r#"{"op":"and"}"#.to_owned(), FilterError::Nodes { count: 0 }),
        (r#"{"op":"or","nodes":[]}"#.to_owned(), FilterError::Nodes { count: 0 }),
        (r#"{"op":"not","nodes":[]}"#.to_owned(), FilterError::Nodes { count: 0 }),
        (format!(r#"{{"op":"not","nodes":[{one},{one}]}}"#), FilterError::Nodes { count: 2 }),
        (r#"{"op":"and","nodes":[{}]}"#.to_owned(), FilterError::Comparison),
    ] {
        assert_eq!(read(&text), Err(expected), "{text}");
    }
    assert!(read(r#"{"cmp":"nex"}"#).is_ok(), "a tag without a name is not there");
}

#[test]
fn depth_and_length_are_bounded() {
    let nested = |depth: usize| {
        let (open, close) = (r#"{"op":"not","nodes":["#.repeat(depth), "]}".repeat(depth));
        read(&format!(r#"{open}{{"key":"a","cmp":"ex"}}{close}"#))
    };
    assert!(nested(FILTER_DEPTH_MAX - 1).is_ok());
    assert_eq!(nested(FILTER_DEPTH_MAX), Err(FilterError::TooDeep));
    let long = |bytes: usize| {
        let value = "x".repeat(bytes);
        read(&format!(r#"{{"key":"a","cmp":"eq","val":"{value}"}}"#))
    };
    assert!(long(FILTER_BYTES_MAX - 4).is_ok());
    let bytes = FILTER_BYTES_MAX + 1;
    assert_eq!(long(FILTER_BYTES_MAX - 3), Err(FilterError::TooLong { bytes }));
    let many = vec![r#"{"key":"a","cmp":"ex"}"#; FILTER_BYTES_MAX / 4 + 1].join(",");
    let many = read(&format!(r#"{{"op":"or","nodes":[{many}]}}"#));
    assert!(matches!(many, Err(FilterError::TooLong { .. })));
}

#[test]
fn equal_filters_are_one_and_others_are_not() {
    let one = read(r#"{"key":"a","cmp":"lt","val":"1"}"#).unwrap();
    assert_eq!(Ok(one.clone()), read(r#"{"cmp":"lt","val":"1.0","key":"a","op":""}"#));
    assert_ne!(Ok(one), read(r#"{"key":"a","cmp":"lte","val":"1"}"#));
}

/// A filter over tags `a` to `c`, whose values are small numbers.
fn filters() -> impl Strategy<Value = Node> {
    let text = |text: &str| text.to_owned();
    let leaf = ("[a-c]", 0..13_usize, 1..4_u8, prop::collection::vec(1..4_u8, 1..3)).prop_map(
        move |(key, which, value, values)| {
            let names =
                ["eq", "neq", "sw", "ew", "ct", "lt", "lte", "gt", "gte", "in", "nin", "ex", "nex"];
            let node = Node { key, cmp: text(names[which]), ..Node::default() };
            match which {
                0..9 => Node { val: value.to_string(), ..node },
                9 | 10 => Node { vals: values.iter().map(u8::to_string).collect(), ..node },
                _ => node,
            }
        },
    );
    leaf.prop_recursive(4, 20, 3, move |inner| {
        let joined = |op: &'static str| {
            prop::collection::vec(inner.clone(), 1..4).prop_map(move |nodes| Node {
                op: op.to_owned(),
                nodes,
                ..Node::default()
            })
        };
        let not = inner.clone().prop_map(|node| Node {
            op: "not".to_owned(),
            nodes: vec![node],
            ..Node::default()
        });
        prop_oneof![joined("and"), joined("or"), not]
    })
}

/// What a filter says, by its words alone.
fn says(node: &Node, tags: &Tags) -> bool {
    let tag = tags.iter().find(|(key, _)| *key == node.key).map(|(_, value)| value);
    let number = |text: &String| text.parse::<u8>().expect("small numbers");
    let value = || number(&node.val);
    match (&*node.op, &*node.cmp) {
        ("and", _) => node.nodes.iter().all(|node| says(node, tags)),
        ("or", _) => node.nodes.iter().any(|node| says(node, tags)),
        ("not", _) => !says(&node.nodes[0], tags),
        // One digit each: to start with it, to end with it and to contain it is to be it.
        (_, "eq" | "sw" | "ew" | "ct") => tag == Some(&node.val),
        (_, "neq") => tag != Some(&node.val),
        (_, "in") => tag.is_some_and(|tag| node.vals.contains(tag)),
        (_, "nin") => !tag.is_some_and(|tag| node.vals.contains(tag)),
        (_, "ex") => tag.is_some(),
        (_, "nex") => tag.is_none(),
        (_, "lt") => tag.is_some_and(|tag| number(tag) < value()),
        (_, "lte") => tag.is_some_and(|tag| number(tag) <= value()),
        (_, "gt") => tag.is_some_and(|tag| number(tag) > value()),
        (_, "gte") => tag.is_some_and(|tag| number(tag) >= value()),
        _ => unreachable!("{node:?}"),
    }
}

proptest! {
    #[test]
    fn a_filter_admits_what_its_words_say(
        node in filters(), values in prop::collection::vec(prop::option::of(1..4_u8), 3),
    ) {
        let tags: Tags = ["a", "b", "c"]
            .into_iter()
            .zip(values)
            .filter_map(|(key, value)| Some((key.to_owned(), value?.to_string())))
            .collect();
        let filter = Filter::of(node.clone()).unwrap();
        prop_assert_eq!(filter.admits(&tags), says(&node, &tags));
        prop_assert!(filter.bytes() >= size_of::<Filter>());
        prop_assert_eq!(Filter::of(filter.node()), Ok(filter));
    }
}
