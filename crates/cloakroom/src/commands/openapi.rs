//! `openapi`: the document that describes the HTTP API.

use cloakroom_http::HttpSettings;

use super::{Failure, print};

/// Prints it.
pub fn run() -> Result<(), Failure> {
    let document = cloakroom_http::router::document(&HttpSettings::default());
    let document = serde_json::to_string_pretty(&document).map_err(Failure::new)?;
    print(&format!("{document}\n"))
}
