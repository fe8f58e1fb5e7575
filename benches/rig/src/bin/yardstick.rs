//! What the API's signing path is measured against: an axum server that does next to nothing (`GET /hello`), and one
//! that does everything but the row (`POST /sign`: reads the JSON, makes an id and a key, signs, answers).
//!
//! Prints `{"url": …}` when it listens on a free port of 127.0.0.1.

use std::sync::Arc;

use axum::extract::State;
use axum::routing::{get, post};
use axum::serve::ListenerExt;
use axum::{Json, Router};
use cloakroom_signing::{Addressing, Credentials, Endpoint, PresignRequest, Region, Signer};
use http::{Method, StatusCode};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

const BUCKET: &str = "bench";
const EXPIRES_SECONDS: u32 = 900;

struct Signing {
    signer: Signer,
    endpoint: Endpoint,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignRequest {
    collection: String,
    filename: String,
    content_type: String,
    size_bytes: u64,
}

#[derive(Serialize)]
struct SignedUpload {
    file_id: Uuid,
    method: &'static str,
    upload_url: String,
    headers: [(&'static str, String); 2],
    object_name: String,
    bucket_name: &'static str,
    expires_at: Timestamp,
}

async fn sign(
    State(signing): State<Arc<Signing>>,
    Json(request): Json<SignRequest>,
) -> Result<(StatusCode, Json<SignedUpload>), StatusCode> {
    let file_id = Uuid::now_v7();
    #[expect(clippy::disallowed_methods, reason = "a yardstick has no clock to move")]
    let now = Timestamp::now();
    let object_name = format!("staging/{}/{file_id}/{}", request.collection, request.filename);
    let headers = [
        ("content-type".to_owned(), request.content_type.clone()),
        ("content-length".to_owned(), request.size_bytes.to_string()),
    ];
    let upload_url = signing
        .signer
        .presign(&PresignRequest {
            method: Method::PUT,
            endpoint: &signing.endpoint,
            bucket: BUCKET,
            key: &object_name,
            query: &[],
            headers: &headers,
            expires_in_seconds: EXPIRES_SECONDS,
            now,
        })
        .map_err(|_| StatusCode::UNPROCESSABLE_ENTITY)?;
    let answer = SignedUpload {
        file_id,
        method: "put",
        upload_url,
        headers: [
            ("content-type", request.content_type),
            ("content-length", request.size_bytes.to_string()),
        ],
        object_name,
        bucket_name: BUCKET,
        expires_at: now + std::time::Duration::from_secs(EXPIRES_SECONDS.into()),
    };
    Ok((StatusCode::CREATED, Json(answer)))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let signing = Arc::new(Signing {
        signer: Signer::new(Credentials::new("bench", "bench-secret"), Region::default()),
        endpoint: Endpoint::parse("http://127.0.0.1:9000", Addressing::Path)?,
    });
    let app = Router::new()
        .route("/hello", get(async || "hello"))
        .route("/sign", post(sign))
        .with_state(signing);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("{{\"url\":\"http://{}\"}}", listener.local_addr()?);
    let listener = listener.tap_io(|stream| {
        // Should it fail, an answer may wait for the client's delayed acknowledgement.
        let _ = stream.set_nodelay(true);
    });
    axum::serve(listener, app).await?;
    Ok(())
}
