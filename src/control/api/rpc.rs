//! `rpc`: what a server's own extensions answer. There are none, as in the reference without any.

use serde::Deserialize;

use super::failure::{ApiError, Code, Failure};
use super::object;

#[derive(Default, Deserialize)]
#[serde(default)]
struct Rpc {
    method: String,
}

/// There is no such method, whatever it is.
pub(super) fn rpc(body: &[u8]) -> Failure {
    match object::read::<Rpc>(body) {
        Err(failure) => failure,
        Ok(Rpc { method }) if method.is_empty() => {
            ApiError::new(Code::BadRequest, "method is empty").into()
        }
        Ok(_) => ApiError::new(Code::NotFound, "no such method").into(),
    }
}
