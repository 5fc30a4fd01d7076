//! Entry point for random bytes: what must hold whatever stands in a configuration file.

use super::{Format, Raw, Serve};

/// Reads `data` as a format and a file: valid, or faults that each say what mends them.
#[doc(hidden)]
pub fn fuzz_config(data: &[u8]) {
    let [format, text @ ..] = data else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    let format = [Format::Toml, Format::Json, Format::Yaml][usize::from(format % 3)];
    let mut raw = Raw::new();
    raw.lay_file("file", format, text);
    raw.open_secrets(|_| Ok("secret".to_owned()));
    match Serve::new(raw) {
        // What no error may ever tell is that a valid configuration has nowhere to listen.
        Ok(serve) => assert!(!serve.listens().is_empty()),
        Err(faults) => {
            assert!(!faults.is_empty());
            for fault in faults {
                let says = fault.to_string();
                assert!(says.contains("\nmend: "), "{says}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::template;
    use super::*;
    use proptest::prelude::*;

    /// A valid file of each format, behind the byte that chooses it.
    fn seeds() -> [Vec<u8>; 3] {
        let formats = [(0, Format::Toml), (1, Format::Json), (2, Format::Yaml)];
        formats.map(|(byte, format)| [&[byte][..], template(format).as_bytes()].concat())
    }

    #[test]
    fn the_corpus_holds() {
        let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fuzz/corpus/config");
        let mut count = 0;
        for entry in std::fs::read_dir(corpus).unwrap() {
            fuzz_config(&std::fs::read(entry.unwrap().path()).unwrap());
            count += 1;
        }
        assert!(count >= 10, "the corpus was found");
    }

    proptest! {
        #[test]
        fn random_text_holds(format in 0..3_u8, text in "(?s)[\\PC\n\t]{0,200}") {
            fuzz_config(&[&[format][..], text.as_bytes()].concat());
        }

        #[test]
        fn a_valid_file_with_some_bytes_changed_holds(
            which in 0..3_usize,
            changes in prop::collection::vec((any::<prop::sample::Index>(), 0..128_u8), 1..8),
        ) {
            let mut data = seeds()[which].clone();
            for (at, byte) in changes {
                let at = 1 + at.index(data.len() - 1);
                data[at] = byte;
            }
            fuzz_config(&data);
        }
    }
}
