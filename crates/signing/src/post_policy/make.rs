//! Making a form: the policy document, its signature and the fields that carry them.

use std::fmt::{self, Write as _};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::tz::Offset;
use jiff::{SignedDuration, Timestamp};

use crate::ALGORITHM;
use crate::endpoint::Endpoint;
use crate::error::SigningError;
use crate::signer::Signer;
use crate::timestamp::{AmzTime, floor_to_second};

/// What follows the client's own file name in a key.
const FILENAME_VARIABLE: &str = "${filename}";

/// One rule of a policy. Every field of the form but the signature's own and the file must be covered by one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PolicyCondition {
    /// `{"field": "value"}`: the field has this value.
    Exact(String, String),
    /// `["eq", "$field", "value"]`: the same rule, spelled the other way.
    Equals(String, String),
    /// `["starts-with", "$field", "prefix"]`: any value with this prefix; any at all with an empty one.
    StartsWith(String, String),
    /// `["content-length-range", min, max]`: the size of the file in bytes, both ends included.
    ContentLengthRange(u64, u64),
}

/// What a form upload permits.
#[derive(Clone, Debug)]
pub struct PostPolicyRequest<'a> {
    /// The service as the form's user will reach it.
    pub endpoint: &'a Endpoint,
    /// The bucket; its condition is added.
    pub bucket: &'a str,
    /// The object key; its field and condition are added. A trailing `${filename}` permits any key with what stands
    /// before it, and S3 puts the client's file name in its place.
    pub key: &'a str,
    /// Rules in the order in which they appear in the policy.
    pub conditions: &'a [PolicyCondition],
    /// Fields in the order in which they appear in the form. Each needs a condition too.
    pub fields: &'a [(String, String)],
    /// How long the form is good, counted from `now`, in seconds; at least 1.
    pub expires_in_seconds: u32,
    /// The time of signing, cut to the second.
    pub now: Timestamp,
}

/// A form that is ready to be sent as `multipart/form-data`, with the file as its last field, named `file`.
#[derive(Clone, PartialEq, Eq)]
pub struct PostForm {
    /// Where to send it.
    pub url: String,
    /// The fields in order.
    pub fields: Vec<(String, String)>,
    /// When the policy ends.
    pub expires_at: Timestamp,
}

impl fmt::Debug for PostForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.fields.iter().map(|(name, _)| name).collect();
        f.debug_struct("PostForm")
            .field("url", &self.url)
            .field("fields", &names)
            .field("expires_at", &self.expires_at)
            .finish()
    }
}

impl Signer {
    /// Makes and signs a form, equal byte for byte, policy included, to botocore's `generate_presigned_post` with
    /// `signature_version="s3v4"`.
    ///
    /// The form's fields are a secret until it expires: they must not be logged.
    ///
    /// # Errors
    /// [`SigningError`] for an expiry of 0 or beyond the calendar, and an empty bucket.
    pub fn post_policy(&self, request: &PostPolicyRequest<'_>) -> Result<PostForm, SigningError> {
        if request.expires_in_seconds == 0 {
            return Err(SigningError::InvalidExpiry);
        }
        if request.bucket.is_empty() {
            return Err(SigningError::InvalidBucket);
        }
        let (time, day) = self.at(request.now)?;
        let expires_at = floor_to_second(request.now)
            .checked_add(SignedDuration::from_secs(request.expires_in_seconds.into()))
            .map_err(|_| SigningError::InvalidTime)?;

        let mut own = vec![
            ("x-amz-algorithm", ALGORITHM.to_owned()),
            ("x-amz-credential", day.credential.clone()),
            ("x-amz-date", time.to_text()),
        ];
        if let Some(token) = self.session_token() {
            own.push(("x-amz-security-token", token.to_owned()));
        }

        let mut conditions = request.conditions.to_vec();
        conditions.push(PolicyCondition::Exact(
            "bucket".to_owned(),
            request.bucket.to_owned(),
        ));
        conditions.push(match request.key.strip_suffix(FILENAME_VARIABLE) {
            Some(prefix) => PolicyCondition::StartsWith("key".to_owned(), prefix.to_owned()),
            None => PolicyCondition::Exact("key".to_owned(), request.key.to_owned()),
        });
        conditions.extend(
            own.iter()
                .map(|(name, value)| PolicyCondition::Exact((*name).to_owned(), value.clone())),
        );
        let policy = STANDARD.encode(policy_document(expires_at, &conditions)?);
        let signature = day.key.sign(&[policy.as_bytes()]).to_text();

        let mut fields = request.fields.to_vec();
        set_field(&mut fields, "key", request.key.to_owned());
        for (name, value) in own {
            set_field(&mut fields, name, value);
        }
        set_field(&mut fields, "policy", policy);
        set_field(&mut fields, "x-amz-signature", signature);
        Ok(PostForm {
            url: request.endpoint.url_for(request.bucket, ""),
            fields,
            expires_at,
        })
    }
}

/// Replaces the field where it stands, or appends it.
fn set_field(fields: &mut Vec<(String, String)>, name: &str, value: String) {
    match fields.iter_mut().find(|(existing, _)| existing == name) {
        Some(field) => field.1 = value,
        None => fields.push((name.to_owned(), value)),
    }
}

/// The policy as JSON, spaced and escaped as Python's `json.dumps` does it: the policy is signed as text.
fn policy_document(expires_at: Timestamp, conditions: &[PolicyCondition]) -> Result<String, SigningError> {
    AmzTime::new(expires_at)?;
    let expiration = Offset::UTC.to_datetime(expires_at);
    let mut json = format!("{{\"expiration\": \"{expiration}Z\", \"conditions\": [");
    for (index, condition) in conditions.iter().enumerate() {
        if index > 0 {
            json.push_str(", ");
        }
        match condition {
            PolicyCondition::Exact(field, value) => {
                json.push('{');
                push_json_string(&mut json, "", field);
                json.push_str(": ");
                push_json_string(&mut json, "", value);
                json.push('}');
            }
            PolicyCondition::Equals(field, value) => push_operation(&mut json, "eq", field, value),
            PolicyCondition::StartsWith(field, prefix) => {
                push_operation(&mut json, "starts-with", field, prefix);
            }
            PolicyCondition::ContentLengthRange(min, max) => {
                // Proof: writing to a `String` cannot fail.
                let _ = write!(json, "[\"content-length-range\", {min}, {max}]");
            }
        }
    }
    json.push_str("]}");
    Ok(json)
}

fn push_operation(json: &mut String, operator: &str, field: &str, value: &str) {
    json.push('[');
    push_json_string(json, "", operator);
    json.push_str(", ");
    push_json_string(json, "$", field);
    json.push_str(", ");
    push_json_string(json, "", value);
    json.push(']');
}

/// Writes `"<sigil><text>"` in ASCII: what is outside of it becomes `\uXXXX`, in UTF-16 units.
fn push_json_string(json: &mut String, sigil: &str, text: &str) {
    json.push('"');
    json.push_str(sigil);
    for character in text.chars() {
        match character {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            '\n' => json.push_str("\\n"),
            '\r' => json.push_str("\\r"),
            '\t' => json.push_str("\\t"),
            '\u{8}' => json.push_str("\\b"),
            '\u{c}' => json.push_str("\\f"),
            ' '..='~' => json.push(character),
            other => {
                for unit in other.encode_utf16(&mut [0; 2]) {
                    // Proof: writing to a `String` cannot fail.
                    let _ = write!(json, "\\u{unit:04x}");
                }
            }
        }
    }
    json.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credentials::{Credentials, Region};
    use crate::endpoint::Addressing;

    #[test]
    fn documents_are_spelled_like_python() {
        let conditions = [
            PolicyCondition::Exact("a\"\\".into(), "\n\r\t\u{8}\u{c}\u{1}\u{7f}é€😀".into()),
            PolicyCondition::StartsWith("key".into(), String::new()),
            PolicyCondition::Equals("acl".into(), "private".into()),
            PolicyCondition::ContentLengthRange(0, u64::MAX),
        ];
        let document = policy_document("2007-12-01T12:00:00Z".parse().expect("valid"), &conditions);
        assert_eq!(
            document.as_deref(),
            Ok(concat!(
                r#"{"expiration": "2007-12-01T12:00:00Z", "conditions": ["#,
                r#"{"a\"\\": "\n\r\t\b\f\u0001\u007f\u00e9\u20ac\ud83d\ude00"}, ["starts-with", "$key", ""], "#,
                r#"["eq", "$acl", "private"], ["content-length-range", 0, 18446744073709551615]]}"#
            ))
        );
    }

    #[test]
    fn a_form_says_when_it_ends_and_hides_its_values() {
        let endpoint = Endpoint::parse("http://localhost:9000", Addressing::Path).expect("valid");
        let signer = Signer::new(Credentials::new("AKID", "secret"), Region::default());
        let request = PostPolicyRequest {
            endpoint: &endpoint,
            bucket: "bucket",
            key: "key",
            conditions: &[],
            fields: &[],
            expires_in_seconds: 600,
            now: "2024-01-01T00:00:00.9Z".parse().expect("valid"),
        };
        let form = signer.post_policy(&request).expect("valid");
        assert_eq!(form.expires_at.to_string(), "2024-01-01T00:10:00Z");
        let printed = format!("{form:?}");
        let signature = &form.fields.last().expect("has fields").1;
        assert!(!printed.contains(signature.as_str()), "{printed}");

        let expiry = PostPolicyRequest {
            expires_in_seconds: 0,
            ..request.clone()
        };
        assert_eq!(signer.post_policy(&expiry), Err(SigningError::InvalidExpiry));
        let bucket = PostPolicyRequest {
            bucket: "",
            ..request
        };
        assert_eq!(signer.post_policy(&bucket), Err(SigningError::InvalidBucket));
    }
}
