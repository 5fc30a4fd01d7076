//! A real server, a real client.
//!
//! Setup: an echo server of two shards in this process, clients by tungstenite on loopback. Claim:
//! what a client sends comes back, byte for byte and in order, and a stop closes with 1001.

use std::net::TcpStream;

use longwire::{Config, Handler, Message, Peer, Request, Running, Server, Upgrade};
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::stream::MaybeTlsStream;
use tungstenite::{Message as Sent, WebSocket};

struct Echo;

impl Handler for Echo {
    type Connection = ();

    fn upgrade(&mut self, _request: &Request<'_>) -> Upgrade<()> {
        Upgrade::accept(())
    }

    fn message(&mut self, peer: &mut Peer<'_, Self>, message: Message<'_>) {
        peer.send(message).expect("this client reads");
    }
}

fn server(shards: u32) -> Running {
    let mut config = Config::new("127.0.0.1:0".parse().expect("an address"));
    config.shards = Some(shards);
    config.max_connections = Some(1000);
    Server::start(config, |_shard| Echo).expect("starts")
}

fn client(server: &Running) -> WebSocket<MaybeTlsStream<TcpStream>> {
    tungstenite::connect(format!("ws://{}/any", server.address())).expect("connects").0
}

#[test]
fn what_is_sent_comes_back_and_a_stop_says_goodbye() {
    let server = server(2);
    let mut clients: Vec<_> = (0..20).map(|_| client(&server)).collect();
    for round in 0..10 {
        for (number, client) in clients.iter_mut().enumerate() {
            client.send(Sent::text(format!("{round} {number}"))).expect("sent");
            client.send(Sent::binary(vec![round; number * 100])).expect("sent");
        }
        for (number, client) in clients.iter_mut().enumerate() {
            assert_eq!(client.read().expect("echo"), Sent::text(format!("{round} {number}")));
            assert_eq!(client.read().expect("echo"), Sent::binary(vec![round; number * 100]));
        }
    }
    let snapshot = server.snapshot().expect("it runs");
    assert_eq!((snapshot.open, snapshot.counters.messages_received), (20, 400));
    server.stop();
    for client in &mut clients {
        let Sent::Close(Some(close)) = client.read().expect("a close") else { panic!("no close") };
        assert_eq!(close.code, CloseCode::Away);
    }
    drop(clients);
    let last = server.join();
    assert_eq!((last.shards_lost, last.counters.released), (0, 20));
}
