//! Patterns by which a back end asks for channels (20): `*` is anything, `?` one character,
//! `[a-c]` and `[!a-c]` one of some and of all others, `{a,b}` one of several patterns; behind a
//! backslash a character means itself.

use regex::{Regex, RegexBuilder};

/// A pattern of channels' names.
#[derive(Clone, Debug)]
pub struct Glob(Option<Regex>);

/// Bytes that the matcher of one pattern takes at most: braces within braces multiply.
const MATCHER_BYTES_MAX: usize = 256 * 1024;

impl Glob {
    /// The pattern that a text says; empty is that of all names. `None` if it has no meaning.
    pub fn new(text: &str) -> Option<Self> {
        if text.is_empty() {
            return Some(Self(None));
        }
        let expression = expression(text)?;
        let mut builder = RegexBuilder::new(&expression);
        let regex = builder.dot_matches_new_line(true).size_limit(MATCHER_BYTES_MAX).build();
        Some(Self(Some(regex.ok()?)))
    }

    /// Whether a channel's name is one of those.
    pub fn matches(&self, name: &str) -> bool {
        self.0.as_ref().is_none_or(|regex| regex.is_match(name))
    }
}

fn expression(text: &str) -> Option<String> {
    let mut out = String::from("^(?:");
    let (mut rest, mut depth) = (text.chars(), 0_u32);
    while let Some(character) = rest.next() {
        match character {
            '*' => out.push_str(".*"),
            '?' => out.push('.'),
            '[' => rest = class(rest, &mut out)?,
            '{' => {
                depth += 1;
                out.push_str("(?:");
            }
            '}' => {
                depth = depth.checked_sub(1)?;
                out.push(')');
            }
            ',' if depth > 0 => out.push('|'),
            '\\' => literal(rest.next()?, &mut out),
            other => literal(other, &mut out),
        }
    }
    out.push_str(")$");
    (depth == 0).then_some(out)
}

fn literal(character: char, out: &mut String) {
    out.push_str(&regex::escape(character.encode_utf8(&mut [0; 4])));
}

/// One of some characters, up to the bracket that closes them; returns what follows.
fn class<'a>(mut rest: std::str::Chars<'a>, out: &mut String) -> Option<std::str::Chars<'a>> {
    out.push('[');
    if rest.as_str().starts_with('!') {
        rest.next();
        out.push('^');
    }
    let mut is_empty = true;
    loop {
        match rest.next()? {
            ']' if is_empty => return None,
            ']' => break,
            '-' if !is_empty && !rest.as_str().starts_with(']') => out.push('-'),
            '\\' => literal(rest.next()?, out),
            other => literal(other, out),
        }
        is_empty = false;
    }
    out.push(']');
    Some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_mean_what_they_say() {
        for (pattern, yes, no) in [
            ("", &["", "a", "ns:b"][..], &[][..]),
            ("*", &["", "a", "ns:b\n"], &[]),
            ("ns:*", &["ns:", "ns:a"], &["ns", "xns:a"]),
            ("a?c", &["abc", "a.c", "aüc"], &["ac", "abbc"]),
            ("[a-c]x", &["ax", "cx"], &["dx", "-x", "x"]),
            ("[!a-c]x", &["dx", "-x"], &["ax"]),
            ("[^ab]", &["^", "a"], &["c"]),
            ("[a-]", &["a", "-"], &["b"]),
            ("[]]", &[], &["]", "a"]),
            ("{a,b*}:x", &["a:x", "bcd:x"], &["c:x", "a,b:x"]),
            ("{a,{b,c}}", &["a", "b", "c"], &["{b"]),
            ("a,b", &["a,b"], &["a", "b"]),
            ("\\*.+(a|b)$", &["*.+(a|b)$"], &["x.+(a|b)$", "*.+a$"]),
            ("a}", &[], &["a}"]),
            ("{a", &[], &["a", "{a"]),
            ("[a", &[], &["a", "[a"]),
            ("a\\", &[], &["a\\"]),
        ] {
            let glob = Glob::new(pattern);
            let matches = |name: &&str| glob.as_ref().is_some_and(|glob| glob.matches(name));
            assert!(yes.iter().all(matches), "{pattern} matches {yes:?}");
            assert!(!no.iter().any(matches), "{pattern} does not match {no:?}");
        }
    }

    #[test]
    fn a_pattern_cannot_grow_beyond_its_bound() {
        let wide = "{a*,b*}".repeat(2000);
        assert!(Glob::new(&wide).is_none_or(|glob| !glob.matches("c")));
        assert!(Glob::new(&"[!a]".repeat(100_000)).is_none());
    }
}
