//! The virus scanner's part in verification: its verdicts are counted, and files wait while it does not answer.
//!
//! No collection that requires scanning passes a file without the scanner's word. A file whose scan failed stays in
//! `processing` and says so, once; its job asks whether the scanner is back before it takes the file up again.

use std::sync::Arc;

use bytes::Bytes;
use cloakroom_core::collection::Collection;
use cloakroom_core::file::{File, FileError};
use cloakroom_core::job::Job;
use cloakroom_core::ports::metadata::MetadataError;
use cloakroom_core::ports::objects::ObjectPath;
use cloakroom_core::ports::scanner::{SCANNER_UNAVAILABLE, ScanError, Scanner, Verdict};
use cloakroom_core::transition::Fence;
use futures_util::stream::BoxStream;

use crate::app::App;
use crate::processing::verification::Measured;
use crate::processing::{AttemptError, Progress, Unmeasured, WORKER};

impl App {
    /// Measures, and scans where the collection requires it.
    pub(crate) async fn measure_and_scan(
        &self,
        path: &ObjectPath,
        generation: Option<String>,
        collection: &Collection,
        progress: &Progress,
    ) -> Result<Measured, Unmeasured> {
        if !collection.scan.required {
            return Ok(self.measure(path, generation, progress).await?);
        }
        let scanner = self.scanner_at_hand().map_err(Unmeasured::Scanner)?;
        self.measure_with(path, generation, &**scanner, progress).await
    }

    /// The scanner, or the error that there is none.
    pub(crate) fn scanner_at_hand(&self) -> Result<&Arc<dyn Scanner>, ScanError> {
        self.scanner
            .as_ref()
            .ok_or_else(|| ScanError::Unavailable("none is configured here".to_owned()))
    }

    /// The scanner's word on a file, counted.
    pub(crate) async fn verdict(
        &self,
        scanner: &dyn Scanner,
        pieces: BoxStream<'static, Bytes>,
        size_bytes: u64,
    ) -> Result<Verdict, Unmeasured> {
        let begun = self.now();
        let outcome = scanner.scan(pieces, size_bytes).await;
        let seconds = self.now().duration_since(begun).as_secs_f64();
        let name = match &outcome {
            Ok(verdict) => verdict.as_str(),
            Err(ScanError::Unavailable(_)) => "unavailable",
            Err(ScanError::NoVerdict(_)) => "no_verdict",
        };
        metrics::counter!("cloakroom_scan_total", "verdict" => name).increment(1);
        metrics::histogram!("cloakroom_scan_duration_seconds").record(seconds);
        note_scanner(!matches!(outcome, Err(ScanError::Unavailable(_))));
        outcome.map_err(Unmeasured::Scanner)
    }

    /// Asks the scanner whether it answers.
    pub(crate) async fn ping_scanner(&self, scanner: &dyn Scanner) -> Result<(), ScanError> {
        let answer = scanner.ping().await;
        note_scanner(answer.is_ok());
        answer.map(drop)
    }

    /// A file that waits for the scanner goes on waiting, quietly, until it answers.
    pub(crate) async fn scanner_is_back(&self, file: &File) -> Result<(), AttemptError> {
        if !waits_for_scanner(file) {
            return Ok(());
        }
        // Scanning may have been switched off meanwhile.
        let required = self
            .collection(&file.collection)
            .is_ok_and(|collection| collection.scan.required);
        if !required {
            return Ok(());
        }
        let answer = match self.scanner_at_hand() {
            Ok(scanner) => self.ping_scanner(&**scanner).await,
            Err(error) => Err(error),
        };
        answer.map_err(|error| AttemptError::Unavailable(error.to_string()))
    }

    /// Says that the file waits, where it is the scanner that it waits for; gives back why the attempt ends.
    pub(crate) async fn put_off(
        &self,
        file: &File,
        job: &Job,
        unmeasured: Unmeasured,
    ) -> Result<AttemptError, AttemptError> {
        if let Unmeasured::Scanner(ScanError::Unavailable(reason)) = &unmeasured {
            tracing::error!(event = "scanner_unavailable", file_id = %file.id, reason, "A file waits for the scanner");
            let error = FileError {
                code: SCANNER_UNAVAILABLE.to_owned(),
                message: "The virus scanner does not answer; the file waits until it does.".to_owned(),
            };
            let delayed = file
                .delay(error, &self.occasion(WORKER))
                .map_err(|refusal| AttemptError::Retry(refusal.to_string()))?;
            if let Some(mut transition) = delayed {
                transition.fence = Some(Fence::Hold(job.lease()));
                match self.metadata.apply(transition).await {
                    // Whoever changed it has the next attempt look.
                    Ok(()) | Err(MetadataError::Conflict) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(unmeasured.into())
    }

    /// Looks whether the scanner answers, for its metric and the log.
    pub async fn sweep_scanner(&self) -> crate::error::Result<u64> {
        if let Some(scanner) = &self.scanner
            && let Err(error) = self.ping_scanner(&**scanner).await
        {
            tracing::error!(event = "scanner_unavailable", %error, "The scanner does not answer");
        }
        Ok(0)
    }
}

fn waits_for_scanner(file: &File) -> bool {
    file.error
        .as_ref()
        .is_some_and(|error| error.code == SCANNER_UNAVAILABLE)
}

fn note_scanner(answers: bool) {
    metrics::gauge!("cloakroom_scanner_up").set(if answers { 1.0 } else { 0.0 });
}
