//! Signatures of form uploads: the signature is over the text of the policy, and the policy says what the form may contain.

use crate::ALGORITHM;
use crate::error::VerifyError;
use crate::post_policy::{PostPolicy, field, unique_fields};
use crate::timestamp::AmzTime;
use crate::verify::scope::{self, Place};
use crate::verify::{CredentialLookup, Verifier};

/// A form whose policy is signed. Whether the form keeps to it is still to be checked: [`PostPolicy::check`].
#[derive(Clone, Debug)]
pub struct VerifiedForm {
    /// Who signed.
    pub access_key_id: String,
    /// What the signer permits.
    pub policy: PostPolicy,
}

pub(super) fn verify<N, V>(
    verifier: &Verifier,
    fields: &[(N, V)],
    lookup: &impl CredentialLookup,
) -> Result<VerifiedForm, VerifyError>
where
    N: AsRef<str>,
    V: AsRef<str>,
{
    let form = unique_fields(fields)?;
    if field(&form, "awsaccesskeyid").is_some() || field(&form, "signature").is_some() {
        return Err(VerifyError::UnsupportedAuthorization);
    }
    let Some(policy) = field(&form, "policy") else {
        return Err(VerifyError::Unsigned);
    };
    let required = |name: &str| {
        field(&form, name).ok_or_else(|| {
            VerifyError::InvalidForm(format!(
                "Bucket POST must contain a field named '{name}'. If it is specified, please check the order of the fields."
            ))
        })
    };
    let algorithm = required("x-amz-algorithm")?;
    let credential = required("x-amz-credential")?;
    let date = required("x-amz-date")?;
    let signature = required("x-amz-signature")?;
    if algorithm != ALGORITHM {
        return Err(VerifyError::UnsupportedAuthorization);
    }
    // No limit on its age: the policy is good until its own expiration.
    let (time, _) = AmzTime::parse(date.as_bytes()).ok_or_else(|| {
        Place::Parameters.malformed("x-amz-date must be written as \"yyyyMMdd'T'HHmmss'Z'\"")
    })?;
    let access_key_id = scope::access_key_id(credential, &time, &verifier.region, Place::Parameters)?;
    let token = field(&form, "x-amz-security-token").map(str::as_bytes);
    let credentials = super::authenticate(lookup, access_key_id, token)?;
    let key = verifier.signing_key(credentials, &time);
    if !key.sign(&[policy.as_bytes()]).matches(signature.as_bytes()) {
        return Err(VerifyError::SignatureDoesNotMatch);
    }
    Ok(VerifiedForm {
        access_key_id: access_key_id.to_owned(),
        policy: PostPolicy::parse(policy)?,
    })
}
