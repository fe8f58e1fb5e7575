//! The one table of settings. Everything else about configuration is made from it: reading and checking, the names
//! in the environment, `config show`, `docs/configuration.md` and `.env.example`.

use std::path::PathBuf;

use cloakroom_metadata::TablePrefix;
use cloakroom_signing::{Region, Secret};

use super::values::{
    BaseUrl, BucketName, ListenAddress, LogFilter, LogFormat, Period, Raw, Size, TokenAlgorithms, Value,
};

/// One setting: what may be written, where, and what it means.
#[derive(Debug)]
pub struct Descriptor {
    /// The name in the file: `server.listen` is `listen` in the table `[server]`.
    pub key: &'static str,
    /// Value when nobody says anything, as one would write it.
    pub default: &'static str,
    /// Value under `--dev` when nobody says anything, where it is another one.
    pub dev_default: Option<&'static str>,
    /// Smallest and largest value, as one would write them.
    pub range: Option<(&'static str, &'static str)>,
    /// Names that the founding documents give it in the environment.
    pub aliases: &'static [&'static str],
    /// What it is for.
    pub doc: &'static str,
    /// What may be written.
    pub kind: &'static str,
    /// Never shown; may come from a file named by `<NAME>_FILE`.
    pub secret: bool,
    /// Reads a value and gives it back as it is shown.
    pub check: fn(&Raw) -> Result<String, String>,
}

impl Descriptor {
    /// Its own name in the environment: `CLOAKROOM_SERVER_LISTEN`.
    pub fn environment_name(&self) -> String {
        environment_name(self.key)
    }
}

/// The environment's name of a key.
pub fn environment_name(key: &str) -> String {
    format!("CLOAKROOM_{}", key.replace(['.', '-'], "_").to_ascii_uppercase())
}

fn check<T: Value>(raw: &Raw, range: Option<(&str, &str)>) -> Result<T, String> {
    let value = T::read(raw)?;
    if let Some((least, most)) = range {
        let bound = |text: &str| T::read(&Raw::Text(text.to_owned()));
        let below = value
            .compare(&bound(least)?)
            .is_some_and(std::cmp::Ordering::is_lt);
        let above = value
            .compare(&bound(most)?)
            .is_some_and(std::cmp::Ordering::is_gt);
        if below || above {
            return Err(format!("must be from {least} to {most}, not {}", value.show()));
        }
    }
    Ok(value)
}

macro_rules! settings {
    ($(
        $(#[doc = $doc:literal])+
        $field:ident: $kind:ty = $key:literal, $default:literal
        $(, dev $dev:literal)? $(, from $least:literal to $most:literal)? $(, aliases [$($alias:literal),+])?;
    )+) => {
        /// Every setting, read and checked.
        #[derive(Clone, Debug)]
        pub struct Settings {
            $( $(#[doc = $doc])+ pub $field: $kind, )+
        }

        /// Every setting there is, in the order of the documentation.
        pub const DESCRIPTORS: &[Descriptor] = &[$(
            Descriptor {
                key: $key,
                default: $default,
                dev_default: settings!(@optional $($dev)?),
                range: settings!(@range $($least, $most)?),
                aliases: &[$($($alias),+)?],
                doc: concat!($($doc,)+),
                kind: <$kind as Value>::KIND,
                secret: <$kind as Value>::SECRET,
                check: |raw| check::<$kind>(raw, settings!(@range $($least, $most)?)).map(|value| value.show()),
            },
        )+];

        impl Settings {
            /// Makes the settings out of the value that was found for each key; the first error, with its key.
            /// Values that passed their descriptor's check give no error.
            pub fn read(mut value_of: impl FnMut(&'static str) -> Raw) -> Result<Self, (&'static str, String)> {
                Ok(Self {
                    $( $field: <$kind>::read(&value_of($key)).map_err(|message| ($key, message))?, )+
                })
            }
        }
    };
    (@optional) => { None };
    (@optional $value:literal) => { Some($value) };
    (@range) => { None };
    (@range $least:literal, $most:literal) => { Some(($least, $most)) };
}

settings! {
    /// Directory that everything is kept in: the database, the objects, the development keys. Made when it is absent.
    data_dir: PathBuf = "data_dir", "./data";
    /// More to see while looking for a mistake: more log lines, unless `log.level` says which.
    debug: bool = "debug", "false", aliases ["DEBUG"];

    /// Where the HTTP API listens. Containers set `0.0.0.0:8000`.
    server_listen: ListenAddress = "server.listen", "127.0.0.1:8000";
    /// Address under which clients reach the HTTP API, for the OpenAPI document and the start-up message. Empty: the address that is listened on.
    server_public_url: Option<BaseUrl> = "server.public_url", "";
    /// Origins of web pages that may call the HTTP API (CORS), `*` for all.
    server_cors_origins: Vec<String> = "server.cors_origins", "", dev "*";
    /// How long requests under way may take to finish after SIGTERM or SIGINT.
    server_shutdown_grace: Period = "server.shutdown_grace", "30s", from "0s" to "30s";

    /// Where the embedded S3 endpoint listens. Containers set `0.0.0.0:9000`.
    s3_listen: ListenAddress = "s3.listen", "127.0.0.1:9000";
    /// Address under which clients reach the S3 endpoint; upload and download URLs are signed for it. Empty:
    /// `s3.endpoint`, else the address that is listened on.
    s3_public_url: Option<BaseUrl> = "s3.public_url", "", aliases ["S3_PRESIGN_ENDPOINT"];
    /// The S3 address of deployments that know only one. This version keeps files itself, so it must lead to
    /// `s3.listen`; it is used where `s3.public_url` is empty.
    s3_endpoint: Option<BaseUrl> = "s3.endpoint", "", aliases ["S3_ENDPOINT", "S3_ENDPOINT_URL", "MINIO_ENDPOINT"];
    /// Whether S3 addresses written without a scheme are `https`. Must not contradict one that is written.
    s3_use_ssl: Option<bool> = "s3.use_ssl", "", aliases ["S3_USE_SSL", "MINIO_SECURE"];
    /// Region that signatures are made and checked for.
    s3_region: Region = "s3.region", "us-east-1", aliases ["S3_REGION", "MINIO_REGION"];
    /// Access key of the S3 endpoint. Under `--dev` a random one is made and kept when none is set.
    s3_access_key: Option<Secret> = "s3.access_key", "", aliases ["S3_ACCESS_KEY", "MINIO_ACCESS_KEY", "MINIO_ROOT_USER"];
    /// Secret key of the S3 endpoint, at least 8 characters. Under `--dev` a random one is made and kept when none is set.
    s3_secret_key: Option<Secret> = "s3.secret_key", "", aliases ["S3_SECRET_KEY", "MINIO_SECRET_KEY", "MINIO_ROOT_PASSWORD"];
    /// Bucket of every collection that does not name its own in the configuration. Empty: the bucket of its preset.
    s3_bucket: Option<BucketName> = "s3.bucket", "", aliases ["S3_BUCKET"];
    /// Origins of web pages that may upload to and download from the S3 endpoint (CORS), `*` for all.
    s3_cors_origins: Vec<String> = "s3.cors_origins", "", dev "*";

    /// Beginning of every table name, for a database that is shared.
    database_table_prefix: TablePrefix = "database.table_prefix", "cloakroom";

    /// PEM files with public keys that access tokens are checked with, read again when they change.
    auth_public_key_files: Vec<String> = "auth.public_key_files", "";
    /// A public key in PEM, written here instead of in a file.
    auth_public_key: Option<String> = "auth.public_key", "";
    /// A JWKS file with public keys, read again when it changes.
    auth_jwks_file: Option<PathBuf> = "auth.jwks_file", "";
    /// Issuer (`iss`) that access tokens must name. Empty: any.
    auth_issuer: Option<String> = "auth.issuer", "";
    /// Audience (`aud`) that access tokens must name. Empty: any.
    auth_audience: Option<String> = "auth.audience", "";
    /// Algorithms that access tokens may be signed with.
    auth_algorithms: TokenAlgorithms = "auth.algorithms", "RS256";

    /// How long a signed upload may be used, for every collection that does not say so itself in the configuration.
    /// Empty: as its preset says.
    uploads_expires: Option<Period> = "uploads.expires", "", from "1s" to "7d", aliases ["S3_PRESIGN_EXPIRY_SECONDS_UPLOAD"];
    /// How long after its URL ended an upload that nobody confirmed is kept before it is swept.
    uploads_grace: Period = "uploads.grace", "24h", from "1m" to "365d";
    /// Bytes that one owner may store and have reserved. Empty: no limit.
    uploads_quota: Option<Size> = "uploads.quota", "";

    /// Jobs that run at the same time in this process.
    worker_concurrency: u32 = "worker.concurrency", "4", from "1" to "256";
    /// How long a claimed job belongs to its worker without a sign of life.
    worker_lease: Period = "worker.lease", "15s", from "5s" to "1h";
    /// How often expired uploads, emptied trash and interrupted work are looked for.
    worker_sweep_every: Period = "worker.sweep_every", "1m", from "1s" to "1h";

    /// Attempts of a job in all, the first one included.
    retry_max_attempts: u32 = "retry.max_attempts", "3", from "1" to "100";
    /// Wait after the first failed attempt.
    retry_initial_delay: Period = "retry.initial_delay", "1s", from "1ms" to "1h";
    /// Longest wait between attempts.
    retry_max_delay: Period = "retry.max_delay", "30s", from "1ms" to "7d";
    /// Growth of the wait with each failed attempt.
    retry_exponential_base: f64 = "retry.exponential_base", "2", from "1" to "10";
    /// Whether waits are spread, so that what failed together does not come back together.
    retry_jitter: bool = "retry.jitter", "true";

    /// How log lines are written: `text` for people, `json` for machines, `auto` for text on a terminal and JSON elsewhere.
    log_format: LogFormat = "log.format", "auto";
    /// Which log lines are written: a level, or directives such as `info,cloakroom_worker=debug`. Empty: `debug` if
    /// `debug` is set, else `info`.
    log_level: Option<LogFilter> = "log.level", "", aliases ["RUST_LOG"];
    /// Whether requests and jobs are counted and timed for `/metrics`. Without it, only the numbers of files and jobs stand there.
    metrics_enabled: bool = "metrics.enabled", "true";
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_default_and_bound_passes_its_own_check() {
        for setting in DESCRIPTORS {
            let texts = [
                Some(setting.default),
                setting.dev_default,
                setting.range.map(|r| r.0),
                setting.range.map(|r| r.1),
            ];
            for text in texts.into_iter().flatten() {
                let checked = (setting.check)(&Raw::Text(text.to_owned()));
                assert!(checked.is_ok(), "{} = {text:?}: {checked:?}", setting.key);
            }
        }
    }

    #[test]
    fn no_name_means_two_settings() {
        let mut seen = HashSet::new();
        for setting in DESCRIPTORS {
            assert!(seen.insert(setting.key.to_owned()), "{} twice", setting.key);
            assert!(
                seen.insert(setting.environment_name()),
                "{} twice",
                setting.environment_name()
            );
            for alias in setting.aliases {
                assert!(seen.insert((*alias).to_owned()), "{alias} twice");
            }
            assert!(
                !setting.key.contains('_') || !setting.key.starts_with("collections"),
                "{}",
                setting.key
            );
            assert!(
                setting.doc.trim().ends_with('.'),
                "{}: {}",
                setting.key,
                setting.doc
            );
        }
    }

    #[test]
    fn ranges_hold() {
        let concurrency = DESCRIPTORS
            .iter()
            .find(|setting| setting.key == "worker.concurrency")
            .expect("declared");
        assert_eq!(
            (concurrency.check)(&Raw::Integer(0)),
            Err("must be from 1 to 256, not 0".to_owned())
        );
        assert!((concurrency.check)(&Raw::Integer(256)).is_ok());
        let grace = DESCRIPTORS
            .iter()
            .find(|setting| setting.key == "uploads.grace")
            .expect("declared");
        assert!((grace.check)(&Raw::Text("30s".into())).is_err());
    }
}
