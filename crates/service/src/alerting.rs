//! What is worth waking somebody for, and in which words. The adapter decides how often a kind is told.

use std::fmt::Display;

use cloakroom_core::JsonObject;
use cloakroom_core::access::Principal;
use cloakroom_core::file::File;
use cloakroom_core::job::Job;
use cloakroom_core::ports::alerts::{Alert, AlertKind};
use cloakroom_core::ports::objects::ObjectError;
use serde_json::Value;

use crate::app::App;
use crate::error::ServiceError;

impl App {
    /// Raises an alert. Nothing waits for it, and nothing fails because of it.
    pub fn send_alert(
        &self,
        kind: AlertKind,
        message: impl Into<String>,
        details: impl IntoIterator<Item = (&'static str, Value)>,
    ) {
        let details = details.into_iter().map(|(name, value)| (name.to_owned(), value));
        self.alerts.send(Alert {
            kind,
            message: message.into(),
            details: details.collect::<JsonObject>(),
            at: self.now(),
        });
    }

    /// Bytes that came through us were not stored. A body that the client spoiled is its own doing and wakes nobody.
    pub(crate) fn alert_upload_error(&self, file: &File, error: &ObjectError) {
        if !matches!(error, ObjectError::Body(_)) {
            let message = format!("An upload could not be stored: {error}.");
            self.send_alert(AlertKind::UploadError, message, about(file));
        }
    }

    /// What comes before an upload, its records, could not be stored. A refusal is the caller's own doing.
    pub(crate) fn tell_unstored(&self, principal: &Principal, collection: &str, error: &ServiceError) {
        let ServiceError::Unavailable(reason) = error else {
            return;
        };
        tracing::error!(
            event = "s3_upload_error",
            user_id = %principal.subject,
            collection,
            error = reason,
            status = "error",
            "Upload failed: {reason}"
        );
        let message = format!("An upload could not be stored: {reason}.");
        self.send_alert(
            AlertKind::UploadError,
            message,
            [("collection", collection.into())],
        );
    }

    /// A URL was not signed.
    pub(crate) fn alert_presign_error(&self, file: &File, error: &impl Display) {
        let message = format!("A URL could not be signed: {error}.");
        self.send_alert(AlertKind::PresignError, message, about(file));
    }

    /// A file was put out of everybody's reach.
    pub(crate) fn alert_quarantined(&self, file: &File) {
        let error = file.error.as_ref();
        let reason = error.map_or("", |error| error.message.as_str());
        let code = error.map_or(Value::Null, |error| error.code.clone().into());
        self.send_alert(
            AlertKind::FileQuarantined,
            format!("A file was quarantined: {reason}"),
            about(file).into_iter().chain([("error_code", code)]),
        );
    }

    /// A job went to the dead-letter list.
    pub fn alert_job_dead(&self, job: &Job, error: &str) {
        let message = format!(
            "A job of the kind {} went to the dead-letter list: {error}",
            job.kind.as_str()
        );
        self.send_alert(AlertKind::JobDead, message, of(job));
    }

    /// A job waits for the database or the store. `error` may name hosts and paths, and no secret.
    pub fn alert_job_waits(&self, job: &Job, error: &str) {
        let message = format!("A job of the kind {} waits: {error}", job.kind.as_str());
        self.send_alert(AlertKind::Unavailable, message, of(job));
    }

    /// A dependency does not answer. `error` may name hosts and paths, and no secret.
    pub fn alert_unavailable(&self, dependency: &str, error: &str) {
        let details = [("dependency", dependency.into())];
        let message = format!("No healthy answer from {dependency}: {error}");
        self.send_alert(AlertKind::Unavailable, message, details);
    }
}

fn about(file: &File) -> [(&'static str, Value); 3] {
    [
        ("file_id", file.id.to_string().into()),
        ("collection", file.collection.clone().into()),
        ("bucket", file.bucket.clone().into()),
    ]
}

fn of(job: &Job) -> [(&'static str, Value); 3] {
    [
        ("job_id", job.id.to_string().into()),
        ("file_id", job.file_id.to_string().into()),
        ("operation", job.kind.as_str().into()),
    ]
}
