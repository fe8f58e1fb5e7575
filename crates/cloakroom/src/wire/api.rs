//! The HTTP front as configuration wants it.

use cloakroom_http::api::bucket_events::BucketEventsToken;
use cloakroom_http::auth::{ConfiguredToken, Expectations};
use cloakroom_http::{AuthSettings, HttpSettings, KeySource, SignLimits, StorageFacts};
use jsonwebtoken::Algorithm;

use super::EmbeddedEndpoint;
use crate::config::Config;
use crate::config::adapters::Store;
use crate::config::checks::missing_for_the_store;
use crate::config::settings::Settings;
use crate::config::values::DocsPolicy;
use crate::dev::{DevKeys, KEY_ID};

/// Who the configured service token is; the owner of what it creates for nobody else.
const BACKEND: &str = "backend";

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
        // Where CloudFront is, it is for these.
        cdn_not_for: match settings.downloads_cloudfront_url {
            Some(_) => settings.downloads_cloudfront_collections.clone(),
            None => Vec::new(),
        },
        cdn_url: settings
            .downloads_cdn_url
            .as_ref()
            .map(|url| url.with_scheme(true)),
        storage_slow_after: settings.health_storage_slow_after.0,
        dialects: settings.dialects.0.clone(),
        alert_error_percent: settings.alerts_error_percent,
        debug: settings.debug,
        docs: match settings.server_docs {
            DocsPolicy::Always => true,
            DocsPolicy::Debug => settings.debug,
            DocsPolicy::Never => false,
        },
        ..HttpSettings::default()
    }
}

/// What is configured of the main store, for `/health/s3`.
pub fn storage_facts(config: &Config, embedded: Option<&EmbeddedEndpoint>) -> StorageFacts {
    let settings = &config.settings;
    let region = settings.s3_region.as_str().to_owned();
    match settings.store() {
        Store::Local => {
            let url = embedded.map(|endpoint| endpoint.url.clone());
            StorageFacts {
                endpoint: url.clone(),
                presign_endpoint: url,
                region,
                credentials: embedded.is_some(),
            }
        }
        Store::S3(url) => StorageFacts {
            presign_endpoint: settings.s3_public_address(),
            region,
            credentials: missing_for_the_store(config).is_none(),
            endpoint: Some(url),
        },
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
        leeway: settings.auth_leeway.std(),
    };
    AuthSettings {
        keys,
        algorithms,
        expected,
        service_tokens: service_tokens(settings),
    }
}

/// The tokens of `auth.service_token`: one, or while it is changed several.
fn service_tokens(settings: &Settings) -> Vec<ConfiguredToken> {
    let Some(tokens) = &settings.auth_service_token else {
        return Vec::new();
    };
    let collections = &settings.auth_service_token_collections;
    tokens
        .expose()
        .split_whitespace()
        .map(|token| ConfiguredToken::new(token, BACKEND, collections.clone()))
        .collect()
}
