//! One connection, from its first byte to its last: hyper behind a [`Gate`], until it is told to
//! stop, and the last word when the gate has found a fault.

use std::pin::Pin;

use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

use super::gate::Gate;
use super::service::Service;
use crate::limits::HTTP_WRITE_BYTES_MAX;

/// Serves `socket`, of which `bytes` were read already, until either side ends it, or its seat is
/// needed for another.
pub(super) async fn serve<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
    socket: S,
    bytes: Vec<u8>,
    service: Service,
    mut stop: watch::Receiver<bool>,
) {
    let traffic = service.traffic();
    let _open = traffic.connection(service.port());
    let guest = service.guest();
    let gate = Gate::new(socket, bytes, guest.clone(), service.head_timeout());
    let gate = TokioIo::new(gate);
    let stopping = *stop.borrow();
    let mut connection = http1::Builder::new()
        .half_close(true)
        // What waits to be taken by a client that does not read is bounded.
        .max_buf_size(HTTP_WRITE_BYTES_MAX)
        // Those who come while the server stops are answered once, to be told so.
        .keep_alive(!stopping)
        .serve_connection(gate, service);
    let ended = tokio::select! {
        biased;
        // First, so that no request is begun that the end would cut: it is still idle.
        () = guest.told_to_leave() => return traffic.evicted(),
        ended = &mut connection => Some(ended),
        () = stopped(&mut stop), if !stopping => None,
    };
    let ended = if let Some(ended) = ended {
        ended
    } else {
        Pin::new(&mut connection).graceful_shutdown();
        (&mut connection).await
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "an HTTP connection broke");
    }
    let gate = connection.into_parts().io.into_inner();
    if let Some(fault) = gate.fault() {
        let (status, _) = fault.status();
        tracing::debug!(status, %fault, "an HTTP request was refused");
        traffic.refused(status);
    }
    tokio::select! {
        biased;
        () = guest.told_to_leave() => traffic.evicted(),
        () = gate.close() => {}
    }
}

/// Returns when the server stops, or has gone without a word.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _gone = stop.wait_for(|stop| *stop).await;
}
