//! Where derivatives stand: beside their object, or, for an object in a directory `originals`, in the directory `thumbnails`
//! beside that one (S4: "Prefixes: `complaints/<complaint_id>/originals/` and `.../thumbnails/`").
//!
//! The key alone says which, so whoever purges, rebuilds, verifies or looks for garbage knows it without a configuration.

use std::borrow::Cow;

use super::documents::{Beside, beside};

/// The directory of objects whose derivatives stand in another one.
const ORIGINALS: &str = "originals";
/// That other one.
const THUMBNAILS: &str = "thumbnails";

/// A derivative's key, unique to the epoch that made it.
pub fn derivative_key(key: &str, epoch: u32, name: &str, extension: &str) -> String {
    format!("{}.{epoch}.{name}.{extension}", derivative_base(key))
}

/// What the keys of an object's derivatives begin with, before a dot.
pub fn derivative_base(key: &str) -> Cow<'_, str> {
    in_sibling(key, ORIGINALS, THUMBNAILS).map_or(Cow::Borrowed(key), Cow::Owned)
}

/// The object whose derivatives begin so, where that is another key.
pub fn original_of(base: &str) -> Option<String> {
    in_sibling(base, THUMBNAILS, ORIGINALS)
}

/// What follows in the key of a derivative of this object: `.3.thumbnail-256.webp`. Derivatives of before the directory
/// `thumbnails` stand beside their object.
pub fn derivative_suffix<'a>(object_key: &str, key: &'a str) -> Option<&'a str> {
    let rest = match key.strip_prefix(object_key) {
        Some(rest) => rest,
        None => key.strip_prefix(&*derivative_base(object_key))?,
    };
    rest.starts_with('.').then_some(rest)
}

/// What follows the key of an object, a dot left out, in the key of what belongs to it; nothing for the object itself.
pub(crate) fn rest_of<'a>(object_key: &str, key: &'a str) -> Option<&'a str> {
    if let Some(rest) = key.strip_prefix(object_key) {
        return if rest.is_empty() {
            Some(rest)
        } else {
            rest.strip_prefix('.').filter(|rest| !rest.is_empty())
        };
    }
    // Nothing but derivatives stands there.
    match beside(object_key, key)? {
        Beside::Derivative { .. } => derivative_suffix(object_key, key)?.strip_prefix('.'),
        Beside::Sidecar(_) | Beside::Tombstone => None,
    }
}

fn in_sibling(key: &str, from: &str, to: &str) -> Option<String> {
    let (directory, name) = key.rsplit_once('/')?;
    let parent = directory.strip_suffix(from)?;
    let whole_segment = parent.is_empty() || parent.ends_with('/');
    (whole_segment && !name.is_empty()).then(|| format!("{parent}{to}/{name}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::key::{moved_key, sidecar_key, tombstone_key};

    #[test]
    fn thumbnails_of_originals_stand_in_their_own_directory() {
        let key = "complaints/42/originals/7.jpg";
        let made = derivative_key(key, 3, "thumbnail-256", "webp");
        assert_eq!(made, "complaints/42/thumbnails/7.jpg.3.thumbnail-256.webp");
        let expected = Beside::Derivative {
            epoch: 3,
            name: "thumbnail-256".to_owned(),
        };
        assert_eq!(beside(key, &made), Some(expected.clone()));
        // As it was before.
        let old = format!("{key}.3.thumbnail-256.webp");
        assert_eq!(beside(key, &old), Some(expected));
        for key in [made.as_str(), &old] {
            assert_eq!(
                derivative_suffix("complaints/42/originals/7.jpg", key),
                Some(".3.thumbnail-256.webp")
            );
            assert_eq!(
                rest_of("complaints/42/originals/7.jpg", key),
                Some("3.thumbnail-256.webp")
            );
        }
        assert_eq!(
            derivative_key(&moved_key(key, 9), 3, "t", "webp"),
            "moved/9/complaints/42/thumbnails/7.jpg.3.t.webp"
        );
        assert_eq!(
            original_of("complaints/42/thumbnails/7.jpg").as_deref(),
            Some(key)
        );
        // Sidecar and tombstone stay with the original, and nothing else in the other directory is of the file.
        assert_eq!(sidecar_key(key, 3), format!("{key}.3.attr.json"));
        for other in [
            "complaints/42/thumbnails/7.jpg",
            "complaints/42/thumbnails/7.jpg.3.attr.json",
            "complaints/42/thumbnails/7.jpg.tomb.attr.json",
            "complaints/42/thumbnails/7.jpg.x.t.webp",
            "complaints/43/thumbnails/7.jpg.3.t.webp",
            "thumbnails/7.jpg.3.t.webp",
        ] {
            assert_eq!((beside(key, other), rest_of(key, other)), (None, None), "{other}");
        }
        assert_eq!(rest_of(key, key), Some(""));
        assert_eq!(rest_of(key, &tombstone_key(key)), Some("tomb.attr.json"));
    }

    #[test]
    fn all_other_derivatives_stand_beside_their_object() {
        for key in [
            "a/b.pdf",
            "originals",
            "my-originals/b.pdf",
            "originals/x/b.pdf",
            "a/originals/",
        ] {
            assert_eq!(derivative_base(key), key);
            assert_eq!(derivative_key(key, 1, "p", "webp"), format!("{key}.1.p.webp"));
        }
        assert_eq!(derivative_base("originals/b.pdf"), "thumbnails/b.pdf");
    }

    proptest! {
        #[test]
        fn what_is_made_of_an_object_is_told_by_its_key(
            directory in prop_oneof!["([a-z]{1,5}/){0,3}originals/", "([a-z]{1,5}/){0,3}thumbnails/", "([a-z]{1,5}/){0,3}"],
            name in "[a-z.0-9]{1,12}",
            epoch in 1..u32::MAX,
        ) {
            let key = format!("{directory}{name}");
            let made = derivative_key(&key, epoch, "thumbnail-256", "webp");
            let wanted = Beside::Derivative { epoch, name: "thumbnail-256".to_owned() };
            prop_assert_eq!(beside(&key, &made), Some(wanted));
            let suffix = format!(".{epoch}.thumbnail-256.webp");
            prop_assert_eq!(derivative_suffix(&key, &made), Some(suffix.as_str()));
            prop_assert_eq!(rest_of(&key, &made), Some(&suffix[1..]));
            if let Some(original) = original_of(&key) {
                prop_assert_eq!(derivative_base(&original), key);
            }
        }
    }
}
