//! How far an import is: a setting of the target, so that it is lost with the target and with nothing else.

use cloakroom_core::ports::archive::Section;
use cloakroom_core::ports::metadata::MetadataStore;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::error::ImportError;

/// Name of the setting.
pub(super) const SETTING: &str = "import_from_embedded";

/// How far an import is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    /// What the source held when it began.
    pub(super) source: String,
    /// The store that its objects go to, and the names of buckets there.
    pub(super) destination: String,
    /// Every object up to this one is there and verified, except those that are damaged.
    pub(super) object: Option<(String, String)>,
    /// Objects on the way there that could not be moved.
    pub(super) damaged: Vec<(String, String)>,
    /// Every section before this one is there.
    pub(super) section: usize,
    /// And of this one every row up to this place.
    pub(super) row: Option<String>,
    /// When it ended.
    pub(super) finished_at: Option<String>,
}

impl Place {
    /// The beginning.
    pub(super) fn new(source: &str, destination: &str) -> Self {
        Self {
            source: source.to_owned(),
            destination: destination.to_owned(),
            ..Self::default()
        }
    }

    /// Where an import of this source stopped; `None` when none has begun.
    pub(super) async fn load(
        metadata: &dyn MetadataStore,
        source: &str,
        destination: &str,
    ) -> Result<Option<Self>, ImportError> {
        let Some(setting) = metadata.setting(SETTING).await? else {
            return Ok(None);
        };
        let place: Self = serde_json::from_value(setting.into())
            .map_err(|error| ImportError::Refused(format!("cannot read the setting {SETTING}: {error}")))?;
        if place.source == source {
            if place.destination != destination && place.finished_at.is_none() {
                return Err(ImportError::Refused(
                    "this import was begun with another object store or other --bucket names. Go on with those, or \
                     empty the target's database and begin anew"
                        .to_owned(),
                ));
            }
            return Ok(Some(place));
        }
        Err(ImportError::Refused(
            if place.finished_at.is_some() {
                "the target holds the files of an import that has ended; this instance is another one, or has changed since"
            } else {
                "the target holds a part of another import: of another instance, or of this one before it was started \
                 again and changed. Empty the target's database and begin anew; objects that are there already are \
                 not sent again"
            }
            .to_owned(),
        ))
    }

    /// Remembers it.
    pub(super) async fn save(&self, metadata: &dyn MetadataStore) -> Result<(), ImportError> {
        let value = serde_json::to_value(self)
            .ok()
            .and_then(|value| value.as_object().cloned())
            .unwrap_or_default();
        Ok(metadata.put_setting(SETTING, &value).await?)
    }

    /// Remembers that there is nothing left to do.
    pub(super) async fn finish(
        &mut self,
        metadata: &dyn MetadataStore,
        now: Timestamp,
    ) -> Result<(), ImportError> {
        self.section = Section::ALL.len();
        self.finished_at = Some(now.to_string());
        self.save(metadata).await
    }

    /// Whether an object was moved by an earlier run.
    pub(super) fn is_past(&self, bucket: &str, key: &str) -> bool {
        let here = (bucket, key);
        self.object
            .as_ref()
            .is_some_and(|(last_bucket, last_key)| here <= (last_bucket.as_str(), last_key.as_str()))
            && !self.damaged.iter().any(|(b, k)| (b.as_str(), k.as_str()) == here)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_past_in_the_order_of_lists_unless_they_were_damaged() {
        let place = Place {
            object: Some(("files".into(), "m".into())),
            damaged: vec![("files".into(), "c".into())],
            ..Place::new("s", "d")
        };
        for (bucket, key, past) in [
            ("documents", "z", true),
            ("files", "a", true),
            ("files", "c", false),
            ("files", "m", true),
            ("files", "m/1", false),
            ("photos", "a", false),
        ] {
            assert_eq!(place.is_past(bucket, key), past, "{bucket}/{key}");
        }
        assert!(!Place::new("s", "d").is_past("a", "a"));
    }
}
