//! What is counted of uploads, in one place for the three ways in which one is confirmed.

/// The collection of the founding document that names its own metrics (S1-089, S1-090).
const ATTACHMENTS: &str = "attachments";

/// Counts an upload that was confirmed, once.
pub(super) fn count_confirmed(collection: &str, size_bytes: u64) {
    let size = size_bytes as f64;
    metrics::counter!("cloakroom_uploads_confirmed_total", "collection" => collection.to_owned())
        .increment(1);
    metrics::histogram!("cloakroom_upload_size_bytes", "collection" => collection.to_owned()).record(size);
    if collection == ATTACHMENTS {
        metrics::counter!("attachments_uploads_total").increment(1);
        metrics::histogram!("attachments_upload_size_bytes").record(size);
    }
}
