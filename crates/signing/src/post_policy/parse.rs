//! Reading a policy document that a client sent. Its text is signed, but its author may be anyone who holds a key.

use std::ops::RangeInclusive;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::Value;

use crate::POST_POLICY_BYTES_MAX;
use crate::error::VerifyError;

/// A policy, read and ready to be held against a form with [`check`](Self::check).
///
/// A policy that names something unknown (another operator, another top-level name) is refused as a whole: a rule that is
/// not understood cannot be enforced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostPolicy {
    pub(super) expires_at: Timestamp,
    pub(super) conditions: Vec<FieldCondition>,
    pub(super) content_length: Option<RangeInclusive<u64>>,
}

/// A rule about one field; the name is lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FieldCondition {
    pub(super) field: String,
    pub(super) test: Test,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Test {
    Equals(String),
    StartsWith(String),
}

impl PostPolicy {
    /// Reads the base64 text of the form's `policy` field.
    ///
    /// # Errors
    /// [`VerifyError::PolicyTooLarge`] above 20 KB and [`VerifyError::InvalidPolicyDocument`] for everything that is no policy.
    pub fn parse(base64: &str) -> Result<Self, VerifyError> {
        if base64.len() > POST_POLICY_BYTES_MAX.div_ceil(3) * 4 {
            return Err(VerifyError::PolicyTooLarge);
        }
        let json = STANDARD
            .decode(base64)
            .map_err(|_| invalid("it is not base64."))?;
        if json.len() > POST_POLICY_BYTES_MAX {
            return Err(VerifyError::PolicyTooLarge);
        }
        // `serde_json` gives up at 128 levels, so nesting cannot exhaust the stack.
        let Ok(Value::Object(document)) = serde_json::from_slice(&json) else {
            return Err(invalid("Invalid JSON."));
        };
        let mut expiration = None;
        let mut conditions = None;
        for (name, value) in &document {
            match (name.as_str(), value) {
                ("expiration", Value::String(text)) => {
                    expiration =
                        Some(parse_expiration(text).ok_or_else(|| invalid("Invalid 'expiration' value."))?);
                }
                ("expiration", _) => return Err(invalid("Invalid 'expiration' value.")),
                ("conditions", Value::Array(list)) => conditions = Some(list),
                _ => return Err(invalid(&format!("Unexpected: '{name}'."))),
            }
        }
        let mut policy = Self {
            expires_at: expiration.ok_or_else(|| invalid("Policy missing expiration."))?,
            conditions: Vec::new(),
            content_length: None,
        };
        for condition in conditions.ok_or_else(|| invalid("Policy missing conditions."))? {
            policy.add(condition)?;
        }
        Ok(policy)
    }

    /// When the policy ends. Nothing else limits its life: the fifteen minutes of other requests do not apply.
    pub fn expires_at(&self) -> Timestamp {
        self.expires_at
    }

    /// The sizes in bytes that the file may have: refuse while streaming as soon as more arrived than the end, and at the
    /// end of the file if fewer than the start did. Several ranges in one policy must all hold; the result is what they
    /// have in common, and permits nothing if that is empty.
    pub fn content_length_range(&self) -> Option<RangeInclusive<u64>> {
        self.content_length.clone()
    }

    fn add(&mut self, condition: &Value) -> Result<(), VerifyError> {
        match condition {
            Value::Object(pair) => {
                let mut entries = pair.iter();
                let (Some((field, value)), None) = (entries.next(), entries.next()) else {
                    return Err(invalid(
                        "Invalid Simple-Condition: Simple-Conditions must have exactly one property specified.",
                    ));
                };
                self.add_field(field, Test::Equals(text_of(value)?));
                Ok(())
            }
            Value::Array(parts) => self.add_operation(parts),
            _ => Err(invalid("Invalid Condition: a condition is an object or a list.")),
        }
    }

    fn add_operation(&mut self, parts: &[Value]) -> Result<(), VerifyError> {
        let [operator, first, second] = parts else {
            return Err(invalid(
                "Invalid Condition: a list must have exactly three entries.",
            ));
        };
        match operator.as_str().map(str::to_ascii_lowercase).as_deref() {
            Some("eq") => self.add_field(field_name(first)?, Test::Equals(text_of(second)?)),
            Some("starts-with") => self.add_field(field_name(first)?, Test::StartsWith(text_of(second)?)),
            Some("content-length-range") => {
                let (min, max) = (size_of(first)?, size_of(second)?);
                if min > max {
                    return Err(invalid(
                        "Invalid content-length-range: the minimum is above the maximum.",
                    ));
                }
                self.content_length = Some(match &self.content_length {
                    Some(other) => min.max(*other.start())..=max.min(*other.end()),
                    None => min..=max,
                });
            }
            _ => return Err(invalid("Invalid Condition: unknown operator.")),
        }
        Ok(())
    }

    fn add_field(&mut self, field: &str, test: Test) {
        self.conditions.push(FieldCondition {
            field: field.to_ascii_lowercase(),
            test,
        });
    }
}

fn invalid(reason: &str) -> VerifyError {
    VerifyError::InvalidPolicyDocument(reason.to_owned())
}

fn field_name(value: &Value) -> Result<&str, VerifyError> {
    value
        .as_str()
        .and_then(|text| text.strip_prefix('$'))
        .filter(|name| !name.is_empty())
        .ok_or_else(|| invalid("Invalid Condition: the field must be written as '$name'."))
}

/// Numbers stand for their digits: clients write `{"success_action_status": 201}`.
fn text_of(value: &Value) -> Result<String, VerifyError> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) if number.is_i64() || number.is_u64() => Ok(number.to_string()),
        _ => Err(invalid("Invalid Condition: the value must be a string.")),
    }
}

fn size_of(value: &Value) -> Result<u64, VerifyError> {
    let size = match value {
        Value::Number(number) => number.as_u64(),
        Value::String(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse().ok(),
        _ => None,
    };
    size.ok_or_else(|| invalid("Invalid content-length-range: the limits must be integers from 0."))
}

/// `2007-12-01T12:00:00.000Z`, with or without the fraction. Other ISO 8601 forms are refused, as S3 does.
fn parse_expiration(text: &str) -> Option<Timestamp> {
    let bytes = text.as_bytes();
    let shape = b"0000-00-00T00:00:00";
    let fits = |(byte, shape): (&u8, &u8)| {
        if *shape == b'0' {
            byte.is_ascii_digit()
        } else {
            byte == shape
        }
    };
    let fraction = bytes.get(shape.len()..)?.strip_suffix(b"Z")?;
    let fraction_is_legal = match fraction {
        [] => true,
        [b'.', digits @ ..] => (1..=9).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    if !bytes.iter().zip(shape).all(fits) || !fraction_is_legal {
        return None;
    }
    text.parse().ok()
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(in crate::post_policy) fn parse(json: &str) -> Result<PostPolicy, VerifyError> {
        PostPolicy::parse(&STANDARD.encode(json))
    }

    fn with_conditions(conditions: &str) -> Result<PostPolicy, VerifyError> {
        parse(&format!(
            r#"{{"expiration": "2007-12-01T12:00:00.000Z", "conditions": {conditions}}}"#
        ))
    }

    #[test]
    fn reads_every_kind_of_condition() {
        let policy = with_conditions(
            r#"[{"BuCket": "b"}, ["EQ", "$Content-Type", "text/plain"], ["starts-With", "$key", ""],
                {"success_action_status": 201}, ["content-length-range", 1, "10"]]"#,
        )
        .expect("valid");
        let condition = |field: &str, test| FieldCondition {
            field: field.into(),
            test,
        };
        assert_eq!(
            policy.conditions,
            [
                condition("bucket", Test::Equals("b".into())),
                condition("content-type", Test::Equals("text/plain".into())),
                condition("key", Test::StartsWith(String::new())),
                condition("success_action_status", Test::Equals("201".into())),
            ]
        );
        assert_eq!(policy.content_length_range(), Some(1..=10));
        assert_eq!(policy.expires_at().to_string(), "2007-12-01T12:00:00Z");
    }

    #[test]
    fn several_ranges_must_all_hold() {
        let ranges = r#"[["content-length-range", 1, 10], ["content-length-range", 5, 20]]"#;
        assert_eq!(
            with_conditions(ranges).expect("valid").content_length_range(),
            Some(5..=10)
        );
        let apart = r#"[["content-length-range", 1, 2], ["content-length-range", 5, 6]]"#;
        let policy = with_conditions(apart).expect("valid");
        for length in 0..10 {
            assert!(policy.check_content_length(length).is_err(), "{length}");
        }
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for conditions in [
            "{}",
            "null",
            r#""x""#,
            "[{}]",
            r#"[{"a": "1", "b": "2"}]"#,
            r#"[{"a": null}]"#,
            r#"[{"a": ["b"]}]"#,
            r#"[{"a": 1.5}]"#,
            r#"[["eq", "$a"]]"#,
            r#"[["eq", "a", "b"]]"#,
            r#"[["eq", "$", "b"]]"#,
            r#"[["ends-with", "$a", "b"]]"#,
            r#"[["content-length-range", 0]]"#,
            r#"[["content-length-range", -1, 0]]"#,
            r#"[["content-length-range", 0, 18446744073709551616]]"#,
            r#"[["content-length-range", 0, 1e99]]"#,
            r#"[["content-length-range", 2, 1]]"#,
            r#"[["content-length-range", "", 1]]"#,
            "[[]]",
            "[1]",
            r#"[[["eq"], "$a", "b"]]"#,
            r#"[["content-length-range", "0", "99999999999999999999"]]"#,
        ] {
            let refused = with_conditions(conditions);
            assert!(
                matches!(refused, Err(VerifyError::InvalidPolicyDocument(_))),
                "{conditions}: {refused:?}"
            );
        }
        for json in [
            "",
            "[]",
            "{",
            r#"{"conditions": []}"#,
            r#"{"expiration": "2007-12-01T12:00:00Z"}"#,
            r#"{"EXPIRATION": "2007-12-01T12:00:00Z", "conditions": []}"#,
            r#"{"expiration": 1, "conditions": []}"#,
            r#"{"expiration": "2007-12-01T12:00:00Z", "conditions": [], "extra": 1}"#,
            r#"{"expiration": "2007-12-01T12:00:00Z", "conditions": [], "Conditions": []}"#,
        ] {
            assert!(
                matches!(parse(json), Err(VerifyError::InvalidPolicyDocument(_))),
                "{json}"
            );
        }
        assert!(
            matches!(
                PostPolicy::parse("e30"),
                Err(VerifyError::InvalidPolicyDocument(_))
            ),
            "no padding"
        );
    }

    #[test]
    fn expirations_have_one_form() {
        for text in [
            "2007-12-01T12:00:00Z",
            "2007-12-01T12:00:00.5Z",
            "2007-12-01T12:00:00.123456789Z",
        ] {
            assert!(parse_expiration(text).is_some(), "{text}");
        }
        for text in [
            "",
            "2007-12-01",
            "2007-12-01 12:00:00Z",
            "2007-12-01T12:00:00+00:00",
            "2007-12-01T12:00:00",
            "2007-13-01T12:00:00Z",
            "2007-12-01T12:00:00.Z",
            "2007-12-01T12:00:00.1234567890Z",
            "20071201T120000Z",
            "2007-12-01T25:00:00Z",
            "2007-12-01T12:00:00Z[UTC]",
        ] {
            assert_eq!(parse_expiration(text), None, "{text}");
        }
    }

    #[test]
    fn size_and_depth_are_limited() {
        let padding = "x".repeat(POST_POLICY_BYTES_MAX);
        let large = format!(r#"[{{"a": "{padding}"}}]"#);
        assert_eq!(with_conditions(&large), Err(VerifyError::PolicyTooLarge));
        let deep = "[".repeat(10_000);
        assert!(matches!(
            with_conditions(&deep),
            Err(VerifyError::InvalidPolicyDocument(_))
        ));
    }

    proptest! {
        #[test]
        fn reading_never_panics(text in any::<String>(), near in r#"[\[\]{}",:$a-z0-9.eE-]{0,60}"#) {
            let _ = PostPolicy::parse(&text);
            let _ = parse(&text);
            let _ = with_conditions(&near);
            let _ = parse_expiration(&text);
        }

        #[test]
        fn expirations_never_panic(text in "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]{0,10})?Z") {
            let _ = parse_expiration(&text);
        }
    }
}
