//! Alerts: what somebody should look at now, told to one place outside. Not a record of what happened (that is the log), and
//! nothing waits for it: an alert that cannot be told is lost, and the work that raised it goes on.

use jiff::Timestamp;

use crate::JsonObject;

/// What an alert is about. Alerts of one kind are held back while one was just told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AlertKind {
    /// Bytes that came through the service could not be stored (S0: `s3_upload_error`).
    UploadError,
    /// A URL could not be signed (S0: `s3_presign_error`).
    PresignError,
    /// The database, a store or the scanner does not answer, or a bucket is not there.
    Unavailable,
    /// A job went to the dead-letter list.
    JobDead,
    /// A file was quarantined.
    FileQuarantined,
    /// Many requests are answered with errors of ours.
    ErrorRate,
}

impl AlertKind {
    /// Every kind.
    pub const ALL: &'static [Self] = &[
        Self::UploadError,
        Self::PresignError,
        Self::Unavailable,
        Self::JobDead,
        Self::FileQuarantined,
        Self::ErrorRate,
    ];

    /// Its name on the wire and in the log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UploadError => "upload_error",
            Self::PresignError => "presign_error",
            Self::Unavailable => "unavailable",
            Self::JobDead => "job_dead",
            Self::FileQuarantined => "file_quarantined",
            Self::ErrorRate => "error_rate",
        }
    }

    /// How bad it is: `error`, or `warning` where nothing is broken.
    pub const fn severity(self) -> &'static str {
        match self {
            Self::FileQuarantined => "warning",
            _ => "error",
        }
    }
}

/// One alert. It holds no URL, no token and no key (I7).
#[derive(Clone, Debug, PartialEq)]
pub struct Alert {
    /// What it is about.
    pub kind: AlertKind,
    /// A sentence for people.
    pub message: String,
    /// The same for machines: ids, names, counts.
    pub details: JsonObject,
    /// When it was raised.
    pub at: Timestamp,
}

/// Where alerts go.
pub trait Alerts: Send + Sync {
    /// Takes an alert and comes back at once, whatever becomes of it.
    fn send(&self, alert: Alert);
}

/// Nowhere: no address is configured.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoAlerts;

impl Alerts for NoAlerts {
    fn send(&self, _: Alert) {}
}
