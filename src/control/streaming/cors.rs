//! What pages of other hosts are told, so that their browsers let them read the answers
//! (Fetch §3.2).

use axum::http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS, HOST,
    ORIGIN, VARY,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use super::settings::Pages;

/// Seconds for which browsers need not ask again: what some of them take at most.
const MAX_AGE_S: HeaderValue = HeaderValue::from_static("600");

/// Whether the page that asks may have an answer.
pub(super) fn admit(pages: &Pages, headers: &HeaderMap) -> bool {
    let value = |name: HeaderName| headers.get(name).map(HeaderValue::as_bytes);
    pages.admit(value(ORIGIN), value(HOST))
}

/// Adds to an answer that the page which has asked may read it.
pub(super) fn allow(request: &HeaderMap, response: &mut Response) {
    let headers = response.headers_mut();
    headers.append(VARY, HeaderValue::from_static("Origin"));
    if let Some(origin) = request.get(ORIGIN) {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    }
}

/// The answer to a browser that asks whether a page may ask (Fetch §3.2.2).
pub(super) fn preflight(pages: &Pages, request: &HeaderMap) -> Response {
    if !admit(pages, request) {
        return StatusCode::FORBIDDEN.into_response();
    }
    let mut response = StatusCode::NO_CONTENT.into_response();
    allow(request, &mut response);
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST"));
    headers.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE_S);
    if let Some(wanted) = request.get(ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
    }
    response
}
