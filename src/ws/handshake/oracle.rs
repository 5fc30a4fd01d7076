//! The opening handshake against an independent one, in both roles.

use std::io::{self, Read, Write};

use proptest::prelude::*;
use tungstenite::HandshakeError;
use tungstenite::handshake::derive_accept_key;

use super::*;

/// One end's view of a connection: what has come in, and what it has sent.
#[derive(Default)]
struct Pipe {
    inbound: Vec<u8>,
    outbound: Vec<u8>,
}

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.inbound.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let len = buffer.len().min(self.inbound.len());
        buffer[..len].copy_from_slice(&self.inbound[..len]);
        self.inbound.drain(..len);
        Ok(len)
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.outbound.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn our_server_accepts_their_client_and_it_accepts_our_answer() {
    let client = tungstenite::client("ws://a.example:8000/chat?x=1", Pipe::default());
    let Err(HandshakeError::Interrupted(mut client)) = client else {
        panic!("the client waits for its answer")
    };
    let pipe = client.get_mut().get_mut();
    let head = RequestHead::parse(&pipe.outbound).expect("their request is legal");
    assert_eq!((head.path(), head.query()), ("/chat", Some("x=1")));
    let mut answer = Vec::new();
    check_upgrade(&head).expect("and asks for an upgrade").accept(&mut answer, None, []).unwrap();
    pipe.inbound = answer;
    let (_socket, response) = client.handshake().expect("our answer is legal");
    assert_eq!(response.status(), 101);
}

#[test]
fn their_server_accepts_our_client_and_it_accepts_their_answer() {
    let key = client_key([7; 16]);
    let mut pipe = Pipe::default();
    let headers = [("Origin", "http://a.example")];
    write_request(&mut pipe.inbound, "a.example", "/", &key, &[], headers).unwrap();
    let socket = tungstenite::accept(pipe).expect("our request is legal");
    let answer = &socket.get_ref().outbound;
    let end = HeadScanner::default().scan(answer).unwrap();
    assert_eq!(end, Some(answer.len()));
    let head = ResponseHead::parse(answer).expect("their answer is legal");
    assert_eq!(check_response(&head, &key, &[]), Ok(None));
}

proptest! {
    #[test]
    fn accept_keys_agree(nonce: [u8; 16]) {
        let key = client_key(nonce);
        let theirs = derive_accept_key(&key);
        prop_assert_eq!(&accept_key(&key)[..], theirs.as_bytes());
    }
}
