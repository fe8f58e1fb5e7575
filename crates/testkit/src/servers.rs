//! Where the real servers are that tests run against. `scripts/test-servers` starts them and says so in the environment.

/// An S3 service that tests may use as they like.
#[derive(Clone, PartialEq, Eq)]
pub struct S3 {
    /// Its address, path style.
    pub endpoint: String,
    /// An access key that may do everything.
    pub access_key: String,
    /// Its secret half.
    pub secret_key: String,
    /// Its region.
    pub region: String,
}

/// A PostgreSQL database and a superuser: `postgres://user:password@host:port/database`.
pub fn postgres_url() -> String {
    said("POSTGRES_URL")
}

/// A Redis: `redis://host:port`.
pub fn redis_url() -> String {
    said("REDIS_URL")
}

/// A Ceph RADOS gateway.
pub fn s3() -> S3 {
    S3 {
        endpoint: said("S3_ENDPOINT"),
        access_key: said("S3_ACCESS_KEY"),
        secret_key: said("S3_SECRET_KEY"),
        region: said("S3_REGION"),
    }
}

/// A key of the Ceph RADOS gateway's key management, for SSE-KMS.
pub fn s3_kms_key_id() -> String {
    said("S3_KMS_KEY_ID")
}

/// moto: SQS, SNS, KMS, STS and an S3 that checks no signature.
pub fn moto_url() -> String {
    said("MOTO_URL")
}

/// A NATS server with JetStream: `nats://host:port`.
pub fn nats_url() -> String {
    said("NATS_URL")
}

/// A clamd that knows EICAR alone, over TCP: `host:port`.
pub fn clamd_tcp() -> String {
    said("CLAMD_TCP")
}

/// The Unix socket of the same clamd.
pub fn clamd_socket() -> std::path::PathBuf {
    said("CLAMD_SOCKET").into()
}

/// A table prefix that nobody else uses, so that tests share one database.
pub fn unique_table_prefix() -> String {
    format!("t{}", random_text())
}

/// A bucket name that nobody else uses.
pub fn unique_bucket() -> String {
    format!("test-{}", random_text())
}

fn random_text() -> String {
    // The end of a version 7 UUID is random.
    uuid::Uuid::now_v7().simple().to_string()[16..].to_owned()
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place where tests learn of their servers"
)]
fn said(name: &str) -> String {
    let variable = format!("CLOAKROOM_TEST_{name}");
    std::env::var(&variable).unwrap_or_else(|_| {
        panic!("{variable} is not set: run the tests as `scripts/test-servers run cargo test ...`, or `make test-rust`")
    })
}
