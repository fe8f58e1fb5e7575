//! How far a rebuild is, as its operation remembers it.

use std::cmp::Ordering;
use std::fmt;

/// What is gone through, in this order: records first, for files hang on them; notes last, for a sidecar beats a note.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    Records,
    Files,
    Notes,
}

impl Phase {
    pub(super) const ALL: [Self; 3] = [Self::Records, Self::Files, Self::Notes];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Records => "records",
            Self::Files => "files",
            Self::Notes => "notes",
        }
    }
}

/// What is left of a bucket in a phase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Left {
    /// Keys after this one; all of them when there is none.
    After(Option<String>),
    /// Nothing.
    Nothing,
}

/// Everything before this key of this bucket is done, and every bucket before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) phase: Phase,
    pub(super) bucket: String,
    /// `None` is the beginning.
    pub(super) key: Option<String>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ", self.phase.as_str(), self.bucket)?;
        f.write_str(self.key.as_deref().unwrap_or_default())
    }
}

impl Place {
    /// Reads what was written; anything else is the beginning.
    pub(super) fn parse(text: &str) -> Option<Self> {
        // Buckets have no spaces, keys may.
        let mut words = text.splitn(3, ' ');
        let (phase, bucket, key) = (words.next()?, words.next()?, words.next()?);
        Some(Self {
            phase: Phase::ALL.into_iter().find(|known| known.as_str() == phase)?,
            bucket: bucket.to_owned(),
            key: (!key.is_empty()).then(|| key.to_owned()),
        })
    }

    /// How far this bucket is.
    pub(super) fn within(this: Option<&Self>, phase: Phase, bucket: &str) -> Left {
        let Some(place) = this else {
            return Left::After(None);
        };
        match (place.phase, place.bucket.as_str()).cmp(&(phase, bucket)) {
            Ordering::Less => Left::After(None),
            Ordering::Equal => Left::After(place.key.clone()),
            Ordering::Greater => Left::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_as_written_and_orders_what_is_done() {
        let place = Place {
            phase: Phase::Files,
            bucket: "m".to_owned(),
            key: Some("a b/c".to_owned()),
        };
        assert_eq!(place.to_string(), "files m a b/c");
        assert_eq!(Place::parse(&place.to_string()), Some(place.clone()));
        let beginning = Place {
            key: None,
            ..place.clone()
        };
        assert_eq!(Place::parse(&beginning.to_string()), Some(beginning));
        assert_eq!(Place::parse("elsewhere"), None);
        let within = |phase, bucket| Place::within(Some(&place), phase, bucket);
        assert_eq!(within(Phase::Records, "z"), Left::Nothing);
        assert_eq!(within(Phase::Files, "a"), Left::Nothing);
        assert_eq!(within(Phase::Files, "m"), Left::After(Some("a b/c".to_owned())));
        assert_eq!(within(Phase::Files, "z"), Left::After(None));
        assert_eq!(within(Phase::Notes, "a"), Left::After(None));
        assert_eq!(Place::within(None, Phase::Records, "a"), Left::After(None));
    }
}
