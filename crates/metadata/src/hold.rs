//! A legal hold as a JSON document: the form in which every engine keeps it.

use cloakroom_core::JsonObject;
use cloakroom_core::file::Hold;

/// The document of a hold.
pub(crate) fn write(hold: &Hold) -> JsonObject {
    JsonObject::from_iter([
        ("by".to_owned(), hold.by.as_str().into()),
        ("at".to_owned(), hold.at.to_string().into()),
        ("reason".to_owned(), hold.reason.as_str().into()),
    ])
}

/// The hold of a document, `None` when it is not one of ours.
pub(crate) fn read(object: &JsonObject) -> Option<Hold> {
    let text = |name| object.get(name)?.as_str();
    Some(Hold {
        by: text("by")?.to_owned(),
        at: text("at")?.parse().ok()?,
        reason: text("reason")?.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hold_comes_back_and_what_is_none_is_not_guessed() {
        let hold = Hold {
            by: "ann".to_owned(),
            at: "2026-11-21T08:00:00.123456Z".parse().unwrap(),
            reason: "case 7, \0 \u{1a}".to_owned(),
        };
        let object = write(&hold);
        assert_eq!(read(&object), Some(hold));
        for name in ["by", "at", "reason"] {
            let mut broken = object.clone();
            broken.insert(name.to_owned(), 7.into());
            assert_eq!(read(&broken), None, "{name}");
        }
    }
}
