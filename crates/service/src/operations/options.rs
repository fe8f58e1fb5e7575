//! Which options each kind of operation has.

use cloakroom_core::JsonObject;
use cloakroom_core::error::{ErrorCode, Refusal};
use cloakroom_core::operation::OperationKind;
use serde_json::Value;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OptionKind {
    Flag,
    /// A text that must be given.
    Text,
}

/// The options of a kind, by name.
const fn options(kind: OperationKind) -> &'static [(&'static str, OptionKind)] {
    match kind {
        OperationKind::Rebuild => &[],
        OperationKind::Verify => &[("deep", OptionKind::Flag), ("fix", OptionKind::Flag)],
        OperationKind::Orphans => &[("trash", OptionKind::Flag)],
        OperationKind::Purge => &[("dry_run", OptionKind::Flag)],
        OperationKind::Rescan => &[("collection", OptionKind::Text)],
        OperationKind::DeleteOwner => &[("owner", OptionKind::Text), ("purge_now", OptionKind::Flag)],
    }
}

/// Refuses options that the kind does not have, and values that they cannot have.
pub(super) fn check(kind: OperationKind, given: &JsonObject) -> Result<(), Refusal> {
    let known = options(kind);
    for (name, value) in given {
        let fits = known
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, option)| match option {
                OptionKind::Flag => value.is_boolean(),
                OptionKind::Text => value.as_str().is_some_and(|text| !text.is_empty()),
            });
        match fits {
            Some(true) => {}
            Some(false) => return Err(refused(name, "has another type of value")),
            None => return Err(refused(name, "is not an option of this kind")),
        }
    }
    for (name, option) in known {
        if *option == OptionKind::Text && !given.get(*name).is_some_and(Value::is_string) {
            return Err(refused(name, "is missing"));
        }
    }
    Ok(())
}

fn refused(name: &str, what: &str) -> Refusal {
    Refusal::new(ErrorCode::InvalidRequest, format!("The option {name:?} {what}."))
        .with("field", format!("options.{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(kind: OperationKind, given: &Value) -> Option<ErrorCode> {
        let given = given.as_object().expect("an object");
        check(kind, given).err().map(|refusal| refusal.code)
    }

    #[test]
    fn options_are_checked() {
        use OperationKind::{DeleteOwner, Orphans, Verify};
        let refused = Some(ErrorCode::InvalidRequest);
        let table = [
            (Verify, serde_json::json!({}), None),
            (Verify, serde_json::json!({"deep": true, "fix": false}), None),
            (Verify, serde_json::json!({"deep": "yes"}), refused),
            (Verify, serde_json::json!({"trash": true}), refused),
            (Orphans, serde_json::json!({"trash": true}), None),
            (DeleteOwner, serde_json::json!({}), refused),
            (DeleteOwner, serde_json::json!({"owner": ""}), refused),
            (DeleteOwner, serde_json::json!({"owner": "u1"}), None),
        ];
        for (kind, given, expected) in table {
            assert_eq!(code(kind, &given), expected, "{kind:?} {given}");
        }
    }
}
