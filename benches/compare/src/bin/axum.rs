//! axum: `WebSocketUpgrade` on a router, as its examples have it.

use axum::Router;
use axum::extract::State;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::response::Response;
use axum::routing::get;
use axum::serve::ListenerExt;
use compare::Mode;
use futures_util::{SinkExt, StreamExt};

fn main() {
    compare::run(|listener, mode: Mode<Message>| async move {
        let router = Router::new().route("/", get(upgrade)).with_state(mode);
        let listener = listener.tap_io(|stream| {
            let _delayed = stream.set_nodelay(true);
        });
        axum::serve(listener, router).await
    });
}

async fn upgrade(upgrade: WebSocketUpgrade, State(mode): State<Mode<Message>>) -> Response {
    upgrade.on_upgrade(move |socket| async move {
        let _ended = connection(socket, mode).await;
    })
}

async fn connection(mut socket: WebSocket, mode: Mode<Message>) -> Result<(), axum::Error> {
    let is_data = |message: &Message| matches!(message, Message::Text(_) | Message::Binary(_));
    let sender = match mode {
        Mode::Echo => {
            while let Some(message) = socket.recv().await {
                let message = message?;
                if is_data(&message) {
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
                if is_data(&message) {
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
