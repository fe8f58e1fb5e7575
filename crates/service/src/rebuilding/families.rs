//! A listing, key by key, put together into files: an object with what stands beside it.
//!
//! Keys come in byte order, so an object's family (`<key>.`…) is one run of keys, and whatever stands between the object and
//! that run begins with the object's key too, and with something lower than a dot. A stack of keys, each the beginning of the
//! next, therefore holds all that can still get a relative, however long the listing is (I10).

use cloakroom_core::key::{Beside, attribute_file_of, beside};
use cloakroom_core::ports::objects::ListedObject;

/// A final object and what stands beside it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Family {
    /// The object's key.
    pub(crate) key: String,
    /// Its size in bytes; `None` when it is not there.
    pub(crate) object: Option<u64>,
    /// Epochs of its sidecars.
    pub(crate) epochs: Vec<u32>,
    /// Whether a tombstone stands.
    pub(crate) tombstone: bool,
    /// Its derivatives: key, the epoch that made it, name, size in bytes.
    pub(crate) derivatives: Vec<(String, u32, String, u64)>,
    /// The key that was listed before it.
    before: Option<String>,
}

impl Family {
    /// The sidecar that counts.
    pub(crate) fn epoch(&self) -> Option<u32> {
        self.epochs.iter().copied().max()
    }

    /// Whether anything says that this is a file of ours.
    fn is_ours(&self) -> bool {
        self.tombstone || !self.epochs.is_empty()
    }

    /// Whether keys from this one on can stand beside it.
    fn may_still_grow(&self, key: &str) -> bool {
        // Beside it stands what begins with its key and a dot; what is lower than a dot may come before.
        let next = key.strip_prefix(&self.key).map(|rest| rest.bytes().next());
        matches!(next, Some(Some(byte)) if byte <= b'.')
    }

    /// Takes in a derivative that stands elsewhere than beside it.
    pub(crate) fn take_derivative(&mut self, object: &ListedObject) {
        if let Some(what @ Beside::Derivative { .. }) = beside(&self.key, &object.key)
            && !self.derivatives.iter().any(|known| known.0 == object.key)
        {
            self.take(what, &object.key, object.size_bytes);
        }
    }

    /// Takes in what stands beside it.
    fn take(&mut self, what: Beside, key: &str, size_bytes: u64) {
        match what {
            Beside::Sidecar(epoch) => self.epochs.push(epoch),
            Beside::Tombstone => self.tombstone = true,
            Beside::Derivative { epoch, name } => {
                self.derivatives.push((key.to_owned(), epoch, name, size_bytes));
            }
        }
    }

    /// A key that was taken for something beside this object is an object with a sidecar of its own.
    fn give_up(&mut self, key: &str) {
        match beside(&self.key, key) {
            Some(Beside::Sidecar(epoch)) => self.epochs.retain(|known| *known != epoch),
            Some(Beside::Tombstone) => self.tombstone = false,
            Some(Beside::Derivative { .. }) => self.derivatives.retain(|known| known.0 != key),
            None => {}
        }
    }
}

/// Families of a listing that is under way.
#[derive(Debug, Default)]
pub(crate) struct Families {
    stack: Vec<Family>,
    last: Option<String>,
}

impl Families {
    /// The next key of the listing. Families that can get no more relatives are added to `whole`.
    pub(crate) fn push(&mut self, object: &ListedObject, whole: &mut Vec<Family>) {
        let key = object.key.as_str();
        let over = self.stack.extract_if(.., |family| !family.may_still_grow(key));
        whole.extend(over.filter(Family::is_ours));
        let relative = (0..self.stack.len())
            .rev()
            .find_map(|index| Some((index, beside(&self.stack[index].key, key)?)));
        match (relative, attribute_file_of(key)) {
            (Some((index, what)), _) => {
                if !matches!(what, Beside::Derivative { .. }) {
                    self.is_an_object(index);
                }
                self.stack[index].take(what, key, object.size_bytes);
            }
            // The object is not there.
            (None, Some(missing)) => {
                let index = self
                    .stack
                    .partition_point(|known| known.key.len() < missing.len());
                // Those that stand among its relatives end before it does, and must not be seen in part either.
                let among = self.stack[index..].iter().map(|family| &family.before).min();
                let mut family = Family {
                    key: missing.to_owned(),
                    before: among.unwrap_or(&self.last).clone(),
                    ..Family::default()
                };
                if let Some(what) = beside(missing, key) {
                    family.take(what, key, object.size_bytes);
                }
                self.stack.insert(index, family);
            }
            (None, None) => {}
        }
        self.stack.push(Family {
            key: key.to_owned(),
            object: Some(object.size_bytes),
            before: self.last.clone(),
            ..Family::default()
        });
        self.last = Some(key.to_owned());
    }

    /// The end of the listing.
    pub(crate) fn finish(&mut self, whole: &mut Vec<Family>) {
        while let Some(family) = self.stack.pop() {
            whole.extend(Some(family).filter(Family::is_ours));
        }
    }

    /// The key after which a listing goes on so that no family is seen in part; `None` is its beginning. A family that was
    /// given out may come again.
    pub(crate) fn place(&self) -> Option<&str> {
        match self.stack.iter().map(|family| &family.before).min() {
            Some(before) => before.as_deref(),
            None => self.last.as_deref(),
        }
    }

    /// The entry has a sidecar of its own, so it is none of another.
    fn is_an_object(&mut self, index: usize) {
        let key = self.stack[index].key.clone();
        for above in &mut self.stack[..index] {
            above.give_up(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::*;

    fn listed(key: &str) -> ListedObject {
        ListedObject {
            key: key.to_owned(),
            size_bytes: key.len() as u64,
            etag: String::new(),
            modified_at: Timestamp::UNIX_EPOCH,
        }
    }

    fn grouped(keys: &[&str]) -> Vec<Family> {
        let mut keys = keys.to_vec();
        keys.sort_unstable();
        let (mut families, mut whole) = (Families::default(), Vec::new());
        for key in keys {
            families.push(&listed(key), &mut whole);
        }
        families.finish(&mut whole);
        whole.sort_by(|a, b| a.key.cmp(&b.key));
        whole
    }

    #[test]
    fn an_object_is_found_with_everything_beside_it() {
        let families = grouped(&[
            "a/x.pdf",
            "a/x.pdf (copy)",
            "a/x.pdf!",
            "a/x.pdf.1.thumb.webp",
            "a/x.pdf.10.attr.json",
            "a/x.pdf.9.attr.json",
            "a/x.pdf.tomb.attr.json",
            "a/x.pdf0",
            "b/lost.3.attr.json",
            "foreign",
            "foreign.1.jpg",
        ]);
        let seen: Vec<_> = families
            .iter()
            .map(|family| {
                (
                    family.key.as_str(),
                    family.object,
                    family.epoch(),
                    family.tombstone,
                )
            })
            .collect();
        assert_eq!(
            seen,
            [
                ("a/x.pdf", Some(7), Some(10), true),
                ("b/lost", None, Some(3), false)
            ]
        );
        assert_eq!(
            families[0].derivatives,
            [("a/x.pdf.1.thumb.webp".to_owned(), 1, "thumb".to_owned(), 20)]
        );
    }

    #[test]
    fn a_file_that_is_named_like_a_sidecar_is_a_file() {
        let families = grouped(&["u/x.1.attr.json", "u/x.1.attr.json.2.attr.json"]);
        assert_eq!(families.len(), 1);
        assert_eq!(
            (families[0].key.as_str(), families[0].epoch()),
            ("u/x.1.attr.json", Some(2))
        );
        let families = grouped(&[
            "u/x",
            "u/x.1.attr.json",
            "u/x.1.attr.json.2.attr.json",
            "u/x.3.attr.json",
        ]);
        assert_eq!(families.len(), 2);
        assert_eq!(families[0].epochs, [3]);
    }

    fn any_keys() -> impl Strategy<Value = Vec<String>> {
        let segment = prop_oneof!["[ab!.-]{1,3}", Just("x".to_owned()), Just("x.1".to_owned())];
        let ending = prop_oneof![
            Just(String::new()),
            Just(".1.attr.json".to_owned()),
            Just(".2.attr.json".to_owned()),
            Just(".12.attr.json".to_owned()),
            Just(".tomb.attr.json".to_owned()),
            Just(".1.t.webp".to_owned()),
            Just("-1".to_owned()),
        ];
        proptest::collection::btree_set((segment, ending.clone(), ending), 0..40)
            .prop_map(|keys| keys.into_iter().map(|(a, b, c)| format!("{a}{b}{c}")).collect())
    }

    proptest! {
        /// Whatever the keys are: each sidecar belongs to one family, and a listing that is left at any place and taken up
        /// there again gives every family, whole, as one that was never left.
        #[test]
        fn a_listing_can_be_left_at_any_key(keys in any_keys(), left_at in 0..40_usize) {
            let mut keys = keys;
            keys.sort_unstable();
            keys.dedup();
            let names: Vec<&str> = keys.iter().map(String::as_str).collect();
            let all = grouped(&names);
            let (mut families, mut whole) = (Families::default(), Vec::new());
            for key in names.iter().take(left_at) {
                families.push(&listed(key), &mut whole);
            }
            let place = families.place().map(str::to_owned);
            let mut again = Families::default();
            for key in names.iter().filter(|key| place.as_deref().is_none_or(|place| **key > place)) {
                again.push(&listed(key), &mut whole);
            }
            again.finish(&mut whole);
            for family in &mut whole {
                family.before = None;
            }
            whole.sort_by(|a, b| a.key.cmp(&b.key));
            whole.dedup();
            let mut all = all;
            for family in &mut all {
                family.before = None;
            }
            prop_assert_eq!(whole, all);
        }
    }
}
