//! moto's STS and instance metadata service.

use std::sync::Arc;

use cloakroom_objects::credentials::{ChainOptions, CredentialsChain, CredentialsSource as _};
use cloakroom_signing::Region;
use cloakroom_testkit::clock::WallClock;
use cloakroom_testkit::servers;

async fn chain(variables: &[(&str, &str)]) -> CredentialsChain {
    let find = |name: &str| {
        let found = variables.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| (*value).to_owned())
    };
    let options = ChainOptions::from_variables(find, &Region::default()).expect("a source");
    CredentialsChain::connect(options, Arc::new(WallClock))
        .await
        .expect("credentials")
}

#[tokio::test]
async fn a_token_is_exchanged_for_a_role() {
    let directory = tempfile::tempdir().expect("a directory");
    let token = directory.path().join("token");
    std::fs::write(&token, "header.claims.proof\n").expect("written");
    let chain = chain(&[
        ("AWS_WEB_IDENTITY_TOKEN_FILE", token.to_str().expect("text")),
        ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/files"),
        ("AWS_ENDPOINT_URL_STS", &servers::moto_url()),
    ])
    .await;
    let found = chain.credentials().await.expect("credentials");
    assert!(found.access_key_id.starts_with("ASIA"), "{found:?}");
    assert!(found.session_token.is_some());
    assert_eq!(chain.latest(), found);
}

#[tokio::test]
async fn an_instance_has_the_credentials_of_its_role() {
    let chain = chain(&[("AWS_EC2_METADATA_SERVICE_ENDPOINT", &servers::moto_url())]).await;
    let found = chain.credentials().await.expect("credentials");
    assert_eq!(found.access_key_id, "test-key");
    assert_eq!(found.session_token, Some("test-session-token".into()));
}
