//! tokio-tungstenite: a task for each connection, split where others' messages come in between.

use compare::Mode;
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::accept_async;
use tokio_tungstenite::tungstenite::{Error, Message};

fn main() {
    compare::run(|listener, mode: Mode<Message>| async move {
        loop {
            let (stream, _) = listener.accept().await?;
            let mode = mode.clone();
            tokio::spawn(async move {
                let _ended = connection(stream, mode).await;
            });
        }
    });
}

async fn connection(stream: TcpStream, mode: Mode<Message>) -> Result<(), Error> {
    let mut socket = accept_async(stream).await?;
    let sender = match mode {
        Mode::Echo => {
            while let Some(message) = socket.next().await {
                let message = message?;
                if message.is_text() || message.is_binary() {
                    socket.send(message).await?;
                }
            }
            return Ok(());
        }
        Mode::Broadcast(sender) => sender,
    };
    let mut others = sender.subscribe();
    let (mut sink, mut stream) = socket.split();
    loop {
        tokio::select! {
            message = stream.next() => {
                let Some(message) = message else { return Ok(()) };
                let message = message?;
                if message.is_text() || message.is_binary() {
                    let _members = sender.send(message);
                }
            }
            message = others.recv() => {
                let Ok(message) = message else { return Ok(()) };
                sink.send(message).await?;
            }
        }
    }
}
