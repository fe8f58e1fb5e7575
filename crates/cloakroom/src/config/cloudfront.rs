//! Downloads through CloudFront and the service token that configuration gives: what must hold between the settings and the
//! collections.

use std::collections::{BTreeMap, BTreeSet};

use cloakroom_core::collection::Collection;
use cloakroom_objects::cloudfront::BUCKET_PLACEHOLDER;
use cloakroom_signing::CloudFrontSigner;

use super::layers::Problem;
use super::settings::Settings;

/// What CloudFront needs, when it is wanted.
#[derive(Debug)]
pub struct CloudFront {
    /// Signs for the key pair.
    pub signer: CloudFrontSigner,
    /// The distribution's address.
    pub url: String,
    /// The buckets that it stands before.
    pub buckets: BTreeSet<String>,
}

/// The distribution that downloads go through, if any.
pub fn cloudfront(
    settings: &Settings,
    collections: &BTreeMap<String, Collection>,
) -> Result<Option<CloudFront>, Problem> {
    let Some(url) = &settings.downloads_cloudfront_url else {
        return Ok(None);
    };
    let (Some(id), Some(key)) = (
        &settings.downloads_cloudfront_key_pair_id,
        &settings.downloads_cloudfront_private_key,
    ) else {
        return Err(Problem(
            "downloads.cloudfront_url needs downloads.cloudfront_key_pair_id and downloads.cloudfront_private_key".to_owned(),
        ));
    };
    let signer = CloudFrontSigner::new(id, key.expose())
        .map_err(|error| Problem(format!("downloads.cloudfront_private_key: {error}")))?;
    let names = &settings.downloads_cloudfront_collections;
    known(names, collections, "downloads.cloudfront_collections")?;
    let buckets: BTreeSet<String> = names
        .iter()
        .filter_map(|name| collections.get(name))
        .map(|collection| collection.bucket.clone())
        .collect();
    let url = url.with_scheme(true);
    if buckets.len() > 1 && !url.contains(BUCKET_PLACEHOLDER) {
        let buckets: Vec<String> = buckets.into_iter().collect();
        return Err(Problem(format!(
            "downloads.cloudfront_url must say where the bucket's name goes, as in https://media.example.org/{BUCKET_PLACEHOLDER}: it stands before the buckets {}",
            buckets.join(", ")
        )));
    }
    Ok(Some(CloudFront { signer, url, buckets }))
}

/// Whether the scope of the configured service token names collections that there are.
pub fn service_token_scope(
    settings: &Settings,
    collections: &BTreeMap<String, Collection>,
) -> Result<(), Problem> {
    known(
        &settings.auth_service_token_collections,
        collections,
        "auth.service_token_collections",
    )
}

fn known(names: &[String], collections: &BTreeMap<String, Collection>, key: &str) -> Result<(), Problem> {
    match names.iter().find(|name| !collections.contains_key(*name)) {
        None => Ok(()),
        Some(name) => {
            let known: Vec<&str> = collections.keys().map(String::as_str).collect();
            Err(Problem(format!(
                "{key}: there is no collection {name:?}; there are {}",
                known.join(", ")
            )))
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{self, Inputs};

    /// Problems of a configuration out of these variables.
    fn problems(variables: &[(&str, &str)]) -> Vec<String> {
        let directory = tempfile::tempdir().expect("a directory");
        let inputs = Inputs {
            directory: directory.path().to_owned(),
            environment: variables
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            ..Inputs::default()
        };
        let found = config::load(&inputs).err().unwrap_or_default();
        found.into_iter().map(|problem| problem.0).collect()
    }

    #[test]
    fn what_cloudfront_lacks_is_named() {
        let url = ("CLOAKROOM_DOWNLOADS_CLOUDFRONT_URL", "https://d1.cloudfront.net");
        let id = ("CLOAKROOM_DOWNLOADS_CLOUDFRONT_KEY_PAIR_ID", "K1");
        let bad = ("CLOAKROOM_DOWNLOADS_CLOUDFRONT_PRIVATE_KEY", "hush-hush");
        let found = problems(&[url]).join(" ");
        assert!(found.contains("downloads.cloudfront_private_key"), "{found}");
        let found = problems(&[url, id, bad]).join(" ");
        assert!(found.contains("RSA") && !found.contains("hush"), "{found}");
        let key = include_str!("../../../http/tests/api/keys/rsa.pem");
        let key = ("CLOAKROOM_DOWNLOADS_CLOUDFRONT_PRIVATE_KEY", key);
        assert_eq!(problems(&[url, id, key]), [""; 0]);
        let several = ("CLOAKROOM_DOWNLOADS_CLOUDFRONT_COLLECTIONS", "photos,documents");
        let found = problems(&[url, id, key, several]).join(" ");
        assert!(
            found.contains("{bucket}") && found.contains("complaint-photos"),
            "{found}"
        );
        let placed = (
            "CLOAKROOM_DOWNLOADS_CLOUDFRONT_URL",
            "https://media.example.org/{bucket}",
        );
        assert_eq!(problems(&[placed, id, key, several]), [""; 0]);
        let unknown = ("CLOAKROOM_DOWNLOADS_CLOUDFRONT_COLLECTIONS", "nope");
        assert!(problems(&[url, id, key, unknown]).join(" ").contains("nope"));
    }

    #[test]
    fn a_token_of_the_environment_is_no_guess() {
        for bad in ["short", "long-enough-for-one short", "with-a-letter-\u{e9}-in-it"] {
            let found = problems(&[("BACKEND_SERVICE_TOKEN", bad)]).join(" ");
            assert!(
                found.contains("auth.service_token") && !found.contains(bad),
                "{found}"
            );
        }
        let two = "the-token-that-is-new the-token-that-was";
        assert_eq!(problems(&[("BACKEND_SERVICE_TOKEN", two)]), [""; 0]);
        let scope = [
            ("BACKEND_SERVICE_TOKEN", two),
            ("CLOAKROOM_AUTH_SERVICE_TOKEN_COLLECTIONS", "nope"),
        ];
        assert!(problems(&scope).join(" ").contains("nope"));
    }
}
