//! Request bodies: received whole, in time, and within what one and all of them may hold.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::Body;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt as _;
use tokio::time::timeout;

use crate::limits::{HTTP_BODIES_BYTES_MAX, HTTP_BODY_BYTES_MAX, HTTP_BODY_TIMEOUT};

/// Bytes of bodies that are held now, by all requests together.
#[derive(Clone, Debug, Default)]
pub(super) struct Budget(Arc<AtomicUsize>);

/// A body, and its share of the budget.
#[derive(Debug)]
pub(super) struct Received {
    bytes: Vec<u8>,
    budget: Budget,
}

impl Received {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn extend(&mut self, data: &[u8], bytes_max: usize) -> Result<(), BodyError> {
        if self.bytes.len() + data.len() > bytes_max {
            return Err(BodyError::TooLong);
        }
        // One thread serves all requests: between these two steps there is no other.
        if self.budget.0.load(Ordering::Relaxed) + data.len() > HTTP_BODIES_BYTES_MAX {
            return Err(BodyError::NoRoom);
        }
        self.budget.0.fetch_add(data.len(), Ordering::Relaxed);
        self.bytes.extend_from_slice(data);
        Ok(())
    }
}

impl Drop for Received {
    fn drop(&mut self) {
        self.budget.0.fetch_sub(self.bytes.len(), Ordering::Relaxed);
    }
}

/// A body was not received. The connection ends with the answer, because what follows on it is
/// the rest of the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyError {
    /// More bytes than it may have.
    TooLong,
    /// Not whole within [`HTTP_BODY_TIMEOUT`].
    TooSlow,
    /// All bodies together are at [`HTTP_BODIES_BYTES_MAX`].
    NoRoom,
    /// It ended early, or its chunks have no clear end.
    Broken,
}

impl IntoResponse for BodyError {
    fn into_response(self) -> Response {
        let (status, text) = match self {
            Self::TooLong => (StatusCode::PAYLOAD_TOO_LARGE, "the body is too long\n"),
            Self::TooSlow => (StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time\n"),
            Self::NoRoom => (StatusCode::SERVICE_UNAVAILABLE, "too many bodies: try again\n"),
            Self::Broken => (StatusCode::BAD_REQUEST, "the body is incomplete or malformed\n"),
        };
        (status, [(header::CONNECTION, "close")], text).into_response()
    }
}

/// Receives a body of at most [`HTTP_BODY_BYTES_MAX`] bytes to its end.
pub(super) async fn receive(body: Body, budget: &Budget) -> Result<Received, BodyError> {
    receive_short(body, budget, HTTP_BODY_BYTES_MAX).await
}

/// The same with another bound.
pub(super) async fn receive_short(
    mut body: Body,
    budget: &Budget,
    bytes_max: usize,
) -> Result<Received, BodyError> {
    let mut received = Received { bytes: Vec::new(), budget: budget.clone() };
    let receiving = async {
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| BodyError::Broken)?;
            // What is no data is a trailer, and means nothing here.
            if let Some(data) = frame.data_ref() {
                received.extend(data, bytes_max)?;
            }
        }
        Ok(())
    };
    timeout(HTTP_BODY_TIMEOUT, receiving).await.unwrap_or(Err(BodyError::TooSlow))?;
    Ok(received)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_bounded_each_and_together() {
        let budget = Budget::default();
        let empty = || Received { bytes: Vec::new(), budget: budget.clone() };
        let whole = vec![0; HTTP_BODY_BYTES_MAX];
        let mut held = Vec::new();
        for _ in 0..HTTP_BODIES_BYTES_MAX / HTTP_BODY_BYTES_MAX {
            let mut received = empty();
            received.extend(&whole, HTTP_BODY_BYTES_MAX).unwrap();
            assert_eq!(received.extend(b"x", HTTP_BODY_BYTES_MAX), Err(BodyError::TooLong));
            held.push(received);
        }
        let mut late = empty();
        assert_eq!(late.extend(b"x", HTTP_BODY_BYTES_MAX), Err(BodyError::NoRoom));
        held.pop();
        assert_eq!(late.extend(b"x", HTTP_BODY_BYTES_MAX), Ok(()), "what was held is given back");
        drop((held, late));
        assert_eq!(budget.0.load(Ordering::Relaxed), 0);
    }
}
