//! One source file as the rules see it: code without comments and literals, and what it names.

/// A file below `src`, with its text and the same text blanked to code.
pub(crate) struct Source {
    /// From the crate's root, such as `src/ws/frame.rs`.
    pub(crate) path: String,
    /// As written.
    pub(crate) text: String,
    /// As written, with comments and the contents of literals replaced by spaces: same lines,
    /// same columns.
    pub(crate) code: String,
}

/// Where a path starts that names a module of the crate.
pub(crate) struct Mention {
    /// From 1.
    pub(crate) line: usize,
    /// The module under the crate's root, or `*`.
    pub(crate) module: String,
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned(), code: blank(text) }
    }

    /// The module under the crate's root that the file belongs to: `ws` for `src/ws/frame.rs`.
    pub(crate) fn module(&self) -> &str {
        let rest = self.path.strip_prefix("src/").unwrap_or(&self.path);
        rest.split('/').next().unwrap_or(rest).trim_end_matches(".rs")
    }

    /// How many modules lie between the file and the crate's root.
    fn depth(&self) -> usize {
        let rest = self.path.trim_start_matches("src/").trim_end_matches(".rs");
        rest.trim_end_matches("/mod").split('/').count()
    }

    pub(crate) fn line_of(&self, at: usize) -> usize {
        self.code[..at].matches('\n').count() + 1
    }

    /// Every module of the crate that the code names by `crate::` or by enough `super::`.
    pub(crate) fn mentions(&self) -> Vec<Mention> {
        let mut mentions = Vec::new();
        for at in words(&self.code, "crate") {
            let rest = &self.code[at + "crate".len()..];
            if let Some(rest) = path_rest(rest) {
                self.name(at, rest, &mut mentions);
            }
        }
        for (at, rest, steps) in supers(&self.code) {
            if steps >= self.depth() + inline_depth(&self.code[..at]) {
                self.name(at, rest, &mut mentions);
            }
        }
        mentions
    }

    fn name(&self, at: usize, rest: &str, mentions: &mut Vec<Mention>) {
        let line = self.line_of(at);
        for module in heads(rest) {
            mentions.push(Mention { line, module: module.to_owned() });
        }
    }

    /// The functions with their lengths in lines, from `fn` to the closing brace.
    pub(crate) fn functions(&self) -> Vec<(usize, usize)> {
        let mut found = Vec::new();
        for at in words(&self.code, "fn") {
            let rest = &self.code[at..];
            let Some(end) = body_end(rest) else { continue };
            found.push((self.line_of(at), rest[..end].matches('\n').count() + 1));
        }
        found
    }
}

/// Where `word` stands alone, not as a part of a longer name.
pub(crate) fn words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    code.match_indices(word).map(|(at, _)| at).filter(move |&at| {
        let before = code[..at].chars().next_back();
        let after = code[at + word.len()..].chars().next();
        !before.is_some_and(is_name) && !after.is_some_and(is_name)
    })
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// What follows `::`, if that comes next.
fn path_rest(rest: &str) -> Option<&str> {
    rest.trim_start().strip_prefix("::").map(str::trim_start)
}

/// The first names of a path or of a group of paths: `a` of `a::b`, `a` and `c` of `{a::b, c}`.
fn heads(rest: &str) -> Vec<&str> {
    let Some(group) = rest.strip_prefix('{') else { return Vec::from([head(rest)]) };
    let mut heads = Vec::new();
    let (mut depth, mut start) = (0, 0);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            ',' | '}' if depth == 0 => {
                let part = group[start..at].trim();
                if !part.is_empty() {
                    heads.push(head(part));
                }
                start = at + 1;
                if c == '}' {
                    return heads;
                }
            }
            '}' => depth -= 1,
            _ => {}
        }
    }
    heads
}

fn head(path: &str) -> &str {
    if path.starts_with('*') {
        return "*";
    }
    let path = path.strip_prefix("r#").unwrap_or(path);
    &path[..path.find(|c| !is_name(c)).unwrap_or(path.len())]
}

/// Chains of `super::`: where they start, what follows them, how long they are.
fn supers(code: &str) -> Vec<(usize, &str, usize)> {
    let mut chains = Vec::new();
    let mut covered = 0;
    for at in words(code, "super") {
        if at < covered {
            continue;
        }
        let (mut rest, mut steps) = (&code[at..], 0);
        while let Some(next) = rest.strip_prefix("super").and_then(path_rest) {
            (rest, steps) = (next, steps + 1);
        }
        covered = code.len() - rest.len();
        if steps > 0 {
            chains.push((at, rest, steps));
        }
    }
    chains
}

/// How many `mod x { .. }` are open at the end of `code`.
fn inline_depth(code: &str) -> usize {
    let mut opened = Vec::new();
    let mut statement = 0;
    for (at, c) in code.char_indices() {
        match c {
            '{' => {
                let is_mod = words(&code[statement..at], "mod").next().is_some();
                opened.push(is_mod);
                statement = at + 1;
            }
            '}' => {
                opened.pop();
                statement = at + 1;
            }
            ';' => statement = at + 1,
            _ => {}
        }
    }
    opened.into_iter().filter(|&is_mod| is_mod).count()
}

/// Where the body that starts after a signature ends; `None` if there is no body.
fn body_end(code: &str) -> Option<usize> {
    let (mut braces, mut brackets) = (0, 0);
    for (at, c) in code.char_indices() {
        match c {
            '(' | '[' => brackets += 1,
            ')' | ']' => brackets -= 1,
            ';' if braces == 0 && brackets == 0 => return None,
            '{' => braces += 1,
            '}' => {
                braces -= 1;
                if braces == 0 {
                    return Some(at);
                }
                if braces < 0 {
                    return None;
                }
            }
            _ => {}
        }
    }
    None
}

/// Replaces comments and the contents of literals by spaces, and keeps every line break.
fn blank(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = match &bytes[at..] {
            [b'/', b'/', ..] => find(bytes, at, b"\n"),
            [b'/', b'*', ..] => comment_end(bytes, at),
            [b'"', ..] => string_end(bytes, at + 1),
            [b'r', ..] if raw_hashes(bytes, at).is_some() => raw_end(bytes, at),
            [b'\'', ..] => match char_end(text, at) {
                Some(end) => end,
                None => at + 1,
            },
            _ => {
                at += 1;
                continue;
            }
        };
        for byte in &mut code[at..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at = end;
    }
    String::from_utf8(code).expect("only whole characters are replaced, by ASCII")
}

fn find(bytes: &[u8], from: usize, what: &[u8]) -> usize {
    let found = bytes[from..].windows(what.len()).position(|window| window == what);
    found.map_or(bytes.len(), |offset| from + offset)
}

/// Block comments nest.
fn comment_end(bytes: &[u8], from: usize) -> usize {
    let (mut depth, mut at) = (0, from);
    while at < bytes.len() {
        match &bytes[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    at
}

fn string_end(bytes: &[u8], from: usize) -> usize {
    let mut at = from;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// The number of `#` of a raw string that starts here.
fn raw_hashes(bytes: &[u8], at: usize) -> Option<usize> {
    let before = if at == 0 { b' ' } else { bytes[at - 1] };
    // `br` and `cr` start raw strings too; `for` does not.
    let prefixed = matches!(before, b'b' | b'c') && (at < 2 || !is_name(char::from(bytes[at - 2])));
    if is_name(char::from(before)) && !prefixed {
        return None;
    }
    let hashes = bytes[at + 1..].iter().take_while(|&&byte| byte == b'#').count();
    (bytes.get(at + 1 + hashes) == Some(&b'"')).then_some(hashes)
}

fn raw_end(bytes: &[u8], at: usize) -> usize {
    let hashes = raw_hashes(bytes, at).expect("asked before");
    let close = [b"\"".as_slice(), &b"#".repeat(hashes)].concat();
    let end = find(bytes, at + 2 + hashes, &close);
    (end + close.len()).min(bytes.len())
}

/// The end of a character literal; `None` where the quote starts a lifetime or a label.
fn char_end(text: &str, at: usize) -> Option<usize> {
    let rest = &text[at + 1..];
    let first = rest.chars().next()?;
    if first == '\\' {
        let escaped = rest[1..].chars().next()?.len_utf8();
        return rest[1 + escaped..].find('\'').map(|offset| at + 2 + escaped + offset + 1);
    }
    let after = at + 1 + first.len_utf8();
    text[after..].starts_with('\'').then_some(after + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> String {
        Source::new("src/ws/frame.rs", text).code
    }

    #[test]
    fn comments_and_literals_are_blanked_and_columns_kept() {
        let cases = [
            ("a // unsafe", "a"),
            ("a /* x /* y */ z */ b", "a b"),
            (r#"f("un\"safe") g"#, "f( ) g"),
            ("f(r#\"a\"b\"#) g", "f( ) g"),
            ("f(br\"a\\\") g", "f(b ) g"),
            (r"f('\'', 'x', '\u{1}') g", "f( , , ) g"),
            ("fn f<'a>(x: &'a str) {}", "fn f< a>(x: & a str) {}"),
            ("for \"x\" in", "for in"),
        ];
        for (text, expected) in cases {
            let blanked = code(text);
            assert_eq!(blanked.len(), text.len(), "{text}");
            let words: Vec<&str> = blanked.split_whitespace().collect();
            assert_eq!(words.join(" "), expected, "{text}");
        }
        assert_eq!(code("\"a\nb\"\nc"), "  \n  \nc");
    }

    #[test]
    fn mentions_are_found_in_every_form() {
        let mentions = |path: &str, text: &str| {
            let source = Source::new(path, text);
            source.mentions().into_iter().map(|mention| mention.module).collect::<Vec<_>>()
        };
        let frame = "src/ws/frame.rs";
        assert_eq!(mentions(frame, "use crate::ring::Ring;"), ["ring"]);
        assert_eq!(
            mentions(frame, "use crate::{\n a::b,\n c::{d, e}, f as g,\n};"),
            ["a", "c", "f"]
        );
        assert_eq!(mentions(frame, "use crate::*;"), ["*"]);
        assert_eq!(mentions(frame, "fn f() { crate :: sys::x() }"), ["sys"]);
        assert_eq!(mentions(frame, "pub(crate) fn f() {} // crate::ring"), [""; 0]);
        assert_eq!(mentions(frame, "use super::mask; use super::super::ring;"), ["ring"]);
        assert_eq!(mentions("src/ws/mod.rs", "mod tests { use super::*; }"), [""; 0]);
        assert_eq!(mentions("src/ws/mod.rs", "mod tests { use super::super::sys; }"), ["sys"]);
        assert_eq!(mentions("src/ws/mod.rs", "use super::sys;"), ["sys"]);
        assert_eq!(mentions("src/limits.rs", "use super::sys;"), ["sys"]);
    }

    #[test]
    fn functions_are_measured_from_name_to_brace() {
        let text = "fn a(x: [u8; 3]) -> [u8; 3] {\n x\n}\ntrait T { fn b(&self); }\nfn c() {}";
        let functions = Source::new("src/x.rs", text).functions();
        assert_eq!(functions, [(1, 3), (5, 1)]);
    }
}
