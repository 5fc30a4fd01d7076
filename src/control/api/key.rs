//! Who may use the server API: whoever knows its key, said in one of three places.
//!
//! Without a key to know (`http_api.insecure`) every program on the way here may, and no page of
//! the web: a browser sends its requests from inside the network for whoever wrote the page.

use std::borrow::Cow;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::control::settings::HttpApi;
use crate::ws::handshake::origin;

/// Why a request is not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Denied {
    /// It does not have the right key.
    Key,
    /// There is no key to have, and it is of a page of another host.
    Origin,
}

impl IntoResponse for Denied {
    fn into_response(self) -> Response {
        let (status, text) = match self {
            Self::Key => (
                StatusCode::UNAUTHORIZED,
                "the API key is missing or wrong: send http_api.key as X-API-Key\n",
            ),
            Self::Origin => (
                StatusCode::FORBIDDEN,
                "a page of another host may not use an API without a key: set http_api.key\n",
            ),
        };
        (status, text).into_response()
    }
}

/// Whether this request may be carried out. Without a key in the settings nobody is let in.
///
/// The first place that has a key decides, as in the reference: header, authorization, query.
pub(super) fn admit(api: &HttpApi, request: &Request<Body>) -> Result<(), Denied> {
    let headers = request.headers();
    if api.insecure {
        let is_ours = is_of_this_host(headers);
        return if is_ours { Ok(()) } else { Err(Denied::Origin) };
    }
    let key = api.key.as_deref().filter(|key| !key.is_empty()).ok_or(Denied::Key)?;
    let given = in_header(headers)
        .or_else(|| in_authorization(headers))
        .or_else(|| in_query(request.uri().query().unwrap_or_default()))
        .ok_or(Denied::Key)?;
    if is_equal(key.as_bytes(), &given) { Ok(()) } else { Err(Denied::Key) }
}

/// Compares by digests, which have one length, so that the time tells not even that of the key.
fn is_equal(key: &[u8], given: &[u8]) -> bool {
    Sha256::digest(key).ct_eq(&Sha256::digest(given)).into()
}

/// Whether this is of no page, or of one that came from here, and by no name, which a page could
/// have point here. Every origin has to be ours: a second header would be somebody's try.
fn is_of_this_host(headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).map(HeaderValue::as_bytes);
    let mut origins = headers.get_all(header::ORIGIN).iter();
    origins.all(|origin| origin::is_of_nameless_host(origin.as_bytes(), host))
}

fn in_header(headers: &HeaderMap) -> Option<Cow<'_, [u8]>> {
    headers.get("x-api-key").map(|value| Cow::Borrowed(value.as_bytes()))
}

fn in_authorization(headers: &HeaderMap) -> Option<Cow<'_, [u8]>> {
    const SCHEME: &[u8] = b"apikey ";
    let value = headers.get(header::AUTHORIZATION)?.as_bytes();
    let (scheme, key) = value.split_at_checked(SCHEME.len())?;
    scheme.eq_ignore_ascii_case(SCHEME).then_some(Cow::Borrowed(key))
}

fn in_query(query: &str) -> Option<Cow<'_, [u8]>> {
    let value = query.split('&').find_map(|pair| pair.strip_prefix("api_key="))?;
    Some(percent_decoded(value))
}

/// A value of a query (`application/x-www-form-urlencoded`). What is no escape stands as it is.
fn percent_decoded(value: &str) -> Cow<'_, [u8]> {
    if !value.contains(['%', '+']) {
        return Cow::Borrowed(value.as_bytes());
    }
    let mut decoded = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let [first, tail @ ..] = rest {
        let digit = |at: usize| tail.get(at).and_then(|&byte| char::from(byte).to_digit(16));
        let escape = (*first == b'%').then(|| digit(0).zip(digit(1))).flatten();
        if let Some((high, low)) = escape {
            decoded.push(u8::try_from(high * 16 + low).expect("two digits are a byte"));
            rest = &tail[2..];
        } else {
            decoded.push(if *first == b'+' { b' ' } else { *first });
            rest = tail;
        }
    }
    Cow::Owned(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(target: &str, headers: &[(&str, &str)]) -> Request<Body> {
        let mut request = Request::post(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(Body::empty()).unwrap()
    }

    fn api(key: Option<&str>, insecure: bool) -> HttpApi {
        HttpApi { key: key.map(str::to_owned), insecure, ..HttpApi::default() }
    }

    #[test]
    fn the_key_is_right_in_each_of_three_places_and_wrong_everywhere_else() {
        let api = api(Some("se+cret"), false);
        for (target, headers, open) in [
            ("/", &[("X-API-Key", "se+cret")][..], true),
            ("/", &[("Authorization", "apikey se+cret")], true),
            ("/", &[("Authorization", "ApiKey se+cret")], true),
            ("/?api_key=se%2bcret", &[], true),
            ("/?a=b&api_key=se%2Bcret&c", &[], true),
            ("/", &[], false),
            ("/", &[("X-API-Key", "")], false),
            ("/", &[("X-API-Key", "se+cre")], false),
            ("/", &[("X-API-Key", "se+cret2")], false),
            ("/", &[("X-API-Key", "SE+CRET")], false),
            ("/", &[("Authorization", "se+cret")], false),
            ("/", &[("Authorization", "Bearer se+cret")], false),
            ("/", &[("Authorization", "apikey")], false),
            ("/?api_key=se+cret", &[], false),
            ("/?api_key=", &[], false),
            ("/?api_key=%", &[], false),
            ("/?xapi_key=se%2bcret", &[], false),
            // The first place decides.
            ("/?api_key=se%2bcret", &[("X-API-Key", "wrong")], false),
        ] {
            let expected = if open { Ok(()) } else { Err(Denied::Key) };
            assert_eq!(admit(&api, &request(target, headers)), expected, "{target} {headers:?}");
        }
    }

    #[test]
    fn without_a_key_nobody_is_let_in_but_by_insecure() {
        for key in [None, Some("")] {
            let given = request("/?api_key=", &[("X-API-Key", "")]);
            assert_eq!(admit(&api(key, false), &given), Err(Denied::Key));
            assert_eq!(admit(&api(key, true), &given), Ok(()));
        }
        assert_eq!(admit(&api(Some("secret"), true), &request("/", &[])), Ok(()));
    }

    /// Hazard 17: a page that is open in a browser on the developer's machine reaches whatever
    /// the developer reaches.
    #[test]
    fn without_a_key_pages_of_other_hosts_are_kept_out() {
        let host = ("Host", "localhost:8000");
        for (origin, open) in [
            (&["http://localhost:8000"][..], true),
            (&["https://LOCALHOST:8000"], true),
            (&["https://evil.example"], false),
            (&["http://localhost"], false),
            (&["http://localhost:80001"], false),
            (&["localhost:8000"], false),
            (&["null"], false),
            (&[""], false),
            (&["http://localhost:8000", "https://evil.example"], false),
        ] {
            let mut headers: Vec<_> = origin.iter().map(|origin| ("Origin", *origin)).collect();
            headers.push(host);
            let expected = if open { Ok(()) } else { Err(Denied::Origin) };
            assert_eq!(admit(&api(None, true), &request("/", &headers)), expected, "{origin:?}");
            // Who knows the key is no page that was lured here.
            headers.push(("X-API-Key", "secret"));
            assert_eq!(admit(&api(Some("secret"), false), &request("/", &headers)), Ok(()));
        }
        // A page whose own name was made to point here.
        let rebound = [("Host", "evil.example:8000"), ("Origin", "http://evil.example:8000")];
        assert_eq!(admit(&api(None, true), &request("/", &rebound)), Err(Denied::Origin));
    }
}
