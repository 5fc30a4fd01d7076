//! Entry points for random bytes: what must hold whatever a peer sends.
//!
//! The fuzz targets and a test over their corpus call the same functions. Each asserts the
//! invariants of `ws`: cuts change nothing, memory follows arrival, answers can be parsed.

use super::handshake::{
    HeadScanner, Refusal, RequestHead, ResponseHead, check_response, check_upgrade,
};
use super::{Assembler, Event, MessageLimits, Role, WsError};

/// One arrival after another: where an event ended, what it was, or the error.
type Verdicts = Vec<Result<(usize, Vec<u8>), WsError>>;

/// Reads `data` as a role, a size of arrivals and the bytes of a peer's frames.
#[doc(hidden)]
pub fn fuzz_frames(data: &[u8]) {
    let [settings, bytes @ ..] = data else { return };
    let role = if settings & 1 == 0 { Role::Server } else { Role::Client };
    let piece_bytes = 1 + usize::from(settings >> 1);
    let limits = MessageLimits { message_bytes_max: 1 << 16, fragments_max: 64 };
    let cut = assemble(role, &limits, bytes, piece_bytes);
    let whole = assemble(role, &limits, bytes, bytes.len().max(1));
    assert_eq!(cut, whole, "in pieces of {piece_bytes}");
}

fn assemble(role: Role, limits: &MessageLimits, bytes: &[u8], piece_bytes: usize) -> Verdicts {
    let mut assembler = Assembler::new();
    let mut verdicts = Vec::new();
    let mut bytes = bytes.to_vec();
    let mut arrived = 0;
    for piece in bytes.chunks_mut(piece_bytes) {
        let mut at = 0;
        loop {
            let step = match assembler.next(role, limits, &mut piece[at..]) {
                Ok(step) => step,
                Err(error) => {
                    verdicts.push(Err(error));
                    return verdicts;
                }
            };
            at += step.consumed;
            let Some(event) = step.event else { break };
            assert!(step.consumed > 0, "an event has a last byte, and it was just taken");
            verdicts.push(Ok((arrived + at, describe(event))));
        }
        assert_eq!(at, piece.len(), "no event means that all bytes were taken");
        arrived += piece.len();
        let held_max = 256 + 2 * arrived.min(limits.message_bytes_max);
        assert!(assembler.buffered_bytes() <= held_max, "memory for what did not arrive");
    }
    verdicts
}

fn describe(event: Event<'_>) -> Vec<u8> {
    match event {
        Event::Message { kind, payload } => [format!("{kind:?}").as_bytes(), payload].concat(),
        Event::Ping(payload) => [b"ping ", payload].concat(),
        Event::Pong(payload) => [b"pong ", payload].concat(),
        Event::Close(reason) => format!("{reason:?}").into_bytes(),
    }
}

/// Reads `data` as a size of arrivals and a head: as a request, and as a response.
#[doc(hidden)]
pub fn fuzz_handshake(data: &[u8]) {
    let [piece_bytes, bytes @ ..] = data else {
        return;
    };
    let piece_bytes = 1 + usize::from(*piece_bytes);
    let mut scanner = HeadScanner::default();
    let cut = (0..=bytes.len())
        .step_by(piece_bytes)
        .chain([bytes.len()])
        .map(|len| scanner.scan(&bytes[..len]))
        .find(|verdict| *verdict != Ok(None))
        .unwrap_or(Ok(None));
    let whole = HeadScanner::default().scan(bytes);
    assert_eq!(cut, whole, "in pieces of {piece_bytes}");

    let mut answer = Vec::new();
    match whole {
        Ok(None) => return,
        Ok(Some(end)) => {
            let _ = ResponseHead::parse(&bytes[..end]);
            answer_request(&bytes[..end], &mut answer);
        }
        Err(error) => Refusal::Head(error).write(&mut answer),
    }
    let end = HeadScanner::default().scan(&answer).expect("well-formed").expect("whole");
    let head = ResponseHead::parse(&answer[..end]).expect("well-formed");
    let closes = head.header("connection") == Some(b"close");
    assert_eq!(closes, head.status() != 101, "every refusal closes");
}

fn answer_request(head: &[u8], answer: &mut Vec<u8>) {
    let head = match RequestHead::parse(head) {
        Ok(head) => head,
        Err(error) => return Refusal::Head(error).write(answer),
    };
    assert!(head.target().contains(head.path()) || head.path() == "/");
    let upgrade = match check_upgrade(&head) {
        Ok(upgrade) => upgrade,
        Err(refusal) => return refusal.write(answer),
    };
    assert!(head.wants_upgrade());
    let protocol = upgrade.protocols().last();
    upgrade.accept(answer, protocol, []).expect("it was offered");
    let offered: Vec<&str> = upgrade.protocols().collect();
    let response = ResponseHead::parse(answer).expect("well-formed");
    assert_eq!(check_response(&response, upgrade.key(), &offered), Ok(protocol));
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;

    /// Runs `target` over its committed corpus; how many inputs there were.
    fn run_corpus(name: &str, target: fn(&[u8])) -> usize {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(name);
        let files = fs::read_dir(&corpus).expect("the corpus is committed");
        files.map(|file| target(&fs::read(file.unwrap().path()).unwrap())).count()
    }

    #[test]
    fn the_corpus_of_frames_holds() {
        assert!(run_corpus("frames", fuzz_frames) >= 10);
    }

    #[test]
    fn the_corpus_of_handshakes_holds() {
        assert!(run_corpus("handshake", fuzz_handshake) >= 10);
    }

    proptest! {
        #[test]
        fn random_bytes_hold(data in proptest::collection::vec(any::<u8>(), 0..200)) {
            fuzz_frames(&data);
            fuzz_handshake(&data);
        }
    }
}
