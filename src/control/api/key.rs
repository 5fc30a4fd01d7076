//! Who may use the server API: whoever knows its key, said in one of three places.

use std::borrow::Cow;

use axum::body::Body;
use axum::http::{HeaderMap, Request, header};
use subtle::ConstantTimeEq as _;

use crate::control::settings::HttpApi;

/// Whether this request may be carried out. Without a key in the settings nobody is let in.
///
/// The first place that has a key decides, as in the reference: header, authorization, query.
pub(super) fn admits(api: &HttpApi, request: &Request<Body>) -> bool {
    if api.insecure {
        return true;
    }
    let Some(key) = api.key.as_deref().filter(|key| !key.is_empty()) else { return false };
    let Some(given) = in_header(request.headers())
        .or_else(|| in_authorization(request.headers()))
        .or_else(|| in_query(request.uri().query().unwrap_or_default()))
    else {
        return false;
    };
    // The time of this tells how long the key is, and nothing of what it is.
    key.as_bytes().ct_eq(&given).into()
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
            assert_eq!(admits(&api, &request(target, headers)), open, "{target} {headers:?}");
        }
    }

    #[test]
    fn without_a_key_nobody_is_let_in_but_by_insecure() {
        for key in [None, Some("")] {
            let given = request("/?api_key=", &[("X-API-Key", "")]);
            assert!(!admits(&api(key, false), &given));
            assert!(admits(&api(key, true), &given));
        }
        assert!(admits(&api(Some("secret"), true), &request("/", &[])));
    }
}
