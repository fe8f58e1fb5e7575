//! Keys: several, of several kinds, exchanged while the server runs.

use std::fs;

use cloakroom_http::auth::{Algorithm, Authenticator};
use cloakroom_http::{AuthSettings, KeySource};
use http::Method;
use jiff::SignedDuration;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Value, json};

use crate::test_app::{Options, RSA_PRIVATE, RSA_PUBLIC, TestApp, sign_with};

const RSA2_PRIVATE: &str = include_str!("keys/rsa2.pem");
const RSA2_PUBLIC: &str = include_str!("keys/rsa2.pub.pem");
const EC_PRIVATE: &str = include_str!("keys/ec.pem");
const EC_PUBLIC: &str = include_str!("keys/ec.pub.pem");
const ED_PRIVATE: &str = include_str!("keys/ed.pem");
const ED_PUBLIC: &str = include_str!("keys/ed.pub.pem");

fn token(algorithm: Algorithm, private: &str, kid: Option<&str>) -> String {
    let header = Header {
        kid: kid.map(str::to_owned),
        ..Header::new(algorithm)
    };
    sign_with(header, &json!({"sub": "ann", "exp": 1_767_330_000}), private)
}

fn pem(pem: &str, kid: Option<&str>) -> KeySource {
    KeySource::Pem {
        pem: pem.to_owned(),
        kid: kid.map(str::to_owned),
    }
}

async fn app(keys: Vec<KeySource>, algorithms: Vec<Algorithm>) -> TestApp {
    let auth = AuthSettings {
        keys,
        algorithms,
        ..AuthSettings::default()
    };
    TestApp::with(Options {
        auth,
        ..Options::default()
    })
    .await
}

async fn status(app: &TestApp, token: &str) -> u16 {
    app.call_with(token, Method::GET, "/api/v1/me", None, &[])
        .await
        .status
}

fn jwks(keys: &[(&str, Algorithm, &str)]) -> Value {
    let keys: Vec<Value> = keys
        .iter()
        .map(|(kid, algorithm, private)| {
            let key = match algorithm {
                Algorithm::ES256 => EncodingKey::from_ec_pem(private.as_bytes()),
                Algorithm::EdDSA => EncodingKey::from_ed_pem(private.as_bytes()),
                _ => EncodingKey::from_rsa_pem(private.as_bytes()),
            };
            let jwk = Jwk::from_encoding_key(&key.expect("a key"), *algorithm).expect("a JWK");
            let mut jwk = serde_json::to_value(jwk).expect("JSON");
            jwk["kid"] = json!(kid);
            jwk
        })
        .collect();
    json!({"keys": keys})
}

#[tokio::test]
async fn every_configured_algorithm_is_accepted_and_no_other() {
    let all = vec![pem(RSA_PUBLIC, None), pem(EC_PUBLIC, None), pem(ED_PUBLIC, None)];
    let every = app(all, vec![Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA]).await;
    let only_ec = app(vec![pem(EC_PUBLIC, None)], vec![Algorithm::ES256]).await;
    for (algorithm, private) in [
        (Algorithm::RS256, RSA_PRIVATE),
        (Algorithm::ES256, EC_PRIVATE),
        (Algorithm::EdDSA, ED_PRIVATE),
    ] {
        let token = token(algorithm, private, None);
        assert_eq!(status(&every, &token).await, 200, "{algorithm:?}");
        let expected = if algorithm == Algorithm::ES256 { 200 } else { 401 };
        assert_eq!(status(&only_ec, &token).await, expected, "{algorithm:?}");
    }
    // The same RSA key, another digest: not in the list.
    assert_eq!(
        status(&every, &token(Algorithm::RS512, RSA_PRIVATE, None)).await,
        401
    );
}

#[tokio::test]
async fn the_kid_chooses_and_a_token_without_one_is_tried_with_all() {
    let app = app(
        vec![pem(RSA_PUBLIC, Some("a")), pem(RSA2_PUBLIC, Some("b"))],
        vec![Algorithm::RS256],
    )
    .await;
    let rs256 = |private, kid| token(Algorithm::RS256, private, kid);
    assert_eq!(status(&app, &rs256(RSA_PRIVATE, Some("a"))).await, 200);
    assert_eq!(status(&app, &rs256(RSA2_PRIVATE, Some("b"))).await, 200);
    assert_eq!(status(&app, &rs256(RSA2_PRIVATE, Some("a"))).await, 401);
    assert_eq!(status(&app, &rs256(RSA2_PRIVATE, Some("c"))).await, 401);
    assert_eq!(status(&app, &rs256(RSA_PRIVATE, None)).await, 200);
    assert_eq!(status(&app, &rs256(RSA2_PRIVATE, None)).await, 200);
}

#[tokio::test]
async fn a_key_set_is_read() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("jwks.json");
    let mut set = jwks(&[
        ("r", Algorithm::RS256, RSA_PRIVATE),
        ("e", Algorithm::ES256, EC_PRIVATE),
        ("d", Algorithm::EdDSA, ED_PRIVATE),
    ]);
    // Keys for encryption and for other algorithms stand in the same set and are none of ours.
    let mut encryption = jwks(&[("x", Algorithm::RS256, RSA2_PRIVATE)])["keys"][0].clone();
    encryption["use"] = json!("enc");
    set["keys"].as_array_mut().expect("keys").push(encryption);
    fs::write(&path, set.to_string()).expect("written");
    let app = app(
        vec![KeySource::JwksFile { path }],
        vec![Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA],
    )
    .await;
    assert_eq!(
        status(&app, &token(Algorithm::RS256, RSA_PRIVATE, Some("r"))).await,
        200
    );
    assert_eq!(
        status(&app, &token(Algorithm::ES256, EC_PRIVATE, Some("e"))).await,
        200
    );
    assert_eq!(
        status(&app, &token(Algorithm::EdDSA, ED_PRIVATE, Some("d"))).await,
        200
    );
    assert_eq!(
        status(&app, &token(Algorithm::RS256, RSA2_PRIVATE, Some("x"))).await,
        401
    );
}

#[tokio::test]
async fn keys_are_exchanged_without_a_restart() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("key.pem");
    fs::write(&path, RSA_PUBLIC).expect("written");
    let app = app(
        vec![KeySource::PemFile {
            path: path.clone(),
            kid: None,
        }],
        vec![Algorithm::RS256],
    )
    .await;
    let (old, new) = (
        token(Algorithm::RS256, RSA_PRIVATE, None),
        token(Algorithm::RS256, RSA2_PRIVATE, None),
    );
    assert_eq!((status(&app, &old).await, status(&app, &new).await), (200, 401));

    // Both for a while.
    fs::write(&path, format!("{RSA_PUBLIC}{RSA2_PUBLIC}")).expect("written");
    app.clock.advance(SignedDuration::from_secs(5));
    assert_eq!((status(&app, &new).await, status(&app, &old).await), (200, 200));

    // A broken file changes nothing.
    fs::write(
        &path,
        "-----BEGIN PUBLIC KEY-----\nbroken\n-----END PUBLIC KEY-----\n",
    )
    .expect("written");
    app.clock.advance(SignedDuration::from_secs(5));
    assert_eq!((status(&app, &new).await, status(&app, &old).await), (200, 200));
    fs::remove_file(&path).expect("removed");
    app.clock.advance(SignedDuration::from_secs(5));
    assert_eq!((status(&app, &new).await, status(&app, &old).await), (200, 200));

    // The old key goes, and with it what was remembered of its tokens.
    fs::write(&path, RSA2_PUBLIC).expect("written");
    app.clock.advance(SignedDuration::from_secs(5));
    assert_eq!((status(&app, &old).await, status(&app, &new).await), (401, 200));
}

#[test]
fn unusable_keys_are_refused_at_the_start_and_never_shown() {
    let clock = std::sync::Arc::new(cloakroom_testkit::clock::MockClock::new());
    let refused = |source: KeySource| {
        let shown = format!("{source:?}");
        assert!(!shown.contains("BEGIN"), "{shown}");
        let settings = AuthSettings {
            keys: vec![source],
            ..AuthSettings::default()
        };
        let error = Authenticator::new(settings, clock.clone())
            .map(|_| ())
            .expect_err("refused")
            .to_string();
        assert!(!error.contains("BEGIN"), "{error}");
        error
    };
    assert!(refused(pem(RSA_PRIVATE, None)).contains("private key"));
    assert!(refused(pem("nothing", None)).contains("no PEM block"));
    // An ES256 key where only RS256 is allowed.
    assert!(refused(pem(EC_PUBLIC, None)).contains("no key of an allowed algorithm"));
    assert!(
        refused(KeySource::JwksFile {
            path: "/nowhere/jwks.json".into()
        })
        .contains("/nowhere/jwks.json")
    );
}

#[tokio::test]
async fn without_keys_only_service_tokens_are_accepted() {
    let app = app(Vec::new(), vec![Algorithm::RS256]).await;
    assert_eq!(
        status(&app, &token(Algorithm::RS256, RSA_PRIVATE, None)).await,
        401
    );
    let mistyped = app
        .call_with("the-bckend-secret", Method::GET, "/api/v1/me", None, &[])
        .await;
    let said = mistyped.json()["message"].as_str().expect("words").to_owned();
    assert!(
        said.contains("no service token that is known here") && !said.contains("bckend"),
        "{said}"
    );
}
