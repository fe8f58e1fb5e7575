//! Signed URLs of variants: exactly what was signed, for as long as it was signed, of files that are handed out.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use cloakroom_core::file::FileState;
use cloakroom_core::id::FileId;
use cloakroom_core::media::MediaType;
use cloakroom_core::ports::processor::{MadeDerivative, ProcessorError};
use cloakroom_core::ports::renderer::{Renderer, RendererInput};
use cloakroom_core::storage::StorageMode;
use cloakroom_service::stores::{StoreDefinition, StoreRegistry};
use cloakroom_service::variants::{SigningKey, VariantOptions, Variants};
use futures_util::future::join_all;
use http::Method;
use jiff::SignedDuration;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::modes::set_mode;
use crate::test_app::{Answer, BUCKET, Options, TestApp};

/// The least that is a PNG to a sniffer.
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0\x1f\x15\xc4\x89";

/// Stands for the image processor, and paints when it is let.
struct Painter {
    painted: AtomicUsize,
    gate: Semaphore,
}

#[async_trait]
impl Renderer for Painter {
    fn accepts(&self, content_type: &MediaType) -> bool {
        content_type.matches("image/*")
    }

    async fn render(&self, input: RendererInput<'_>) -> Result<MadeDerivative, ProcessorError> {
        self.painted.fetch_add(1, Ordering::SeqCst);
        let permit = self.gate.acquire().await;
        drop(permit.map_err(|error| ProcessorError::Retry(error.to_string()))?);
        Ok(MadeDerivative {
            name: input.name.to_owned(),
            extension: "webp".to_owned(),
            content_type: MediaType::parse("image/webp").expect("a type"),
            bytes: input.rendition.query().into_bytes().into(),
            width: input.rendition.width,
            height: Some(7),
        })
    }
}

async fn gallery(open: usize) -> (TestApp, Arc<Painter>) {
    gallery_with(open, 2, StoreRegistry::single([BUCKET])).await
}

async fn gallery_with(open: usize, waiting_max: usize, stores: StoreRegistry) -> (TestApp, Arc<Painter>) {
    let painter = Arc::new(Painter {
        painted: AtomicUsize::new(0),
        gate: Semaphore::new(open),
    });
    let app = TestApp::with(Options {
        stores,
        variants: Variants::new(VariantOptions {
            renderer: Some(Arc::clone(&painter) as _),
            key: Some(SigningKey::derived_from(b"secret")),
            at_once: 1,
            waiting_max,
        }),
        ..Options::default()
    })
    .await;
    (app, painter)
}

async fn photo(app: &TestApp) -> String {
    app.ready("ann", "a.png", PNG, json!({"collection": "photos"}))
        .await
}

async fn sign(app: &TestApp, id: &str, body: Value) -> Answer {
    app.post("ann", &format!("/api/v1/files/{id}/variants"), body)
        .await
}

async fn url(app: &TestApp, id: &str, body: Value) -> String {
    let signed = sign(app, id, body).await;
    assert_eq!(signed.status, 200, "{signed:?}");
    signed.json()["url"].as_str().expect("a URL").to_owned()
}

/// As a browser asks: with nothing but the address.
async fn fetch(app: &TestApp, url: &str) -> Answer {
    app.call_with("", Method::GET, url, None, &[]).await
}

#[tokio::test]
async fn a_signed_url_leads_to_the_picture() {
    let (app, painter) = gallery(1).await;
    let id = photo(&app).await;
    let signed = sign(
        &app,
        &id,
        json!({"w": 320, "h": 240, "fit": "cover", "format": "webp", "quality": 70}),
    )
    .await;
    assert_eq!(signed.status, 200, "{signed:?}");
    let body = signed.json();
    let url = body["url"].as_str().expect("a URL");
    let start = format!("/api/v1/variants/{id}?w=320&h=240&fit=cover&format=webp&quality=70&expires=");
    assert!(url.starts_with(&start), "{url}");
    // Rounded down to a window of a quarter of an hour, as downloads are.
    assert_eq!(body["expires_at"], "2026-01-02T04:00:00Z");
    let name = body["name"].as_str().expect("a name").to_owned();

    let fetched = fetch(&app, url).await;
    assert_eq!(fetched.status, 302, "{fetched:?}");
    let location = fetched.header("location").expect("a location").to_owned();
    assert!(
        location.contains("%2Ev%2D") && location.ends_with("&disposition=inline"),
        "{location}"
    );
    // 3,354 s are left.
    assert_eq!(fetched.header("cache-control"), Some("private, max-age=1677"));
    assert_eq!(fetched.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(
        fetched.header("content-security-policy"),
        Some("default-src 'none'; frame-ancestors 'none'")
    );
    app.clock.advance(SignedDuration::from_mins(10));
    assert_eq!(fetch(&app, url).await.header("location"), Some(location.as_str()));
    assert_eq!(painter.painted.load(Ordering::SeqCst), 1);

    let file = app.get("ann", &format!("/api/v1/files/{id}")).await.json();
    assert_eq!(
        file["derivatives"],
        json!([{
            "name": name, "content_type": "image/webp", "size_bytes": 44, "width": 320, "height": 7,
            "url": format!("/api/v1/files/{id}/derivatives/{name}"), "error": null,
            "created_at": "2026-01-02T03:04:05.000006Z",
        }])
    );
    assert_eq!(file["version"], 4, "a variant changes nothing of its file");
    let derivative = file["derivatives"][0]["url"].as_str().expect("a URL");
    assert_eq!(app.get("ann", derivative).await.status, 200);
    assert_eq!(app.get("bob", derivative).await.refusal().1, "file_not_found");
}

#[tokio::test]
async fn only_what_was_signed_is_answered() {
    let (app, painter) = gallery(1).await;
    let (id, other) = (photo(&app).await, photo(&app).await);
    let url = url(&app, &id, json!({"w": 320, "h": 240})).await;
    let (_, signature) = url.split_once("&signature=").expect("a signature");
    let broken = format!("{}{}", &signature[1..], &signature[..1]);
    let changes = [
        ("w=320", "w=321"),
        ("w=320", "w=0320"),
        ("w=320", "w=%2B320"),
        ("w=320&", ""),
        ("h=240", "h=241"),
        ("h=240&", ""),
        ("w=320&h=240", "w=240&h=320"),
        ("fit=contain", "fit=cover"),
        ("fit=contain", "fit=CONTAIN"),
        ("fit=contain&", ""),
        ("format=auto", "format=png"),
        ("quality=80", "quality=81"),
        ("quality=80", "quality=300"),
        ("expires=1", "expires=2"),
        ("expires=1", "expires=-1"),
        ("expires=1", "expires=99999999999999999999"),
        (signature, &broken),
        (signature, ""),
        (&id, &other),
    ];
    for (from, to) in changes {
        let changed = url.replacen(from, to, 1);
        assert_ne!(changed, url, "{from}");
        let answer = fetch(&app, &changed).await;
        assert_eq!(
            answer.refusal(),
            (403, "invalid_signature".to_owned()),
            "{from} -> {to}"
        );
        // The bearer of a good token needs a good signature as well.
        let answer = app.get("ann", &changed).await;
        assert_eq!(answer.status, 403, "{from} -> {to}");
    }
    for more in ["&x=1", "&w=320"] {
        let answer = fetch(&app, &format!("{url}{more}")).await;
        assert_eq!(answer.refusal(), (400, "invalid_parameter".to_owned()), "{more}");
    }
    assert_eq!(painter.painted.load(Ordering::SeqCst), 0);
    assert_eq!(fetch(&app, &url).await.status, 302);
}

/// I8: without a signature nobody learns whether there is such a file.
#[tokio::test]
async fn a_stranger_learns_nothing() {
    let (app, _) = gallery(1).await;
    let id = photo(&app).await;
    let body = json!({"w": 320});
    let nowhere = "01999999-9999-7999-8999-999999999999";
    for (user, file) in [("bob", id.as_str()), ("ann", nowhere)] {
        let answer = app
            .post(user, &format!("/api/v1/files/{file}/variants"), body.clone())
            .await;
        assert_eq!(answer.refusal(), (404, "file_not_found".to_owned()));
    }
    let url = url(&app, &id, body).await;
    let guess = fetch(&app, &url.replace("w=320", "w=321")).await;
    let nothing = fetch(&app, &url.replace(&id, nowhere)).await;
    assert_eq!(guess.bytes, nothing.bytes);
    // One bot of another collection, one of this.
    let (_, other) = app
        .service_token(json!({"name": "x", "collections": ["files"]}))
        .await;
    let (_, own) = app
        .service_token(json!({"name": "y", "collections": ["photos"]}))
        .await;
    let path = format!("/api/v1/files/{id}/variants");
    for (token, status) in [(&other, 404), (&own, 200), (&String::new(), 401)] {
        let answer = app
            .call_with(token, Method::POST, &path, Some(json!({"w": 1})), &[])
            .await;
        assert_eq!(answer.status, status);
    }
}

#[tokio::test]
async fn a_url_ends() {
    let (app, _) = gallery(1).await;
    let id = photo(&app).await;
    let whole = url(&app, &id, json!({"w": 320})).await;
    let short = url(&app, &id, json!({"w": 320, "expires_in_seconds": 60})).await;
    assert_eq!(fetch(&app, &short).await.status, 302);
    app.clock.advance(SignedDuration::from_secs(60));
    let over = fetch(&app, &short).await;
    assert_eq!(over.refusal(), (410, "url_expired".to_owned()));
    assert_eq!(fetch(&app, &whole).await.status, 302);
    app.clock.advance(SignedDuration::from_secs(3_540));
    assert_eq!(fetch(&app, &whole).await.refusal().0, 410);
    // A tampered one says nothing of its end.
    let tampered = whole.replace("w=320", "w=321");
    assert_eq!(fetch(&app, &tampered).await.refusal().0, 403);
}

#[tokio::test]
async fn requests_are_within_limits() {
    let (app, _) = gallery(1).await;
    let id = photo(&app).await;
    let table = [
        (json!({}), "w"),
        (json!({"fit": "cover"}), "w"),
        (json!({"w": 0}), "w"),
        (json!({"w": 4097}), "w"),
        (json!({"w": 1_u64 << 40}), "w"),
        (json!({"w": 1, "h": 4097}), "h"),
        (json!({"w": 1, "fit": "cover"}), "fit"),
        (json!({"h": 1, "fit": "fill"}), "fit"),
        (json!({"w": 1, "fit": "zoom"}), "fit"),
        (json!({"w": 1, "format": "gif"}), "format"),
        (json!({"w": 1, "quality": 0}), "quality"),
        (json!({"w": 1, "quality": 101}), "quality"),
        (json!({"w": 1, "quality": 357}), "quality"),
        (json!({"w": 1, "expires_in_seconds": 0}), "expires_in_seconds"),
        (json!({"w": 1, "expires_in_seconds": 3601}), "expires_in_seconds"),
        (json!({"w": -1}), "w"),
    ];
    for (body, field) in table {
        let answer = sign(&app, &id, body.clone()).await;
        assert_eq!(answer.refusal(), (422, "invalid_request".to_owned()), "{body}");
        assert_eq!(answer.problem()["details"]["field"], field, "{body}");
    }
    for body in [
        json!({"w": 4096, "h": 4096, "fit": "fill"}),
        json!({"h": 1}),
        json!({"w": 1, "quality": 100}),
    ] {
        assert_eq!(sign(&app, &id, body.clone()).await.status, 200, "{body}");
    }
}

#[tokio::test]
async fn there_are_none_where_none_are_offered() {
    let (app, _) = gallery(1).await;
    let text = app.ready("ann", "a.txt", b"abc", json!({})).await;
    let answer = sign(&app, &text, json!({"w": 1})).await;
    assert_eq!(answer.refusal(), (422, "variants_not_offered".to_owned()));
    // A program without a renderer.
    let plain = TestApp::new().await;
    let id = photo(&plain).await;
    let answer = sign(&plain, &id, json!({"w": 1})).await;
    assert_eq!(answer.refusal(), (422, "variants_not_offered".to_owned()));
    let open = app
        .upload("ann", "a.png", PNG, json!({"collection": "photos"}))
        .await;
    let answer = sign(&app, &open, json!({"w": 1})).await;
    assert_eq!(answer.refusal(), (409, "file_not_ready".to_owned()));
}

/// From one request to the next, whatever was signed before.
#[tokio::test]
async fn a_file_that_is_not_handed_out_has_no_variants() {
    let (app, painter) = gallery(1).await;
    let id = photo(&app).await;
    let there = url(&app, &id, json!({"w": 1})).await;
    let absent = url(&app, &id, json!({"w": 2})).await;
    assert_eq!(fetch(&app, &there).await.status, 302);
    let file_id: FileId = id.parse().expect("an id");
    let path = format!("/api/v1/files/{id}");
    assert_eq!(app.call("ann", Method::DELETE, &path, None).await.status, 204);
    for url in [&there, &absent] {
        assert_eq!(
            fetch(&app, url).await.refusal(),
            (409, "file_not_ready".to_owned())
        );
    }
    let signing = sign(&app, &id, json!({"w": 3})).await;
    assert_eq!(signing.refusal(), (409, "file_not_ready".to_owned()));
    let file = app
        .app
        .metadata
        .file(file_id)
        .await
        .expect("an answer")
        .expect("a file");
    assert_eq!(file.state, FileState::Trashed);
    assert_eq!(painter.painted.load(Ordering::SeqCst), 1);
    // Purged: as if there had never been one.
    app.clock.advance(SignedDuration::from_mins(50));
    let restored = app.post("ann", &format!("{path}/restore"), Value::Null).await;
    assert_eq!(restored.status, 200, "{restored:?}");
    assert_eq!(fetch(&app, &there).await.status, 302);
}

#[tokio::test]
async fn what_is_there_is_served_from_a_closed_store() {
    let stores = StoreRegistry::new([StoreDefinition::new("main", [BUCKET])]);
    let (app, _) = gallery_with(9, 2, stores).await;
    let disagreements = app.app.reconcile_stores().await.expect("an answer");
    assert_eq!(disagreements, []);
    let id = photo(&app).await;
    let there = url(&app, &id, json!({"w": 1})).await;
    let absent = url(&app, &id, json!({"w": 2})).await;
    assert_eq!(fetch(&app, &there).await.status, 302);
    set_mode(&app, StorageMode::Ro, false).await;
    assert_eq!(fetch(&app, &there).await.status, 302);
    assert_eq!(
        fetch(&app, &absent).await.refusal(),
        (409, "invalid_storage_mode".to_owned())
    );
    set_mode(&app, StorageMode::Ar, false).await;
    assert_eq!(
        fetch(&app, &there).await.refusal(),
        (409, "archived_file".to_owned())
    );
    set_mode(&app, StorageMode::Rw, false).await;
    assert_eq!(fetch(&app, &absent).await.status, 302);
}

/// A hundred requests for one picture make one, and none of them is sent away: they wait for the same.
#[tokio::test]
async fn a_crowd_makes_one_picture() {
    let (app, painter) = gallery(0).await;
    let id = photo(&app).await;
    let url = url(&app, &id, json!({"w": 1})).await;
    let crowd = join_all((0..100).map(|_| fetch(&app, &url)));
    let (answers, ()) = tokio::join!(crowd, async {
        while painter.painted.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        painter.gate.add_permits(1);
    });
    assert_eq!(painter.painted.load(Ordering::SeqCst), 1);
    let location = answers[0].header("location").expect("a location");
    assert!(
        answers
            .iter()
            .all(|one| one.status == 302 && one.header("location") == Some(location))
    );
}

/// One is made and none may wait: whoever comes then is sent away at once, and told when to come again. What is there
/// already is handed out meanwhile.
#[tokio::test]
async fn more_than_can_be_made_is_sent_away() {
    let (app, painter) = gallery_with(1, 0, StoreRegistry::single([BUCKET])).await;
    let there = url(&app, &photo(&app).await, json!({"w": 1})).await;
    assert_eq!(fetch(&app, &there).await.status, 302);
    painter.gate.forget_permits(1);
    let slow = url(&app, &photo(&app).await, json!({"w": 1})).await;
    let other = url(&app, &photo(&app).await, json!({"w": 1})).await;
    let (answer, ()) = tokio::join!(fetch(&app, &slow), async {
        while painter.painted.load(Ordering::SeqCst) < 2 {
            tokio::task::yield_now().await;
        }
        let refused = fetch(&app, &other).await;
        assert_eq!(refused.refusal(), (503, "overloaded".to_owned()));
        assert_eq!(refused.header("retry-after"), Some("2"));
        assert_eq!(fetch(&app, &there).await.status, 302);
        painter.gate.add_permits(1);
    });
    assert_eq!(answer.status, 302);
    assert_eq!(fetch(&app, &other).await.status, 302);
}

#[tokio::test]
async fn as_many_are_kept_as_the_collection_says() {
    let (app, painter) = gallery(9).await;
    let id = photo(&app).await;
    for width in 1..=3 {
        let url = url(&app, &id, json!({"w": width})).await;
        assert_eq!(fetch(&app, &url).await.status, 302);
    }
    let fourth = url(&app, &id, json!({"w": 4})).await;
    let refused = fetch(&app, &fourth).await;
    assert_eq!(refused.refusal(), (429, "too_many_variants".to_owned()));
    assert_eq!(refused.header("retry-after"), Some("3600"));
    assert_eq!(painter.painted.load(Ordering::SeqCst), 3);
    app.clock.advance(SignedDuration::from_secs(3_601));
    let fourth = url(&app, &id, json!({"w": 4})).await;
    assert_eq!(fetch(&app, &fourth).await.status, 302);
}
