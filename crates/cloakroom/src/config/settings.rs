//! The one table of settings. Everything else about configuration is made from it: reading and checking, the names
//! in the environment, `config show`, `docs/configuration.md` and `.env.example`.

use std::path::PathBuf;

use cloakroom_core::storage::StorageMode;
use cloakroom_metadata::TablePrefix;
use cloakroom_signing::{Region, Secret};

use super::values::{
    BaseUrl, BucketAddressing, BucketName, CapabilityOverrides, CloudFrontPolicyChoice, DatabaseUrl,
    Dialects, DocsPolicy, ListenAddress, LogFilter, LogFormat, NatsUrl, Networks, Period, RateLimit, Raw,
    RedisUrl, SandboxPolicy, ScannerAddress, ServerSideEncryption, Size, StoreKind, TokenAlgorithms, Value,
    WorkerListen,
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
    /// Directory that everything is kept in which is kept here: the SQLite database, the objects of the local store, the
    /// development keys. Made when it is absent. With PostgreSQL and S3 there is none.
    data_dir: PathBuf = "data_dir", "./data";
    /// More to see while looking for a mistake: more log lines, unless `log.level` says which.
    debug: bool = "debug", "false", aliases ["DEBUG"];
    /// Founding documents whose paths are answered beside the native API: `artifacts`, `attachments`, `reconciliation`,
    /// `element`, `photos`.
    dialects: Dialects = "dialects", "", dev "artifacts,attachments,reconciliation,element,photos";

    /// Where the HTTP API listens. Containers set `0.0.0.0:8000`.
    server_listen: ListenAddress = "server.listen", "127.0.0.1:8000";
    /// Address under which clients reach the HTTP API, for the OpenAPI document and the start-up message. Empty: the address that is listened on.
    server_public_url: Option<BaseUrl> = "server.public_url", "";
    /// Origins of web pages that may call the HTTP API (CORS), `*` for all.
    server_cors_origins: Vec<String> = "server.cors_origins", "", dev "*";
    /// How long requests under way may take to finish after SIGTERM or SIGINT.
    server_shutdown_grace: Period = "server.shutdown_grace", "30s", from "0s" to "30s";
    /// How long a start waits for a database and an S3 service that do not answer yet.
    server_startup_timeout: Period = "server.startup_timeout", "30s", from "0s" to "1h";
    /// When the API reference at `/docs` is answered: `always`; `debug`, while `debug` is set; `never`.
    server_docs: DocsPolicy = "server.docs", "always";
    /// Proxies whose `X-Forwarded-For` is believed. Empty: nobody's, and the address of the connection counts.
    server_trusted_proxies: Networks = "server.trusted_proxies", "";

    /// Where bytes are kept: `local` in files of `data_dir`, behind an S3 endpoint of our own; `s3` in an S3 service; `auto`
    /// in S3 where `s3.endpoint` is set, else local.
    store_kind: StoreKind = "store.kind", "auto";
    /// How much the main store is meant to hold; shown to administrators.
    store_capacity: Option<Size> = "store.capacity", "";

    /// How far the main store is open: `edit`, for good; `rw`, without deletion; `ro`; `ar`, an archive. Empty: as the database
    /// says, `edit` in a new instance. Another mode than the database and `mode.json` say is refused at the start.
    storage_mode: Option<StorageMode> = "storage.mode", "", aliases ["STORAGE_MODE"];

    /// Where the embedded S3 endpoint of the local store listens. Containers set `0.0.0.0:9000`. With an S3 service as the
    /// store there is no such endpoint.
    s3_listen: ListenAddress = "s3.listen", "127.0.0.1:9000";
    /// Address of the S3 service that files are kept in, as this process reaches it. Empty with `store.kind` `s3`: AWS, in
    /// `s3.region`.
    s3_endpoint: Option<BaseUrl> = "s3.endpoint", "", aliases ["S3_ENDPOINT", "S3_ENDPOINT_URL", "MINIO_ENDPOINT"];
    /// Address under which clients reach the S3 service, or the embedded endpoint; upload and download URLs are signed for
    /// it. Empty: `s3.endpoint`, else the address that is listened on.
    s3_public_url: Option<BaseUrl> = "s3.public_url", "", aliases ["S3_PRESIGN_ENDPOINT"];
    /// Whether S3 addresses written without a scheme are `https`. Must not contradict one that is written.
    s3_use_ssl: Option<bool> = "s3.use_ssl", "", aliases ["S3_USE_SSL", "MINIO_SECURE"];
    /// Where the name of a bucket stands in the addresses of the S3 service: `path`, `virtual` (in the host), or `auto`:
    /// `virtual` at AWS, else `path`.
    s3_addressing: BucketAddressing = "s3.addressing", "auto";
    /// Region that signatures are made and checked for.
    s3_region: Region = "s3.region", "us-east-1", aliases ["S3_REGION", "MINIO_REGION"];
    /// Access key of the S3 service, or of the embedded endpoint. For the embedded one a random key is made and kept under
    /// `--dev` when none is set. At AWS, without one, the credentials that the platform gives out are used (`AWS_*` variables,
    /// web identity, container or instance role).
    s3_access_key: Option<Secret> = "s3.access_key", "", aliases ["S3_ACCESS_KEY", "MINIO_ACCESS_KEY", "MINIO_ROOT_USER"];
    /// Secret key that belongs to it, at least 8 characters.
    s3_secret_key: Option<Secret> = "s3.secret_key", "", aliases ["S3_SECRET_KEY", "MINIO_SECRET_KEY", "MINIO_ROOT_PASSWORD"];
    /// Access key that uploads are signed with instead, where clients should be given URLs of a user who may only write.
    s3_upload_access_key: Option<Secret> = "s3.upload_access_key", "";
    /// Secret key that belongs to it.
    s3_upload_secret_key: Option<Secret> = "s3.upload_secret_key", "";
    /// Bucket of every collection that does not name its own in the configuration; then no preset has an archive, unless
    /// its `archive_bucket` and `archive_after` are set. Empty: the bucket of its preset.
    s3_bucket: Option<BucketName> = "s3.bucket", "", aliases ["S3_BUCKET"];
    /// Origins of web pages that may upload to and download from S3 (CORS), `*` for all.
    s3_cors_origins: Vec<String> = "s3.cors_origins", "", dev "*";
    /// Whether missing buckets of the S3 service are made and set up (CORS, lifecycle) at every start.
    s3_bootstrap: bool = "s3.bootstrap", "true";
    /// ARN of the queue or topic that the S3 service is told to notify of uploads when buckets are set up. Empty: its
    /// notifications stay as they are.
    s3_notify: Option<String> = "s3.notify", "";
    /// Longest wait for a connection to the S3 service.
    s3_connect_timeout: Period = "s3.connect_timeout", "3s", from "100ms" to "1m";
    /// Longest wait for an answer of the S3 service, all attempts together.
    s3_request_timeout: Period = "s3.request_timeout", "30s", from "1s" to "10m";
    /// How the S3 service encrypts objects: `AES256`, `aws:kms`. Empty: as its bucket says.
    s3_encryption: Option<ServerSideEncryption> = "s3.encryption", "";
    /// Id of the key for `aws:kms`. Empty: the default key of the service.
    s3_kms_key_id: Option<String> = "s3.kms_key_id", "";
    /// Storage class of the objects in the S3 service, such as `STANDARD_IA`. Empty: its default.
    s3_storage_class: Option<String> = "s3.storage_class", "";
    /// Whether it is found out at every start what the S3 service really enforces, in some forty small requests; upload methods
    /// whose limits it does not enforce are not offered.
    s3_probe: bool = "s3.probe", "true";
    /// What the S3 service can and cannot do, whatever was found out.
    s3_capabilities: CapabilityOverrides = "s3.capabilities", "";

    /// The database. Empty: SQLite, in `data_dir`. `postgresql+asyncpg://` is read as `postgresql://`; `sslmode` and other
    /// parameters of libpq may follow.
    database_url: Option<DatabaseUrl> = "database.url", "", aliases ["DATABASE_URL"];
    /// Beginning of every table name, for a database that is shared.
    database_table_prefix: TablePrefix = "database.table_prefix", "cloakroom";
    /// Connections to PostgreSQL that are kept.
    database_pool_size: u32 = "database.pool_size", "10", from "1" to "1000", aliases ["DB_POOL_SIZE"];
    /// Connections beyond these while there is much to do.
    database_max_overflow: u32 = "database.max_overflow", "20", from "0" to "1000", aliases ["DB_MAX_OVERFLOW"];
    /// How long an operation waits for a free connection.
    database_pool_timeout: Period = "database.pool_timeout", "30s", from "100ms" to "10m", aliases ["DB_POOL_TIMEOUT"];
    /// Age at which a connection is replaced.
    database_pool_recycle: Period = "database.pool_recycle", "1h", from "1s" to "7d", aliases ["DB_POOL_RECYCLE"];
    /// Whether a connection that has rested is asked whether it lives before it is used.
    database_pool_pre_ping: bool = "database.pool_pre_ping", "true", aliases ["DB_POOL_PRE_PING"];
    /// How long a connection to PostgreSQL may take to be made.
    database_connect_timeout: Period = "database.connect_timeout", "5s", from "100ms" to "1m";
    /// How long a statement may take.
    database_statement_timeout: Period = "database.statement_timeout", "10s", from "100ms" to "10m";

    /// Redis, where several nodes share the counters of rate limits and the janitor's lease. Empty: every node counts by
    /// itself, and the lease is in the database.
    redis_url: Option<RedisUrl> = "redis.url", "", aliases ["REDIS_URL"];
    /// How long it stands in Redis after its last sign of life that this process serves the HTTP API, and where (service
    /// discovery). `0s`: it does not say so.
    redis_announce_ttl: Period = "redis.announce_ttl", "30s", from "0s" to "1h";

    /// How often one user may sign uploads.
    limits_sign_per_user: RateLimit = "limits.sign_per_user", "10/min", dev "0";
    /// How often uploads may be signed from one address.
    limits_sign_per_address: RateLimit = "limits.sign_per_address", "60/min", dev "0";
    /// How often an invalid token may come from one address; from more, tokens that were not valid just before are refused
    /// unread.
    limits_bad_tokens_per_address: RateLimit = "limits.bad_tokens_per_address", "600/min", dev "0";

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
    /// How far the clocks of issuers may be ahead of ours: `nbf` and `iat` of access tokens. `exp` counts to the second.
    auth_leeway: Period = "auth.leeway", "1m", from "0s" to "1h";
    /// Algorithms that access tokens may be signed with.
    auth_algorithms: TokenAlgorithms = "auth.algorithms", "RS256";

    /// A service token of a backend or a bot that configuration gives instead of the database, at least 16 characters; while it
    /// is changed the new one and the old one, with a space between them.
    auth_service_token: Option<Secret> = "auth.service_token", "", aliases ["BACKEND_SERVICE_TOKEN"];
    /// Collections that it is good for.
    auth_service_token_collections: Vec<String> = "auth.service_token_collections", "photos";

    /// Address of a content delivery network (CDN) that fetches from this program, at `server.public_url`: downloads lead there,
    /// signed where the collection is private. Empty: downloads lead to the store.
    downloads_cdn_url: Option<BaseUrl> = "downloads.cdn_url", "", aliases ["CDN_URL"];
    /// Address of a CloudFront distribution that downloads go through, such as `https://d111111abcdef8.cloudfront.net`; where it
    /// stands before several buckets, `{bucket}` is where the bucket's name goes. Empty: downloads come from the store.
    downloads_cloudfront_url: Option<BaseUrl> = "downloads.cloudfront_url", "";
    /// Id that CloudFront gave the public key of the key pair that its URLs are signed with.
    downloads_cloudfront_key_pair_id: Option<String> = "downloads.cloudfront_key_pair_id", "";
    /// The private key of that pair: RSA of at least 2048 bits, in PEM.
    downloads_cloudfront_private_key: Option<Secret> = "downloads.cloudfront_private_key", "";
    /// What stands in such a URL: `canned`, its end alone; `custom`, a whole policy, which also says from when it is good.
    downloads_cloudfront_policy: CloudFrontPolicyChoice = "downloads.cloudfront_policy", "canned";
    /// Collections whose buckets the distribution stands before.
    downloads_cloudfront_collections: Vec<String> = "downloads.cloudfront_collections", "photos";

    /// How long a signed upload may be used, for every collection that does not say so itself in the configuration.
    /// Empty: as its preset says.
    uploads_expires: Option<Period> = "uploads.expires", "", from "1s" to "7d", aliases ["S3_PRESIGN_EXPIRY_SECONDS_UPLOAD"];
    /// How long after its URL ended an upload that nobody confirmed is kept before it is swept.
    uploads_grace: Period = "uploads.grace", "24h", from "1m" to "365d";
    /// Version of the offer (terms of use) that users must have accepted before they upload; a new version has to be accepted
    /// anew. Empty: nothing has to be accepted.
    uploads_offer: Option<String> = "uploads.offer", "";
    /// Bytes that one owner may store and have reserved. Empty: no limit.
    uploads_quota: Option<Size> = "uploads.quota", "";

    /// Where clamd listens: `host:port`, or the path of its Unix socket, such as `/run/clamav/clamd.ctl`. Empty: nothing is
    /// scanned.
    scan_address: Option<ScannerAddress> = "scan.address", "";
    /// The `StreamMaxLength` of clamd, or less: the largest file that it takes.
    scan_stream_max: Size = "scan.stream_max", "25MiB", from "1KiB" to "4GiB";
    /// The `MaxFileSize` of clamd, or less: larger members of archives are passed over by it.
    scan_file_max: Size = "scan.file_max", "25MiB", from "1KiB" to "4GiB";
    /// The `MaxScanSize` of clamd, or less: what an archive holds beyond it is passed over.
    scan_total_max: Size = "scan.total_max", "100MiB", from "1KiB" to "4GiB";
    /// The `MaxFiles` of clamd, or less: further files of an archive are passed over.
    scan_files_max: u32 = "scan.files_max", "10000", from "1" to "1000000";
    /// The `MaxRecursion` of clamd, or less. Archives may be nested half as deep, for clamd counts layers of its own as well.
    scan_recursion_max: u32 = "scan.recursion_max", "16", from "2" to "100";
    /// The `MaxScanTime` of clamd, or less: it stops looking then.
    scan_time_max: Period = "scan.time_max", "2m", from "1s" to "1h";
    /// Longest wait for a connection to clamd.
    scan_connect_timeout: Period = "scan.connect_timeout", "3s", from "100ms" to "1m";
    /// Longest wait for clamd to take the next bytes, or to answer a ping.
    scan_idle_timeout: Period = "scan.idle_timeout", "30s", from "100ms" to "10m";
    /// Longest wait for a verdict after the last byte.
    scan_timeout: Period = "scan.timeout", "3m", from "100ms" to "1h";

    /// How often garbage, objects that nothing refers to, is looked for by itself; `0s` never.
    garbage_scan_every: Period = "garbage.scan_every", "24h", from "0s" to "365d";
    /// How long garbage is kept after it was found, so that it can be looked at and kept, before it is removed.
    garbage_keep_for: Period = "garbage.keep_for", "7d", from "1m" to "365d";

    /// An SQS queue in which the S3 service says what was uploaded.
    bucket_events_sqs_queue_url: Option<String> = "bucket_events.sqs_queue_url", "";
    /// Address of SQS. Empty: that of the queue's URL.
    bucket_events_sqs_endpoint: Option<BaseUrl> = "bucket_events.sqs_endpoint", "";
    /// A NATS server through which the S3 service says what was uploaded.
    bucket_events_nats_url: Option<NatsUrl> = "bucket_events.nats_url", "";
    /// The subject there.
    bucket_events_nats_subject: String = "bucket_events.nats_subject", "cloakroom.bucket-events";
    /// Token that an S3 service must send as `Authorization: Bearer` to `POST /api/v1/bucket-events`, at least 16 characters.
    /// Empty: there is no such route.
    bucket_events_token: Option<Secret> = "bucket_events.token", "";

    /// Address that every event of a file is posted to, signed. Empty: events stay in the timelines alone. It may hold a token
    /// and is not shown.
    webhooks_url: Option<Secret> = "webhooks.url", "";
    /// What webhooks are signed with: `whsec_` and 24 to 64 bytes in Base64; while it is changed the new one and the old one,
    /// with a space between them.
    webhooks_secret: Option<Secret> = "webhooks.secret", "";
    /// Whether webhooks may go to private addresses, and over http: for a receiver in the same network.
    webhooks_allow_private: bool = "webhooks.allow_private", "false";

    /// Address that alerts are posted to, as JSON: uploads that could not be stored, URLs that could not be signed, dependencies
    /// that do not answer, dead jobs, quarantined files, many errors. Empty: there are none. It may hold a token and is not shown.
    alerts_webhook_url: Option<Secret> = "alerts.webhook_url", "", aliases ["ALERT_WEBHOOK_URL"];
    /// Whether alerts may go to a private address, and over http: for a receiver in the same network.
    alerts_allow_private: bool = "alerts.allow_private", "false", dev "true";
    /// Of each kind of alert at most one is sent in this time; the next one says how many were held back. `0s`: all of them.
    alerts_interval: Period = "alerts.interval", "1m", from "0s" to "1d";
    /// Share of answers in a minute that are errors of ours (status 5xx) from which on there is an alert, in percent.
    alerts_error_percent: u32 = "alerts.error_percent", "5", from "1" to "100";

    /// What URLs of variants, and downloads through `downloads.cdn_url`, are signed with, at least 16 characters, the same on
    /// every node. Empty: a key that follows from `s3.secret_key`. Where there is neither, no variants are offered.
    variants_secret: Option<Secret> = "variants.secret", "";
    /// Variants that are made at the same time in this process.
    variants_at_once: u32 = "variants.at_once", "2", from "1" to "64";
    /// Requests for variants that may wait until one can be made; others are sent away with a 503.
    variants_waiting_max: u32 = "variants.waiting_max", "32", from "0" to "10000";

    /// Longest time of one run of a processor by the clock.
    processing_timeout: Period = "processing.timeout", "30s", from "1s" to "1h";
    /// Longest time of processors that one run may use.
    processing_cpu: Period = "processing.cpu", "10s", from "1s" to "1h";
    /// Most memory of one run, beside the program itself.
    processing_memory: Size = "processing.memory", "512MiB", from "64MiB" to "64GiB";
    /// Largest size of everything that one run makes.
    processing_output_max: Size = "processing.output_max", "64MiB", from "1MiB" to "1GiB";
    /// Whether files are processed where the kernel cannot confine processors in every way (landlock, seccomp): `auto`, with a
    /// line in the log, or `required`, not at all.
    processing_sandbox: SandboxPolicy = "processing.sandbox", "auto";
    /// Whether programs of the system (ffmpeg, heif-dec, avifdec) decode what this program does not, where they are installed.
    processing_system_decoders: bool = "processing.system_decoders", "true";
    /// Where files are kept while they are processed, those over 16MiB. Empty: in the data directory, or where there is none
    /// in the system's directory for temporary files.
    processing_directory: Option<PathBuf> = "processing.directory", "";

    /// Where a process of the command `worker` answers `/health/live`, `/health/ready` and `/metrics`; `off` for nowhere.
    worker_listen: WorkerListen = "worker.listen", "127.0.0.1:8001";
    /// Jobs that run at the same time in this process.
    worker_concurrency: u32 = "worker.concurrency", "4", from "1" to "256";
    /// Files that are verified and processed at the same time in this process, at most. Empty: as many as `worker.concurrency`
    /// leaves; one place is always left to light work, and one to heavy work.
    worker_limit_process_file: Option<u32> = "worker.limits.process_file", "", from "1" to "256";
    /// Jobs of the kind `reap_upload` that run at the same time, at most. Empty: as for `worker.limits.process_file`.
    worker_limit_reap_upload: Option<u32> = "worker.limits.reap_upload", "", from "1" to "256";
    /// Jobs of the kind `purge_file` that run at the same time, at most. Empty: as for `worker.limits.process_file`.
    worker_limit_purge_file: Option<u32> = "worker.limits.purge_file", "", from "1" to "256";
    /// Jobs of the kind `remove_tombstone` that run at the same time, at most. Empty: as for `worker.limits.process_file`.
    worker_limit_remove_tombstone: Option<u32> = "worker.limits.remove_tombstone", "", from "1" to "256";
    /// Jobs of the kind `discard_staging` that run at the same time, at most. Empty: as for `worker.limits.process_file`.
    worker_limit_discard_staging: Option<u32> = "worker.limits.discard_staging", "", from "1" to "256";
    /// Jobs of the kind `archive_file` that run at the same time, at most. Empty: as for `worker.limits.process_file`.
    worker_limit_archive_file: Option<u32> = "worker.limits.archive_file", "", from "1" to "256";
    /// Jobs of the kind `unarchive_file` that run at the same time, at most. Empty: as for `worker.limits.process_file`.
    worker_limit_unarchive_file: Option<u32> = "worker.limits.unarchive_file", "", from "1" to "256";
    /// Jobs of the kind `remove_moved` that run at the same time, at most. Empty: as for `worker.limits.process_file`.
    worker_limit_remove_moved: Option<u32> = "worker.limits.remove_moved", "", from "1" to "256";
    /// Jobs of the kind `release_file` that run at the same time, at most. Empty: as for `worker.limits.process_file`.
    worker_limit_release_file: Option<u32> = "worker.limits.release_file", "", from "1" to "256";
    /// Jobs of the kind `rescan_file` that run at the same time, at most. Empty: as for `worker.limits.process_file`.
    worker_limit_rescan_file: Option<u32> = "worker.limits.rescan_file", "", from "1" to "256";
    /// How long a claimed job belongs to its worker without a sign of life.
    worker_lease: Period = "worker.lease", "15s", from "5s" to "1h";
    /// How often expired uploads, emptied trash and interrupted work are looked for.
    worker_sweep_every: Period = "worker.sweep_every", "1m", from "1s" to "1h";
    /// How long the one worker that sweeps stays the one without a sign of life.
    worker_leader_lease: Period = "worker.leader_lease", "15s", from "1s" to "10m";

    /// Time from which on a trial of the storage (`GET /health/storage`) counts as slow, and it as degraded: a write, a look, a
    /// read, a list and a delete in its slowest bucket together.
    health_storage_slow_after: Period = "health.storage_slow_after", "1s", from "10ms" to "1m";

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
    /// A file that log lines go to as well, as JSON whatever `log.format` says. Of one process: each needs its own. Empty:
    /// there is none.
    log_file: Option<PathBuf> = "log.file", "";
    /// Size beyond which the log file does not grow: then it becomes `<name>.1`, and a new one is begun.
    log_file_max: Size = "log.file_max", "100MiB", from "1KiB" to "100GiB";
    /// Log files that are kept beside the one that is written to.
    log_files_kept: u32 = "log.files_kept", "5", from "0" to "1000";
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
