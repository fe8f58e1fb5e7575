//! The HTTP front as configuration wants it.

use cloakroom_http::api::bucket_events::BucketEventsToken;
use cloakroom_http::auth::Expectations;
use cloakroom_http::{AuthSettings, HttpSettings, KeySource, SignLimits};
use jsonwebtoken::Algorithm;

use crate::config::settings::Settings;
use crate::dev::{DevKeys, KEY_ID};

/// What the HTTP front is told; `public_url` is where clients reach it.
pub fn http_settings(settings: &Settings, public_url: &str) -> HttpSettings {
    HttpSettings {
        cors_origins: settings.server_cors_origins.clone(),
        public_url: Some(public_url.to_owned()),
        sign_limits: SignLimits {
            per_user: settings.limits_sign_per_user.0,
            per_address: settings.limits_sign_per_address.0,
        },
        bad_tokens_per_address: settings.limits_bad_tokens_per_address.0,
        trusted_proxies: settings.server_trusted_proxies.0.clone(),
        bucket_events_token: settings
            .bucket_events_token
            .as_ref()
            .map(|token| BucketEventsToken::new(token.expose())),
        ..HttpSettings::default()
    }
}

/// How access tokens are verified; under `--dev` also with the development key.
pub fn auth_settings(settings: &Settings, dev: Option<&DevKeys>) -> AuthSettings {
    let files = settings.auth_public_key_files.iter();
    let mut keys: Vec<KeySource> = files
        .map(|path| KeySource::PemFile {
            path: path.into(),
            kid: None,
        })
        .collect();
    keys.extend(settings.auth_public_key.iter().map(|pem| KeySource::Pem {
        pem: pem.clone(),
        kid: None,
    }));
    keys.extend(
        settings
            .auth_jwks_file
            .iter()
            .map(|path| KeySource::JwksFile { path: path.clone() }),
    );
    let mut algorithms = settings.auth_algorithms.0.clone();
    if let Some(dev) = dev {
        keys.push(KeySource::PemFile {
            path: dev.public_key(),
            kid: Some(KEY_ID.to_owned()),
        });
        if !algorithms.contains(&Algorithm::RS256) {
            algorithms.push(Algorithm::RS256);
        }
    }
    let expected = Expectations {
        issuer: settings.auth_issuer.clone(),
        audiences: settings.auth_audience.iter().cloned().collect(),
    };
    AuthSettings {
        keys,
        algorithms,
        expected,
    }
}
