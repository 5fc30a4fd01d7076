//! What a child process writes, line by line, so that a wait for a line can have an end.

use std::io::{BufRead, BufReader, Read};
use std::sync::mpsc::{Receiver, channel};

/// The lines that are written into a pipe. It is read to its end, whoever listens.
pub(crate) fn lines_of(pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, lines) = channel();
    let written = BufReader::new(pipe).lines().map_while(Result::ok);
    std::thread::spawn(move || written.for_each(|line| drop(sender.send(line))));
    lines
}
