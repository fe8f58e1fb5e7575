//! `GET /content/{id}/{filename}`: bytes at an address of ours, for delivery networks and for what everybody may read.

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use cloakroom_core::error::ErrorCode;
use cloakroom_core::id::FileId;
use cloakroom_core::ports::objects::ByteRange;
use cloakroom_service::content::{Content, ContentAddress, ContentGrant};
use http::header::{self, HeaderMap, HeaderValue};
use http::{HeaderName, StatusCode};
use jiff::Timestamp;
use percent_encoding::utf8_percent_encode;
use utoipa::IntoParams;

use crate::api::files::download::{Switch, redirect};
use crate::api::wire::SEGMENT;
use crate::auth::Caller;
use crate::extract::path::NamedFile;
use crate::extract::query::{FromQuery, Parameters};
use crate::extract::{Path, Query};
use crate::openapi::Refused;
use crate::problem::{Problem, Result};
use crate::state::HttpState;

/// Where contents are, among our own paths.
pub(crate) const CONTENT_PATH: &str = "/api/v1/content";

/// The address of a file's content below `path`, through the delivery network where there is one, and until when it is good
/// at least. `None` where contents have no address but that of the store: no network is configured, and not everybody may
/// read the file.
pub(crate) async fn content_url(
    state: &HttpState,
    caller: &Caller,
    id: FileId,
    path: &str,
    inline: bool,
) -> Result<Option<(String, Timestamp)>> {
    let Some(place) = state.app.content_address(caller.principal(), id).await? else {
        return Ok(None);
    };
    let cdn = state.settings.cdn_url.as_deref();
    let elsewhere = state.settings.cdn_not_for.contains(&place.collection);
    if elsewhere || (cdn.is_none() && place.address.grant.is_some()) {
        return Ok(None);
    }
    let address = place.address;
    let name = utf8_percent_encode(&address.filename, SEGMENT);
    let path = format!("{path}/{id}/{name}");
    let mut url = cdn.map_or_else(|| state.url_of(&path), |cdn| format!("{cdn}{path}"));
    let inline = inline.then(|| "inline=1".to_owned());
    let grant = address.grant.map(|grant| {
        let second = grant.expires_at.as_second();
        format!("expires={second}&signature={}", grant.signature)
    });
    let query: Vec<_> = inline.into_iter().chain(grant).collect();
    if !query.is_empty() {
        url = format!("{url}?{}", query.join("&"));
    }
    Ok(Some((url, place.good_until)))
}

/// What permits the reading, and how to answer.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ContentParameters {
    /// Let a browser show the file, if its type is safe to show.
    #[param(value_type = Option<Switch>, inline)]
    inline: bool,
    /// Until when, in seconds since 1970; with `signature`.
    #[param(value_type = Option<i64>)]
    expires: Option<Timestamp>,
    /// What makes it one of ours; not needed where everybody may read.
    #[param(value_type = Option<String>, min_length = 64, max_length = 64, pattern = "^[0-9a-f]{64}$")]
    signature: Option<String>,
}

impl FromQuery for ContentParameters {
    fn from_query(query: &mut Parameters) -> Result<Self> {
        let expires = query.text("expires").map(|text| {
            let second: Option<i64> = text.parse().ok();
            // One second has one spelling: an address has no other names in a cache.
            let second = second.filter(|second| second.to_string() == text);
            let time = second.and_then(|second| Timestamp::from_second(second).ok());
            time.ok_or_else(not_signed)
        });
        let asked = Self {
            inline: query.flag("inline")?,
            expires: expires.transpose()?,
            signature: query.text("signature"),
        };
        if asked.expires.is_some() == asked.signature.is_some() {
            Ok(asked)
        } else {
            Err(not_signed())
        }
    }
}

fn not_signed() -> Problem {
    Problem::new(
        ErrorCode::InvalidSignature,
        "The URL is not one that was signed here; use it exactly as it was given.",
    )
}

/// Get a file's content.
///
/// The address is that of a download through a delivery network, or of a file of a collection that everybody may read; it
/// needs no token. Answers with the bytes, whole or a range of them, where `downloads.cdn_url` is set, as a network fetches
/// them; else with a redirect to the store.
#[utoipa::path(
    get,
    path = "/content/{file_id}/{filename}",
    operation_id = "get_content",
    tag = "files",
    security(()),
    params(
        ("file_id" = Uuid, Path, description = "The file."),
        ("filename" = String, Path, description = "Its name.", min_length = 1, max_length = 255),
        ContentParameters,
        ("Range" = Option<String>, Header, description = "One range of bytes."),
    ),
    responses(
        (status = OK, description = "The bytes.", body = Vec<u8>, content_type = "*/*", headers(("ETag" = String, description = "Of the bytes."))),
        (status = PARTIAL_CONTENT, description = "Some of the bytes.", body = Vec<u8>, content_type = "*/*"),
        (status = NOT_MODIFIED, description = "The bytes are those of `If-None-Match`."),
        (status = FOUND, description = "To the bytes.", headers(("Location" = String, description = "Where the bytes are."))),
        Refused::<403>, Refused::<404>, Refused::<409>, Refused::<410>, Refused::<416>, Refused::<503>,
    ),
)]
pub async fn get_content(
    State(state): State<HttpState>,
    Path(named): Path<NamedFile>,
    Query(asked): Query<ContentParameters>,
    headers: HeaderMap,
) -> Result<Response> {
    serve(&state, named, asked, &headers).await
}

/// Answers a request for a file's content.
pub(crate) async fn serve(
    state: &HttpState,
    NamedFile { file_id, filename }: NamedFile,
    asked: ContentParameters,
    headers: &HeaderMap,
) -> Result<Response> {
    let grant = asked.expires.zip(asked.signature);
    let address = ContentAddress {
        file_id,
        filename,
        grant: grant.map(|(expires_at, signature)| ContentGrant {
            expires_at,
            signature,
        }),
    };
    let content = state.app.content(&address).await?;
    if state.settings.cdn_url.is_none() {
        return redirect(state.app.content_url(&content, asked.inline)?, state.app.now());
    }
    bytes(state, &content, asked.inline, headers).await
}

/// The bytes themselves, as a network fetches them.
async fn bytes(state: &HttpState, content: &Content, inline: bool, headers: &HeaderMap) -> Result<Response> {
    let digest = content.file.verified.as_ref().map(|verified| verified.sha256);
    let etag = digest.map(|digest| format!("\"{digest}\"")).unwrap_or_default();
    let mut answer = HeaderMap::new();
    let mut set = |name: HeaderName, text: &str| {
        if let Ok(value) = HeaderValue::from_str(text) {
            answer.insert(name, value);
        }
    };
    set(header::ETAG, &etag);
    // A signed address is as secret as what it shows; whoever has it may keep the answer as long as it is good.
    let cache = format!("public, max-age={}", content.cache_seconds);
    set(header::CACHE_CONTROL, &cache);
    if matches(headers, &header::IF_NONE_MATCH, &etag) {
        return Ok((StatusCode::NOT_MODIFIED, answer).into_response());
    }
    let presentation = cloakroom_service::App::content_presentation(content, inline);
    set(header::CONTENT_TYPE, &presentation.content_type);
    set(header::CONTENT_DISPOSITION, &presentation.content_disposition);
    set(header::ACCEPT_RANGES, "bytes");
    let current = !headers.contains_key(header::IF_RANGE) || matches(headers, &header::IF_RANGE, &etag);
    let range = headers.get(header::RANGE).filter(|_| current).and_then(range);
    let read = state.app.read_content(content, range).await?;
    let whole = read.info.size_bytes;
    let (status, length) = match &read.range {
        Some(range) => {
            set(
                header::CONTENT_RANGE,
                &format!("bytes {}-{}/{whole}", range.start(), range.end()),
            );
            (StatusCode::PARTIAL_CONTENT, range.end() - range.start() + 1)
        }
        None => (StatusCode::OK, whole),
    };
    set(header::CONTENT_LENGTH, &length.to_string());
    Ok((status, answer, Body::from_stream(read.body)).into_response())
}

/// Whether a header names this tag.
fn matches(headers: &HeaderMap, name: &HeaderName, etag: &str) -> bool {
    let values = headers.get_all(name).into_iter();
    let tags = values.filter_map(|value| value.to_str().ok());
    tags.flat_map(|value| value.split(','))
        .map(str::trim)
        .any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

/// One range of bytes (RFC 9110 §14.1.2). Several, and what is none, are left out: the whole is an answer to them as well.
fn range(value: &HeaderValue) -> Option<ByteRange> {
    let (first, last) = value.to_str().ok()?.strip_prefix("bytes=")?.split_once('-')?;
    let number = |text: &str| -> Option<u64> {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|_| digits)
    };
    match (first, last) {
        ("", last) => number(last).map(ByteRange::Last),
        (first, "") => number(first).map(ByteRange::From),
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            (first <= last).then_some(ByteRange::FromTo(first, last))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        let read = |text: &'static str| range(&HeaderValue::from_static(text));
        assert_eq!(read("bytes=0-9"), Some(ByteRange::FromTo(0, 9)));
        assert_eq!(read("bytes=5-"), Some(ByteRange::From(5)));
        assert_eq!(read("bytes=-5"), Some(ByteRange::Last(5)));
        for other in [
            "bytes=9-0",
            "bytes=-",
            "bytes=0-1,3-4",
            "bytes=+1-2",
            "lines=0-1",
            "",
        ] {
            assert_eq!(read(other), None, "{other}");
        }
    }
}
