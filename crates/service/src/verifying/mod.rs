//! Verifying: rows, sidecars and objects compared, both ways, and records and counters with them.
//!
//! Two passes. The first lists every bucket in order and looks up the rows of what it finds: an object that no row knows of
//! is found here, and so is that a file is as its row says, without asking for it alone. The second goes through the rows in
//! the order of their ids and looks closely at those that the first did not see whole. An instance goes on changing
//! meanwhile, so nothing is reported that was seen once: the row is read again, and if it changed or a change of it is under
//! way, the file is looked at anew.

mod drift;
mod files;
mod objects;
mod records;
mod repair;
mod rowless;
mod seen;

use cloakroom_core::id::FileId;
use cloakroom_core::operation::Finding;
use cloakroom_core::ports::objects::ObjectPath;
use cloakroom_core::record::RecordKey;
use serde_json::json;

use self::seen::Seen;
use crate::app::App;
use crate::error::{Result, ServiceError};
use crate::operations::Run;

/// The actor of what verifying repairs.
const VERIFY: &str = "verify";
/// What was done about a finding: nothing.
const REPORTED: &str = "reported";
/// It is as it should be again.
const REPAIRED: &str = "repaired";
/// Its row came back from its sidecar.
const ADOPTED: &str = "adopted";

/// Where a verification goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    /// With the objects of a bucket, after a key.
    Objects { bucket: String, after: Option<String> },
    /// With the rows of files, after an id.
    Files(Option<FileId>),
    /// With records, after a key.
    Records(Option<RecordKey>),
    /// With the counters.
    Counters,
}

impl Place {
    fn parse(text: &str) -> Option<Self> {
        let value: serde_json::Value = serde_json::from_str(text).ok()?;
        let after = value["after"].as_str();
        Some(match value["pass"].as_str()? {
            "objects" => Self::Objects {
                bucket: value["bucket"].as_str()?.to_owned(),
                after: after.map(str::to_owned),
            },
            "files" => Self::Files(after.map(str::parse).transpose().ok()?),
            "records" => Self::Records(after.map(RecordKey::parse).transpose().ok()?),
            "counters" => Self::Counters,
            _ => return None,
        })
    }

    fn text(&self) -> String {
        match self {
            Self::Objects { bucket, after } => json!({"pass": "objects", "bucket": bucket, "after": after}),
            Self::Files(after) => json!({"pass": "files", "after": after.map(|id| id.to_string())}),
            Self::Records(after) => {
                json!({"pass": "records", "after": after.as_ref().map(ToString::to_string)})
            }
            Self::Counters => json!({"pass": "counters"}),
        }
        .to_string()
    }
}

/// How closely to look, and what to do about it.
#[derive(Clone, Copy, Debug)]
struct Depth {
    /// Read every byte and every sidecar.
    deep: bool,
    /// Repair what can be repaired.
    fix: bool,
}

impl App {
    /// Compares everything, and repairs what can be repaired if told to. Deletes nothing.
    pub(crate) async fn run_verify(&self, run: &mut Run<'_>) -> Result<()> {
        let depth = Depth {
            deep: run.flag("deep"),
            fix: run.flag("fix"),
        };
        let mut place = match run.place() {
            None => Place::Objects {
                bucket: String::new(),
                after: None,
            },
            Some(text) => Place::parse(text).ok_or_else(|| {
                ServiceError::Internal(format!("this is no place of a verification: {text}"))
            })?,
        };
        let mut seen = Seen::default();
        if let Place::Objects { bucket, after } = place {
            self.verify_objects(run, depth, &mut seen, bucket, after).await?;
            place = Place::Files(None);
        }
        if let Place::Files(after) = place {
            self.verify_files(run, depth, &seen, after).await?;
            drop(seen);
            place = Place::Records(None);
        }
        if let Place::Records(after) = place {
            self.verify_records(run, depth, after).await?;
        }
        self.verify_counters(run, depth).await
    }
}

/// A line of the report, about nothing yet.
fn finding(kind: &str, detail: impl Into<String>) -> Finding {
    Finding {
        kind: kind.to_owned(),
        bucket: None,
        key: None,
        file_id: None,
        detail: detail.into(),
        action: REPORTED.to_owned(),
    }
}

/// A line of the report, about an object.
fn finding_at(kind: &str, path: &ObjectPath, file_id: Option<FileId>, detail: impl Into<String>) -> Finding {
    Finding {
        bucket: Some(path.bucket.clone()),
        key: Some(path.key.clone()),
        file_id,
        ..finding(kind, detail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_come_back() {
        let places = [
            Place::Objects {
                bucket: "b".to_owned(),
                after: None,
            },
            Place::Objects {
                bucket: "b".to_owned(),
                after: Some("a \"quoted\" ключ\u{1}".to_owned()),
            },
            Place::Files(None),
            Place::Files(Some(FileId(uuid::Uuid::from_u128(7)))),
            Place::Records(RecordKey::parse("message/1 2").ok()),
            Place::Counters,
        ];
        for place in places {
            assert_eq!(Place::parse(&place.text()), Some(place.clone()), "{place:?}");
        }
        for text in [
            "",
            "{}",
            "{\"pass\":\"objects\"}",
            "{\"pass\":\"files\",\"after\":\"x\"}",
        ] {
            assert_eq!(Place::parse(text), None, "{text}");
        }
    }
}
