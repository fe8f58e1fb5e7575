//! What the server side refuses in form uploads, and by which name.

use cloakroom_signing::{
    Addressing, Credentials, Endpoint, PolicyCondition, PostPolicyRequest, Region, Signer, Verifier,
    VerifyError,
};
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

fn credentials() -> Credentials {
    Credentials::new("AKID", "secret")
}

fn lookup(access_key_id: &str) -> Option<Credentials> {
    (access_key_id == "AKID").then(credentials)
}

fn now() -> Timestamp {
    "2024-05-24T00:10:00Z".parse().expect("valid")
}

fn form() -> Vec<(String, String)> {
    let endpoint = Endpoint::parse("http://localhost:9000", Addressing::Path).expect("valid");
    Signer::new(credentials(), Region::default())
        .post_policy(&PostPolicyRequest {
            endpoint: &endpoint,
            bucket: "bucket",
            key: "inbox/${filename}",
            conditions: &[PolicyCondition::ContentLengthRange(1, 10)],
            fields: &[],
            expires_in_seconds: 86_400,
            now: now(),
        })
        .expect("can be signed")
        .fields
}

fn verify_form(fields: &[(String, String)]) -> Result<(), VerifyError> {
    let form = Verifier::new(Region::default()).verify_form(fields, &lookup)?;
    form.policy.check(fields, "bucket", now())
}

#[test]
fn a_form_is_verified_and_limits_the_file() {
    assert_eq!(verify_form(&form()), Ok(()));
    let verified = Verifier::new(Region::default())
        .verify_form(&form(), &lookup)
        .expect("is valid");
    assert_eq!(verified.policy.content_length_range(), Some(1..=10));
    assert_eq!(
        verified.policy.check_content_length(11),
        Err(VerifyError::EntityTooLarge)
    );
    let much_later = now() + SignedDuration::from_secs(86_000);
    assert_eq!(
        verified.policy.check(&form(), "bucket", much_later),
        Ok(()),
        "no fifteen minutes"
    );
}

#[test]
fn a_form_needs_each_field_of_its_signature_once() {
    for name in [
        "x-amz-algorithm",
        "x-amz-credential",
        "x-amz-date",
        "x-amz-signature",
    ] {
        let without: Vec<_> = form().into_iter().filter(|(field, _)| field != name).collect();
        assert_eq!(
            verify_form(&without).map_err(|error| error.code()),
            Err("InvalidArgument"),
            "{name}"
        );
        let mut twice = form();
        twice.push((name.to_uppercase(), "x".to_owned()));
        assert_eq!(
            verify_form(&twice).map_err(|error| error.code()),
            Err("InvalidArgument"),
            "{name}"
        );
    }
    let unsigned: Vec<_> = form()
        .into_iter()
        .filter(|(field, _)| field != "policy")
        .collect();
    assert_eq!(verify_form(&unsigned), Err(VerifyError::Unsigned));
}

#[test]
fn a_forged_form_is_refused() {
    let change = |name: &str, value: &str| {
        let mut fields = form();
        let field = fields
            .iter_mut()
            .find(|(field, _)| field == name)
            .expect("is there");
        value.clone_into(&mut field.1);
        verify_form(&fields)
    };
    let unlimited = "eyJleHBpcmF0aW9uIjoiOTk5OS0xMi0zMFQwMDowMDowMFoiLCJjb25kaXRpb25zIjpbXX0=";
    assert_eq!(
        change("policy", unlimited),
        Err(VerifyError::SignatureDoesNotMatch)
    );
    assert_eq!(
        change("x-amz-signature", &"0".repeat(64)),
        Err(VerifyError::SignatureDoesNotMatch)
    );
    assert_eq!(
        change("x-amz-algorithm", "AWS4-ECDSA"),
        Err(VerifyError::UnsupportedAuthorization)
    );
    assert_eq!(
        change("x-amz-credential", "OTHER/20240524/us-east-1/s3/aws4_request"),
        Err(VerifyError::InvalidAccessKeyId)
    );
    let region =
        change("x-amz-credential", "AKID/20240524/eu-west-1/s3/aws4_request").expect_err("wrong region");
    assert_eq!(
        (region.code(), region.expected_region()),
        ("AuthorizationQueryParametersError", Some("us-east-1"))
    );
    assert_eq!(
        change("x-amz-date", "yesterday").map_err(|error| error.code()),
        Err("AuthorizationQueryParametersError")
    );
    assert_eq!(
        change("key", "outbox/a").map_err(|error| error.code()),
        Err("AccessDenied")
    );

    let mut version_2 = form();
    version_2.push(("AWSAccessKeyId".to_owned(), "AKID".to_owned()));
    assert_eq!(
        verify_form(&version_2),
        Err(VerifyError::UnsupportedAuthorization)
    );
}

proptest! {
    #[test]
    fn arbitrary_forms_never_panic_and_never_pass(
        fields in prop::collection::vec(("(policy|key|x-amz-(algorithm|credential|date|signature))", any::<String>()), 0..8),
    ) {
        prop_assert!(verify_form(&fields).is_err());
    }
}
