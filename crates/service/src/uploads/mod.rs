//! Bringing a file in: sign, upload, confirm.

mod batch;
mod bucket_events;
mod confirm;
mod counting;
mod multipart;
mod notes;
mod observe;
mod receive;
mod sign;
mod validate;

pub use batch::BatchOutcome;
pub use bucket_events::{BUCKET_EVENTS_BYTES_MAX, Received, RecordOutcome, measure_refused};
pub use confirm::{ConfirmUpload, Confirmed};
pub use multipart::{SignedPart, UploadedParts};
pub use sign::{SignUpload, SignedUpload, Ticket};
pub(crate) use validate::{admit_metadata, contains_nul, validate_description, validate_filename};

/// How often a use case reads again after losing a race, before it answers `conflict`.
pub(crate) const RACES_MAX: u32 = 8;
