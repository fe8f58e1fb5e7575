//! Names in the environment beyond those of the settings' table.

/// Variables of the founding documents that name a field of a collection.
pub const COLLECTION_ALIASES: &[(&str, &str)] =
    &[("MINIO_BUCKET_RECONCILIATION", "collections.reconciliation.bucket")];

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
