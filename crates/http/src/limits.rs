//! Bounds on what one caller or one request may take.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cloakroom_core::error::ErrorCode;
use http::header::{self, HeaderValue};

use crate::problem::Problem;

/// Largest JSON body, in bytes.
pub const JSON_BODY_BYTES_MAX: usize = 1024 * 1024;
/// A JSON body must be here within this time.
pub const JSON_BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// A streamed body may pause for so long.
pub const STREAM_PAUSE_MAX: Duration = Duration::from_mins(1);
/// Largest text field of a form, in bytes.
pub const FORM_FIELD_BYTES_MAX: usize = 64 * 1024;

/// Status streams that are open, by subject: each holds a connection for as long as its file is on its way.
#[derive(Clone)]
pub struct StreamSlots(Arc<Slots>);

struct Slots {
    per_subject_max: u32,
    open: Mutex<HashMap<String, u32>>,
}

/// One open stream; dropping it gives the slot back.
pub struct StreamSlot {
    slots: StreamSlots,
    subject: String,
}

impl StreamSlots {
    /// So many streams per subject at once.
    pub fn new(per_subject_max: u32) -> Self {
        Self(Arc::new(Slots {
            per_subject_max,
            open: Mutex::new(HashMap::new()),
        }))
    }

    /// Takes a slot, or refuses with `rate_limited`.
    pub fn take(&self, subject: &str) -> Result<StreamSlot, Problem> {
        let mut open = self.0.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(subject.to_owned()).or_default();
        if *count >= self.0.per_subject_max {
            return Err(Problem::new(
                ErrorCode::RateLimited,
                format!(
                    "{} status streams are open already; close some, or poll.",
                    self.0.per_subject_max
                ),
            )
            .with("streams_max", self.0.per_subject_max)
            .with_header(header::RETRY_AFTER, HeaderValue::from_static("5")));
        }
        *count += 1;
        Ok(StreamSlot {
            slots: self.clone(),
            subject: subject.to_owned(),
        })
    }

    /// How many streams are open in all.
    pub fn open(&self) -> u32 {
        self.0
            .open
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .sum()
    }
}

impl Drop for StreamSlot {
    fn drop(&mut self) {
        let mut open = self.slots.0.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut count) = open.entry(std::mem::take(&mut self.subject)) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_comes_back_when_its_stream_ends() {
        let slots = StreamSlots::new(2);
        let first = slots.take("ann").map_err(|p| p.code()).expect("a slot");
        let _second = slots.take("ann").map_err(|p| p.code()).expect("a slot");
        assert_eq!(
            slots.take("ann").map(|_| ()).map_err(|p| p.code()),
            Err(ErrorCode::RateLimited)
        );
        let _other = slots.take("bob").map_err(|p| p.code()).expect("a slot");
        drop(first);
        assert_eq!(slots.open(), 2);
        assert!(slots.take("ann").is_ok());
    }
}
