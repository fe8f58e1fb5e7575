//! What must hold between settings, and what a process needs beside a configuration without contradictions.

use cloakroom_signing::Secret;
use cloakroom_worker::deliveries::{SigningKeys, Target};

use super::Config;
use super::adapters::{Store, is_aws};
use super::layers::Problem;
use super::settings::Settings;
use super::stores::missing_for_stores;
use super::values::{BaseUrl, ServerSideEncryption, StoreKind};

/// Secret keys that everybody knows: the defaults of other servers, and the placeholders of the founding documents.
const KNOWN_SECRETS: &[&str] = &[
    "minioadmin",
    "minio123",
    "rustfsadmin",
    "changeme",
    "password",
    "secret",
    "your_secure_access_key",
    "your_secure_secret_key",
    "production_access_key",
    "production_secret_key",
];
/// S3 clients refuse shorter secret keys (MinIO's rule).
const SECRET_KEY_CHARS_MIN: usize = 8;
/// A token that lets strangers in is worth as much as its length.
const TOKEN_CHARS_MIN: usize = 16;

/// What must hold between settings.
pub fn contradictions(settings: &Settings, dev: bool) -> Vec<Problem> {
    let mut found = Vec::new();
    schemes(settings, &mut found);
    let pairs = [
        (
            "s3.access_key",
            &settings.s3_access_key,
            "s3.secret_key",
            &settings.s3_secret_key,
        ),
        (
            "s3.upload_access_key",
            &settings.s3_upload_access_key,
            "s3.upload_secret_key",
            &settings.s3_upload_secret_key,
        ),
    ];
    for pair in pairs {
        found.extend(credentials(pair, dev).map(Problem));
    }
    found.extend(store(settings).into_iter().map(|text| Problem(text.to_owned())));
    if settings.retry_initial_delay > settings.retry_max_delay {
        found.push(Problem(
            "retry.initial_delay must be at most retry.max_delay".to_owned(),
        ));
    }
    if settings.s3_connect_timeout > settings.s3_request_timeout {
        found.push(Problem(
            "s3.connect_timeout must be at most s3.request_timeout".to_owned(),
        ));
    }
    if let Some(token) = &settings.bucket_events_token
        && token.expose().chars().count() < TOKEN_CHARS_MIN
    {
        found.push(Problem(format!(
            "bucket_events.token must have at least {TOKEN_CHARS_MIN} characters"
        )));
    }
    if let Some(secret) = &settings.variants_secret
        && secret.expose().chars().count() < TOKEN_CHARS_MIN
    {
        found.push(Problem(format!(
            "variants.secret must have at least {TOKEN_CHARS_MIN} characters"
        )));
    }
    if let Some(tokens) = &settings.auth_service_token
        && (tokens.expose().split_whitespace()).any(|token| {
            token.chars().count() < TOKEN_CHARS_MIN || !token.bytes().all(|b| b.is_ascii_graphic())
        })
    {
        found.push(Problem(format!(
            "auth.service_token must have at least {TOKEN_CHARS_MIN} characters, all of them visible ASCII"
        )));
    }
    found.extend(webhooks(settings).into_iter().map(Problem));
    found.extend(alerts(settings).map(Problem));
    found.extend(ports(settings).map(Problem));
    found
}

fn webhooks(settings: &Settings) -> Vec<String> {
    let (url, secret) = match (&settings.webhooks_url, &settings.webhooks_secret) {
        (None, None) => return vec![],
        (Some(_), None) => return vec!["webhooks.url is set and webhooks.secret is not".to_owned()],
        (None, Some(_)) => return vec!["webhooks.secret is set and webhooks.url is not".to_owned()],
        (Some(url), Some(secret)) => (url, secret),
    };
    let target = Target::new(url.expose(), settings.webhooks_allow_private);
    let keys = SigningKeys::parse(secret.expose());
    let target = target.err().map(|error| format!("webhooks.url {error}"));
    let keys = keys.err().map(|error| format!("webhooks.secret {error}"));
    target.into_iter().chain(keys).collect()
}

fn alerts(settings: &Settings) -> Option<String> {
    let url = settings.alerts_webhook_url.as_ref()?;
    let target = Target::new(url.expose(), settings.alerts_allow_private);
    target
        .err()
        .map(|error| format!("alerts.webhook_url {}", error.of("alerts")))
}

fn schemes(settings: &Settings, found: &mut Vec<Problem>) {
    for (key, url) in [
        ("s3.public_url", &settings.s3_public_url),
        ("s3.endpoint", &settings.s3_endpoint),
    ] {
        let scheme = url.as_ref().and_then(BaseUrl::scheme);
        match (scheme, settings.s3_use_ssl) {
            (Some("http"), Some(true)) => {
                found.push(Problem(format!(
                    "{key} is an http address, and s3.use_ssl is true"
                )));
            }
            (Some("https"), Some(false)) if key == "s3.endpoint" => {
                found.push(Problem(format!(
                    "{key} is an https address, and s3.use_ssl is false"
                )));
            }
            _ => {}
        }
    }
}

fn credentials(
    (access_name, access, secret_name, secret): (&str, &Option<Secret>, &str, &Option<Secret>),
    dev: bool,
) -> Option<String> {
    match (access, secret) {
        (Some(_), None) => Some(format!("{access_name} is set and {secret_name} is not")),
        (None, Some(_)) => Some(format!("{secret_name} is set and {access_name} is not")),
        (Some(access), Some(secret)) if !dev => {
            if KNOWN_SECRETS.contains(&secret.expose()) || KNOWN_SECRETS.contains(&access.expose()) {
                Some(format!(
                    "{access_name} or {secret_name} is a default that everybody knows; choose others (only --dev takes these)"
                ))
            } else if secret.expose().chars().count() < SECRET_KEY_CHARS_MIN {
                Some(format!(
                    "{secret_name} must have at least {SECRET_KEY_CHARS_MIN} characters"
                ))
            } else {
                None
            }
        }
        _ => None,
    }
}

fn store(settings: &Settings) -> Vec<&'static str> {
    let mut found = Vec::new();
    let is_local = settings.store() == Store::Local;
    if settings.store_kind == StoreKind::Local && settings.s3_endpoint.is_some() {
        found.push(
            "store.kind is local, and s3.endpoint (S3_ENDPOINT) names an S3 service: remove one of them (s3.public_url is the address under which clients reach the embedded endpoint)",
        );
    }
    if settings.s3_kms_key_id.is_some() && settings.s3_encryption != Some(ServerSideEncryption::Kms) {
        found.push("s3.kms_key_id is set, and s3.encryption is not aws:kms");
    }
    if is_local {
        if settings.s3_use_ssl == Some(true)
            && settings.s3_endpoint.is_none()
            && settings.s3_public_url.is_none()
        {
            found.push("s3.use_ssl is true, and there is no S3 address that it could be said of, for the embedded endpoint speaks plain HTTP: set s3.endpoint (S3_ENDPOINT) for an S3 service, or s3.public_url for a proxy with TLS before the embedded endpoint, or remove it");
        }
        if settings.s3_encryption.is_some() {
            found.push("s3.encryption is set, and the local store encrypts nothing: set s3.endpoint (S3_ENDPOINT) for an S3 service, or remove it");
        }
        if settings.s3_upload_access_key.is_some() {
            found.push("s3.upload_access_key is set, and the embedded endpoint has one user: set s3.endpoint (S3_ENDPOINT) for an S3 service, or remove it");
        }
    }
    if settings.bucket_events_sqs_endpoint.is_some() && settings.bucket_events_sqs_queue_url.is_none() {
        found.push("bucket_events.sqs_endpoint is set and bucket_events.sqs_queue_url is not");
    }
    found
}

fn ports(settings: &Settings) -> Option<String> {
    let (api, s3) = (settings.server_listen.0, settings.s3_listen.0);
    let same = settings.store() == Store::Local
        && api.port() == s3.port()
        && api.port() != 0
        && (api.ip() == s3.ip() || api.ip().is_unspecified() || s3.ip().is_unspecified());
    same.then(|| format!("server.listen and s3.listen are both port {}", api.port()))
}

/// What is set and has no effect.
pub fn notices(settings: &Settings) -> Vec<String> {
    let mut found = Vec::new();
    let sources = settings.bucket_events_sqs_queue_url.is_some() || settings.bucket_events_nats_url.is_some();
    if settings.store() == Store::Local && sources {
        found.push(
            "bucket_events tells of an S3 service, and the store is local: it sees by itself what is uploaded".to_owned(),
        );
    }
    found
}

/// What a server needs beside a configuration without contradictions: keys to check tokens with, and credentials of S3.
/// Under `--dev` the keys are made, and so are the credentials of the embedded endpoint.
pub fn missing_for_serving(config: &Config, dev: bool) -> Vec<Problem> {
    let settings = &config.settings;
    let mut missing = Vec::new();
    let no_keys = settings.auth_public_key_files.is_empty()
        && settings.auth_public_key.is_none()
        && settings.auth_jwks_file.is_none()
        // A backend with a token of its own needs no people's.
        && settings.auth_service_token.is_none();
    if no_keys && !dev {
        missing.push(Problem(
            "no keys to check access tokens with: set auth.public_key_files, auth.public_key or auth.jwks_file, or start with --dev to try things out".to_owned(),
        ));
    }
    if settings.s3_access_key.is_none() && !dev && settings.store() == Store::Local {
        missing.push(Problem(
            "no credentials for the S3 endpoint: set s3.access_key and s3.secret_key, or start with --dev to try things out".to_owned(),
        ));
    }
    missing.extend(missing_for_the_store(config));
    missing.extend(missing_for_stores(config, dev));
    missing
}

/// What an S3 service needs: credentials, unless the platform gives them out.
pub fn missing_for_the_store(config: &Config) -> Option<Problem> {
    let settings = &config.settings;
    let Store::S3(url) = settings.store() else {
        return None;
    };
    let given_out = is_aws(&url) || config.aws.name_a_source();
    (settings.s3_access_key.is_none() && !given_out).then(|| {
        Problem(format!(
            "no credentials for the S3 service at {url}: set s3.access_key and s3.secret_key (S3_ACCESS_KEY and S3_SECRET_KEY)"
        ))
    })
}

/// What a worker needs that runs beside other processes.
pub fn missing_for_working(config: &Config) -> Vec<Problem> {
    let settings = &config.settings;
    let shared = config.is_shared();
    let alone = (!shared).then(|| {
        Problem(format!(
            "several processes need PostgreSQL and S3: set DATABASE_URL and S3_ENDPOINT (now the database is {}, and the store is {}); one process alone is `cloakroom serve`, which has a worker",
            settings.database_description(),
            settings.store_description()
        ))
    });
    let local = config.local_tables().next().filter(|_| settings.is_shared());
    let local = local.map(|table| {
        Problem(format!(
            "stores.{} is local, and several processes need S3: set stores.{}.endpoint; one process alone is `cloakroom serve`, which has a worker",
            table.name, table.name
        ))
    });
    alone
        .filter(|_| local.is_none())
        .into_iter()
        .chain(local.clone())
        .chain(missing_for_the_store(config))
        .chain(
            missing_for_stores(config, false)
                .into_iter()
                .filter(|_| local.is_none()),
        )
        .collect()
}
