//! One connection, from its first byte to its last: hyper on a socket, until it is told to stop.

use std::io::Cursor;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, join, split};
use tokio::sync::watch;

use crate::limits::HTTP_HEAD_TIMEOUT;

/// Serves `routes` on `socket`, of which `bytes` were read already, until either side ends it.
pub(super) async fn serve<S: AsyncRead + AsyncWrite + Send + Unpin>(
    socket: S,
    bytes: Vec<u8>,
    routes: Router,
    stop: watch::Receiver<bool>,
) {
    let (input, output) = split(socket);
    let socket = TokioIo::new(join(Cursor::new(bytes).chain(input), output));
    let service = TowerToHyperService::new(routes);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HTTP_HEAD_TIMEOUT)
        .half_close(true)
        .serve_connection(socket, service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => Some(ended),
        () = stopped(stop) => None,
    };
    let ended = if let Some(ended) = ended {
        ended
    } else {
        connection.as_mut().graceful_shutdown();
        connection.await
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "HTTP connection ended");
    }
}

/// Returns when the server stops, or has gone without a word.
async fn stopped(mut stop: watch::Receiver<bool>) {
    let _gone = stop.wait_for(|stop| *stop).await;
}
