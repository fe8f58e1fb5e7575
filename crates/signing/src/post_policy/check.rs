//! Holding a form against its policy.

use jiff::Timestamp;

use crate::error::VerifyError;
use crate::post_policy::parse::{FieldCondition, PostPolicy, Test};

/// Fields that need no condition: they are the signature itself or the file. The last two belong to Signature Version 2,
/// with which no form gets this far.
const UNCOVERED_FIELDS: [&str; 5] = ["x-amz-signature", "file", "policy", "awsaccesskeyid", "signature"];
/// Fields that S3 reads nothing from.
const IGNORED_PREFIX: &str = "x-ignore-";
/// Fields whose values stay out of error messages.
const PRIVATE_FIELDS: [&str; 2] = ["x-amz-security-token", "x-amz-credential"];

impl PostPolicy {
    /// Checks the fields that came before the file: the policy has not expired, every condition holds, and every field is
    /// covered by one. The names of fields are compared without case, values exactly.
    ///
    /// `bucket` is the bucket that the form was posted to. It is checked as if it were a field, so a policy without a
    /// condition for it is refused. Where the key contains `${filename}`, the caller puts the file's name in its place
    /// first: conditions hold for the key that will be written.
    ///
    /// The size of the file is not known yet; see [`content_length_range`](Self::content_length_range).
    ///
    /// # Errors
    /// [`VerifyError::PolicyViolated`] (403) names the condition or the field; [`VerifyError::InvalidForm`] (400) for a
    /// field that is given twice, because conditions would hold for one and the endpoint might read the other.
    pub fn check<N, V>(&self, fields: &[(N, V)], bucket: &str, now: Timestamp) -> Result<(), VerifyError>
    where
        N: AsRef<str>,
        V: AsRef<str>,
    {
        if now > self.expires_at {
            return Err(VerifyError::PolicyViolated("Policy expired.".to_owned()));
        }
        let mut form = unique_fields(fields)?;
        match field(&form, "bucket") {
            Some(named) if named != bucket => {
                return Err(VerifyError::PolicyViolated(
                    "the field bucket names another bucket.".to_owned(),
                ));
            }
            Some(_) => {}
            None => form.push(("bucket".to_owned(), bucket)),
        }
        if let Some(failed) = self
            .conditions
            .iter()
            .find(|condition| !condition.holds(field(&form, &condition.field)))
        {
            return Err(VerifyError::PolicyViolated(format!(
                "Policy Condition failed: {}",
                failed.describe()
            )));
        }
        let covered = |name: &str| {
            UNCOVERED_FIELDS.contains(&name)
                || name.starts_with(IGNORED_PREFIX)
                || self.conditions.iter().any(|condition| condition.field == name)
        };
        let extra: Vec<&str> = form
            .iter()
            .map(|(name, _)| name.as_str())
            .filter(|name| !covered(name))
            .collect();
        if extra.is_empty() {
            Ok(())
        } else {
            Err(VerifyError::PolicyViolated(format!(
                "Extra input fields: {}",
                extra.join(", ")
            )))
        }
    }

    /// Checks the size of the file once it is known.
    ///
    /// # Errors
    /// [`VerifyError::EntityTooLarge`] or [`VerifyError::EntityTooSmall`].
    pub fn check_content_length(&self, bytes: u64) -> Result<(), VerifyError> {
        match &self.content_length {
            Some(range) if bytes > *range.end() => Err(VerifyError::EntityTooLarge),
            Some(range) if bytes < *range.start() => Err(VerifyError::EntityTooSmall),
            _ => Ok(()),
        }
    }
}

impl FieldCondition {
    fn holds(&self, value: Option<&str>) -> bool {
        // S3 wants the field to be there even where any value will do.
        let Some(value) = value else { return false };
        match &self.test {
            Test::Equals(expected) => value == expected,
            // S3 reads the commas of a content type as a list, each entry of which must fit.
            Test::StartsWith(prefix) if self.field == "content-type" => {
                let fits = |text: &str| text.starts_with(prefix.as_str());
                value
                    .split(',')
                    .all(|entry| fits(entry) || fits(entry.trim_start()))
            }
            Test::StartsWith(prefix) => value.starts_with(prefix.as_str()),
        }
    }

    fn describe(&self) -> String {
        let (operator, value) = match &self.test {
            Test::Equals(value) => ("eq", value),
            Test::StartsWith(value) => ("starts-with", value),
        };
        let value = if PRIVATE_FIELDS.contains(&self.field.as_str()) {
            "…"
        } else {
            value
        };
        format!("[\"{operator}\", \"${}\", \"{value}\"]", self.field)
    }
}

/// The form with lower-case names, none of which may come twice but those that are ignored.
pub(crate) fn unique_fields<'a, N, V>(fields: &'a [(N, V)]) -> Result<Vec<(String, &'a str)>, VerifyError>
where
    N: AsRef<str>,
    V: AsRef<str>,
{
    let mut form: Vec<(String, &'a str)> = fields
        .iter()
        .map(|(name, value)| (name.as_ref().to_ascii_lowercase(), value.as_ref()))
        .collect();
    form.sort_by(|a, b| a.0.cmp(&b.0));
    match form
        .windows(2)
        .find(|pair| pair[0].0 == pair[1].0 && !pair[0].0.starts_with(IGNORED_PREFIX))
    {
        Some(pair) => Err(VerifyError::InvalidForm(format!(
            "The field {} was given more than once.",
            pair[0].0
        ))),
        None => Ok(form),
    }
}

/// The value of a field, by its lower-case name.
pub(crate) fn field<'a>(form: &[(String, &'a str)], name: &str) -> Option<&'a str> {
    form.iter()
        .find(|(field, _)| field == name)
        .map(|(_, value)| *value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::post_policy::parse::tests::parse;

    const CONDITIONS: &str = r#"[{"bucket": "b"}, ["starts-with", "$key", "user/eric/"], {"acl": "public-read"},
        ["starts-with", "$Content-Type", "image/"], ["content-length-range", 2, 10], {"x-amz-meta-uuid": "14365123651274"},
        ["starts-with", "$x-amz-meta-tag", ""]]"#;

    fn policy(conditions: &str) -> PostPolicy {
        parse(&format!(
            r#"{{"expiration": "2007-12-01T12:00:00.000Z", "conditions": {conditions}}}"#
        ))
        .expect("valid")
    }

    fn now() -> Timestamp {
        "2007-12-01T11:59:59Z".parse().expect("valid")
    }

    fn form() -> Vec<(&'static str, &'static str)> {
        vec![
            ("Key", "user/eric/cat.jpg"),
            ("acl", "public-read"),
            ("Content-Type", "image/jpeg"),
            ("x-amz-meta-uuid", "14365123651274"),
            ("x-amz-meta-tag", ""),
            ("policy", "…"),
            ("X-Amz-Signature", "…"),
            ("x-ignore-this", "1"),
            ("x-ignore-this", "2"),
        ]
    }

    fn check(fields: &[(&str, &str)], bucket: &str) -> Result<(), VerifyError> {
        policy(CONDITIONS).check(fields, bucket, now())
    }

    fn violated(reason: &str) -> Result<(), VerifyError> {
        Err(VerifyError::PolicyViolated(reason.to_owned()))
    }

    #[test]
    fn a_form_that_keeps_to_its_policy_passes() {
        assert_eq!(check(&form(), "b"), Ok(()));
        let named = [form(), vec![("bucket", "b")]].concat();
        assert_eq!(check(&named, "b"), Ok(()));
    }

    #[test]
    fn any_single_change_is_refused() {
        assert_eq!(
            check(&form(), "c"),
            violated(r#"Policy Condition failed: ["eq", "$bucket", "b"]"#)
        );
        let changes = [
            (
                0,
                ("key", "user/erika/cat.jpg"),
                r#"["starts-with", "$key", "user/eric/"]"#,
            ),
            (
                0,
                ("key", "User/eric/cat.jpg"),
                r#"["starts-with", "$key", "user/eric/"]"#,
            ),
            (1, ("acl", "private"), r#"["eq", "$acl", "public-read"]"#),
            (1, ("acl", ""), r#"["eq", "$acl", "public-read"]"#),
            (
                2,
                ("content-type", "text/html"),
                r#"["starts-with", "$content-type", "image/"]"#,
            ),
            (
                3,
                ("x-amz-meta-uuid", "143651236512740"),
                r#"["eq", "$x-amz-meta-uuid", "14365123651274"]"#,
            ),
            (
                4,
                ("x-amz-meta-tags", ""),
                r#"["starts-with", "$x-amz-meta-tag", ""]"#,
            ),
        ];
        for (index, field, condition) in changes {
            let mut changed = form();
            changed[index] = field;
            assert_eq!(
                check(&changed, "b"),
                violated(&format!("Policy Condition failed: {condition}"))
            );
            changed.remove(index);
            assert_eq!(
                check(&changed, "b"),
                violated(&format!("Policy Condition failed: {condition}")),
                "missing"
            );
        }
    }

    #[test]
    fn every_field_needs_a_condition() {
        let extra = [
            form(),
            vec![
                ("success_action_redirect", "https://evil.example"),
                ("X-Amz-Acl", "p"),
            ],
        ]
        .concat();
        assert_eq!(
            check(&extra, "b"),
            violated("Extra input fields: success_action_redirect, x-amz-acl")
        );
        let fields: [(&str, &str); 0] = [];
        assert_eq!(
            policy("[]").check(&fields, "b", now()),
            violated("Extra input fields: bucket")
        );
    }

    #[test]
    fn a_field_comes_once() {
        let twice = [form(), vec![("KEY", "user/eric/other.jpg")]].concat();
        assert_eq!(
            check(&twice, "b"),
            Err(VerifyError::InvalidForm(
                "The field key was given more than once.".to_owned()
            ))
        );
        let other = [form(), vec![("bucket", "c")]].concat();
        assert_eq!(
            check(&other, "b"),
            violated("the field bucket names another bucket.")
        );
    }

    #[test]
    fn a_content_type_is_a_list() {
        for (value, passes) in [
            ("image/png,image/jpeg", true),
            ("image/png, image/gif", true),
            ("image/png,text/html", false),
            ("image/png,", false),
        ] {
            let mut fields = form();
            fields[2] = ("Content-Type", value);
            assert_eq!(check(&fields, "b").is_ok(), passes, "{value}");
        }
    }

    #[test]
    fn the_policy_lives_until_its_own_expiration() {
        let at = |text: &str| policy(CONDITIONS).check(&form(), "b", text.parse().expect("valid"));
        assert_eq!(at("2000-01-01T00:00:00Z"), Ok(()), "no fifteen minutes");
        assert_eq!(at("2007-12-01T12:00:00Z"), Ok(()));
        assert_eq!(at("2007-12-01T12:00:00.001Z"), violated("Policy expired."));
    }

    #[test]
    fn sizes_are_checked_at_both_ends() {
        let lengths = |length| policy(CONDITIONS).check_content_length(length);
        assert_eq!(lengths(1), Err(VerifyError::EntityTooSmall));
        assert_eq!(lengths(2), Ok(()));
        assert_eq!(lengths(10), Ok(()));
        assert_eq!(lengths(11), Err(VerifyError::EntityTooLarge));
        assert_eq!(policy("[]").check_content_length(u64::MAX), Ok(()));
    }

    #[test]
    fn tokens_stay_out_of_messages() {
        let policy = policy(r#"[{"bucket": "b"}, {"x-amz-security-token": "hush"}]"#);
        let error = policy
            .check(&[("x-amz-security-token", "guess")], "b", now())
            .expect_err("differs")
            .to_string();
        assert!(
            error.contains("x-amz-security-token") && !error.contains("hush") && !error.contains("guess"),
            "{error}"
        );
    }

    proptest! {
        #[test]
        fn checking_never_panics(fields in any::<Vec<(String, String)>>(), bucket in any::<String>()) {
            let _ = policy(CONDITIONS).check(&fields, &bucket, now());
        }
    }
}
