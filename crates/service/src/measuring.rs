//! How the use cases around stored bytes fare: how many there are, how long they take, how they end (S2 task 15).
//!
//! No meter has a file or a user in its labels: who stores how much is a question for the database.

use cloakroom_core::file::File;
use cloakroom_core::id::FileId;

use crate::app::App;
use crate::error::{Result, ServiceError};

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Measured {
    /// Signing an upload.
    SignUpload,
    /// Taking an upload in: the confirm.
    Upload,
    /// Signing a download.
    Download,
    /// Deleting a file.
    Delete,
}

impl Measured {
    const fn as_str(self) -> &'static str {
        match self {
            Self::SignUpload => "sign_upload",
            Self::Upload => "upload",
            Self::Download => "download",
            Self::Delete => "delete",
        }
    }

    /// Signing says so itself, with the same fields.
    const fn is_told(self) -> bool {
        matches!(self, Self::Upload | Self::Delete)
    }
}

/// What an outcome says of itself.
#[derive(Clone, Copy, Default)]
pub(crate) struct Seen<'a> {
    /// What it is about, where that is known.
    pub(crate) file: Option<&'a File>,
    /// It was so before: nothing was done but to say it again.
    pub(crate) repeated: bool,
}

/// One more under way, until it is dropped: whoever asked may go away in between.
struct UnderWay(metrics::Gauge);

impl UnderWay {
    fn new(operation: &'static str) -> Self {
        let gauge = metrics::gauge!("cloakroom_storage_operations_in_flight", "operation" => operation);
        gauge.increment(1.0);
        Self(gauge)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

impl App {
    /// Measures a use case.
    pub(crate) async fn measured<T>(
        &self,
        what: Measured,
        (user_id, file_id): (&str, Option<FileId>),
        work: impl Future<Output = Result<T>>,
        see: impl FnOnce(&T) -> Seen<'_>,
    ) -> Result<T> {
        let operation = what.as_str();
        let _under_way = UnderWay::new(operation);
        let begun = self.now();
        let result = work.await;
        let took = self.now().duration_since(begun);
        let seen = result.as_ref().map(see).unwrap_or_default();
        let (status, error) = match &result {
            Ok(_) if seen.repeated => ("repeated", "none"),
            Ok(_) => ("success", "none"),
            Err(error @ ServiceError::Refused(_)) => ("refused", error.code().as_str()),
            Err(error) => ("error", error.code().as_str()),
        };
        metrics::counter!("cloakroom_storage_operations_total", "operation" => operation, "status" => status, "error" => error)
            .increment(1);
        metrics::histogram!("cloakroom_storage_operation_duration_seconds", "operation" => operation)
            .record(took.as_secs_f64());
        if !what.is_told() || seen.repeated {
            return result;
        }
        let duration_ms = i64::try_from(took.as_millis()).unwrap_or(i64::MAX);
        let file = seen.file;
        if result.is_ok() {
            tracing::info!(
                event = "storage_operation",
                operation,
                file_id = file.map(|file| file.id).or(file_id).map(tracing::field::display),
                user_id,
                file_size = file.and_then(File::size_bytes),
                duration_ms,
                bucket = file.map(|file| file.bucket.as_str()),
                status,
                "Storage operation completed"
            );
        } else {
            tracing::info!(
                event = "storage_operation",
                operation,
                file_id = file_id.map(tracing::field::display),
                user_id,
                duration_ms,
                status,
                error_code = error,
                "Storage operation failed"
            );
        }
        result
    }
}
