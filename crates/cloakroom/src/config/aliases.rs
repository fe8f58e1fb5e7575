//! Names in the environment beyond those of the settings' table.

/// Variables of the founding documents that name a field of a collection.
pub const COLLECTION_ALIASES: &[(&str, &str)] =
    &[("MINIO_BUCKET_RECONCILIATION", "collections.reconciliation.bucket")];

/// Variables of the founding documents that nothing reads yet. They are reported, so that nobody believes that they
/// do something.
pub const UNUSED: &[(&str, &str)] = &[
    ("ALERT_WEBHOOK_URL", "no alerts are sent"),
    (
        "BACKEND_SERVICE_TOKEN",
        "make one with `cloakroom token create-service`",
    ),
    ("CDN_URL", "downloads are signed for s3.public_url"),
];

/// Variables beginning with `CLOAKROOM_` that are not settings: where the configuration is, and what the client
/// commands and the project's own tests read.
pub const NOT_SETTINGS: &[&str] = &[
    "CLOAKROOM_CONFIG",
    "CLOAKROOM_URL",
    "CLOAKROOM_TOKEN",
    "CLOAKROOM_TOKEN_FILE",
    "CLOAKROOM_BIN",
    "CLOAKROOM_READY_FILE",
];
