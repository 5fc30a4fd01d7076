//! The description of the API for programs that read OpenAPI: `GET /swagger` of the internal port.

use axum::http::StatusCode;
use axum::response::Response;

use crate::control::health::json;

/// OpenAPI 3.1, in JSON; what it says of each operation is tested against a server.
const DOCUMENT: &str = include_str!("../assets/openapi.json");

/// The document.
pub(in crate::control) async fn describe() -> Response {
    json(StatusCode::OK, DOCUMENT.to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::COMMANDS;
    use super::DOCUMENT;

    #[test]
    fn every_command_is_described_and_no_other() {
        let document: serde_json::Value = serde_json::from_str(DOCUMENT).unwrap();
        let described = document["paths"].as_object().unwrap().keys();
        let mut described: Vec<&str> = described.map(String::as_str).collect();
        let mut known: Vec<String> =
            COMMANDS.iter().map(|(name, _)| format!("/api/{name}")).collect();
        described.sort_unstable();
        known.sort_unstable();
        assert_eq!(described, known);
    }
}
