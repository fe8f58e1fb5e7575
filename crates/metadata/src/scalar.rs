//! One spelling for equal metadata values, so that a filter is an index look-up by text.

use cloakroom_core::JsonObject;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// Longer values are kept as a digest: an index entry should stay well below a database page.
const SCALAR_BYTES_MAX: usize = 200;
/// Up to here every whole number has a floating-point form of its own.
const WHOLE_FLOAT_MAX: f64 = 9_007_199_254_740_992.0;

/// The index form of a scalar, `None` for arrays and objects. Strings keep their quotes, so `"1"` and `1` differ;
/// `1`, `1.0` and `1e0` are one number.
pub(crate) fn index_form(value: &Value) -> Option<String> {
    let text = match value {
        Value::Array(_) | Value::Object(_) => return None,
        Value::Number(number) => match number.as_f64() {
            Some(float) if number.is_f64() && float.fract() == 0.0 && float.abs() < WHOLE_FLOAT_MAX => {
                // Exact: whole, and far within the range.
                #[expect(clippy::cast_possible_truncation, reason = "whole and below 2^53")]
                let whole = float as i64;
                whole.to_string()
            }
            _ => number.to_string(),
        },
        other => other.to_string(),
    };
    if text.len() <= SCALAR_BYTES_MAX {
        return Some(text);
    }
    // No JSON text begins with `#`.
    Some(
        Sha256::digest(text.as_bytes())
            .iter()
            .fold("#".to_owned(), |digest, byte| format!("{digest}{byte:02x}")),
    )
}

/// Every top-level scalar of an object, in index form.
pub(crate) fn index_entries(object: &JsonObject) -> impl Iterator<Item = (&str, String)> {
    object
        .iter()
        .filter_map(|(name, value)| Some((name.as_str(), index_form(value)?)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn equal_values_are_spelled_alike_and_others_are_not() {
        assert_eq!(index_form(&json!(1)), index_form(&json!(1.0)));
        assert_eq!(index_form(&json!(-0.0)), index_form(&json!(0)));
        assert_ne!(index_form(&json!(1)), index_form(&json!("1")));
        assert_ne!(index_form(&json!(1.5)), index_form(&json!(1)));
        assert_ne!(index_form(&json!(true)), index_form(&json!("true")));
        assert_ne!(index_form(&json!(u64::MAX)), index_form(&json!(u64::MAX - 1)));
        assert_eq!(index_form(&json!([1])), None);
        assert_eq!(index_form(&json!({})), None);
    }

    #[test]
    fn long_values_are_short_in_the_index_and_still_differ() {
        let (a, b) = (
            index_form(&json!("x".repeat(5000))),
            index_form(&json!("x".repeat(5001))),
        );
        assert!(
            a.as_ref()
                .is_some_and(|text| text.len() == 65 && text.starts_with('#'))
        );
        assert_ne!(a, b);
    }
}
