//! Derivatives: files made from a file (thumbnail, preview, poster, variant).

use jiff::Timestamp;

use crate::file::FileState;
use crate::id::FileId;
use crate::image::VARIANT_PREFIX;
use crate::key::derivative_suffix;
use crate::media::MediaType;

/// One derivative, made or failed.
#[derive(Clone, Debug, PartialEq)]
pub struct Derivative {
    /// The file it was made from.
    pub file_id: FileId,
    /// Its name within the file: `thumbnail-256`, `preview`.
    pub name: String,
    /// What came of it.
    pub outcome: DerivativeOutcome,
    /// When it was made or failed.
    pub created_at: Timestamp,
}

/// What came of making a derivative. A failure is reported on the file and does not fail it, unless the
/// collection requires the derivative (design §3).
#[derive(Clone, Debug, PartialEq)]
pub enum DerivativeOutcome {
    /// Bytes stand at `key`, in the bucket of the file.
    Made {
        /// An epoch-unique key, so a worker that lost its lease cannot overwrite the winner's.
        key: String,
        /// The type of the derivative's bytes.
        content_type: MediaType,
        /// Size in bytes.
        size_bytes: u64,
        /// Pixels, for images.
        width: Option<u32>,
        /// Pixels, for images.
        height: Option<u32>,
    },
    /// Could not be made, with the reason for people.
    Failed {
        /// Why.
        error: String,
    },
}

impl Derivative {
    /// Whether this was made because somebody asked for it. Variants are a cache: nothing is lost with them, so neither the
    /// sidecar names them nor does an event tell of them, and they stay behind when their file moves.
    pub fn is_variant(&self) -> bool {
        self.name.starts_with(VARIANT_PREFIX)
    }

    /// Whether its row still counts, of a file that is at this key now: a variant that stayed behind does not.
    pub fn is_current(&self, file_key: &str) -> bool {
        match &self.outcome {
            DerivativeOutcome::Made { key, .. } if self.is_variant() => {
                derivative_suffix(file_key, key).is_some()
            }
            _ => true,
        }
    }
}

/// A variant that was made, or could not be, on its way into the database.
#[derive(Clone, Debug, PartialEq)]
pub struct NewVariant {
    /// Its row.
    pub variant: Derivative,
    /// The key of the file that it was made from.
    pub file_key: String,
    /// How many of one file are kept.
    pub keep_max: u32,
    /// Where there are as many already, the oldest gives way if it was made before this.
    pub replace_before: Timestamp,
    /// One of the same name that could not be made gives way if that was before this.
    pub retry_before: Timestamp,
}

/// What became of a new variant.
#[derive(Clone, Debug, PartialEq)]
pub enum VariantAdded {
    /// It is there. These gave way to it.
    Added(Vec<Derivative>),
    /// Somebody else was first: this is there.
    Existing(Box<Derivative>),
    /// There are as many as may be, the oldest since this time.
    Full(Timestamp),
    /// The file is not ready any more, or elsewhere.
    FileChanged,
}

impl NewVariant {
    /// What is to become of it, of a file in this state at this key with these derivatives. The rule of every adapter: it
    /// asks while it holds the row of the file, removes what is to give way, and adds the variant.
    pub fn admit(&self, state: FileState, file_key: &str, standing: Vec<Derivative>) -> VariantAdded {
        if state != FileState::Ready || file_key != self.file_key {
            return VariantAdded::FileChanged;
        }
        let mut give_way = Vec::new();
        let mut others = Vec::new();
        for one in standing.into_iter().filter(Derivative::is_variant) {
            let same = one.name == self.variant.name;
            let over = match &one.outcome {
                DerivativeOutcome::Made { .. } => !one.is_current(file_key),
                DerivativeOutcome::Failed { .. } => same && one.created_at < self.retry_before,
            };
            match (over, same) {
                (true, _) => give_way.push(one),
                (false, true) => return VariantAdded::Existing(Box::new(one)),
                (false, false) => others.push(one),
            }
        }
        others.sort_by_key(|one| one.created_at);
        let room = usize::try_from(self.keep_max.max(1)).unwrap_or(usize::MAX) - 1;
        let surplus = others.len().saturating_sub(room);
        for one in others.into_iter().take(surplus) {
            if one.created_at >= self.replace_before {
                return VariantAdded::Full(one.created_at);
            }
            give_way.push(one);
        }
        VariantAdded::Added(give_way)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    fn variant(name: &str, key: Option<&str>, second: i64) -> Derivative {
        Derivative {
            file_id: FileId(uuid::Uuid::nil()),
            name: name.to_owned(),
            outcome: match key {
                Some(key) => DerivativeOutcome::Made {
                    key: key.to_owned(),
                    content_type: MediaType::octet_stream(),
                    size_bytes: 1,
                    width: None,
                    height: None,
                },
                None => DerivativeOutcome::Failed {
                    error: "no".to_owned(),
                },
            },
            created_at: at(second),
        }
    }

    #[test]
    fn one_of_each_name_and_the_oldest_give_way() {
        let made = |name: &str, second| variant(name, Some(&format!("a/b.{second}.{name}.jpg")), second);
        let new = NewVariant {
            variant: made("variant-new", 100),
            file_key: "a/b".to_owned(),
            keep_max: 3,
            replace_before: at(50),
            retry_before: at(90),
        };
        let admit = |standing: &[Derivative]| new.admit(FileState::Ready, "a/b", standing.to_vec());
        let added = |gave_way: &[Derivative]| VariantAdded::Added(gave_way.to_vec());
        assert_eq!(admit(&[]), added(&[]));
        for (state, key) in [(FileState::Trashed, "a/b"), (FileState::Ready, "moved/7/a/b")] {
            assert_eq!(new.admit(state, key, vec![]), VariantAdded::FileChanged);
        }
        let twin = made("variant-new", 7);
        assert_eq!(
            admit(std::slice::from_ref(&twin)),
            VariantAdded::Existing(Box::new(twin))
        );
        // A failure stands for a while.
        let failed = |second| variant("variant-new", None, second);
        assert_eq!(admit(&[failed(90)]), VariantAdded::Existing(Box::new(failed(90))));
        assert_eq!(admit(&[failed(89)]), added(&[failed(89)]));
        // What stayed where the file was before does not count, and goes.
        let left = variant("variant-new", Some("a/bc.1.x.jpg"), 99);
        assert_eq!(admit(std::slice::from_ref(&left)), added(&[left]));
        // Thumbnails are none of them.
        let [one, two, three] = [made("variant-1", 49), made("variant-2", 3), made("variant-3", 60)];
        let thumbnail = made("thumbnail-1", 1);
        assert_eq!(admit(&[one.clone(), two.clone(), thumbnail]), added(&[]));
        let full = [one.clone(), two.clone(), three.clone()];
        assert_eq!(admit(&full), added(std::slice::from_ref(&two)));
        let more = [one.clone(), two.clone(), three, variant("variant-4", None, 61)];
        assert_eq!(admit(&more), added(&[two.clone(), one.clone()]));
        let young = [
            made("variant-5", 50),
            made("variant-6", 51),
            made("variant-7", 52),
        ];
        assert_eq!(admit(&young), VariantAdded::Full(at(50)));
    }
}
