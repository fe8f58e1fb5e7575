//! What goes wrong is named: the address, the credentials, the clock, the bucket, the permission, the setting.

use std::sync::Arc;

use cloakroom_core::ports::clock::Clock as _;
use cloakroom_core::upload::UploadMethod;
use cloakroom_objects::credentials::StaticCredentials;
use cloakroom_objects::s3::Encryption;
use cloakroom_objects::s3::probe::{self, Answer, Fact, Findings, Verdict};
use cloakroom_objects::signer::UrlSigner;
use cloakroom_signing::{Addressing, Credentials, Endpoint};
use cloakroom_testkit::clock::{MockClock, WallClock};
use cloakroom_testkit::servers;
use jiff::SignedDuration;

use crate::stand::{ORIGIN, Stand};

/// Nobody listens there.
const NOBODY: &str = "http://127.0.0.1:9";

fn endpoint(url: &str) -> Endpoint {
    Endpoint::parse(url, Addressing::Path).expect("an address")
}

fn said(findings: &Findings, fact: Fact) -> String {
    findings
        .answer(fact)
        .map(|answer| answer.seen().to_owned())
        .unwrap_or_default()
}

#[tokio::test]
async fn a_service_that_is_not_there_offers_nothing() {
    let stand = Stand::ceph().await;
    for (url, word) in [
        (NOBODY, "refused"),
        ("http://no-such-host.invalid:1", "no-such-host.invalid"),
        ("https://127.0.0.1:9", "https://127.0.0.1:9"),
    ] {
        let mut target = stand.target.clone();
        target.endpoint = endpoint(url);
        target.public = endpoint(url);
        for findings in [probe::bucket(&target).await, probe::thorough(&target).await] {
            let seen = said(&findings, Fact::EndpointReached);
            assert!(seen.to_lowercase().contains(word), "{seen}");
            assert_eq!(findings.methods(), [UploadMethod::Stream]);
            assert_eq!(findings.worst(), Verdict::Fail);
        }
    }
}

#[tokio::test]
async fn an_address_that_only_clients_should_reach_is_tried_by_itself() {
    let stand = Stand::ceph().await;
    let mut target = stand.target.clone();
    target.public = endpoint(NOBODY);
    target.signer = Arc::new(UrlSigner::from_credentials(
        Arc::clone(&target.credentials),
        target.region.clone(),
        target.public.clone(),
    ));
    let findings = probe::thorough(&target).await;
    assert!(findings.holds(Fact::EndpointReached) && findings.holds(Fact::MayPut));
    assert!(matches!(
        findings.answer(Fact::PublicEndpointReached),
        Some(Answer::Not(_))
    ));
    assert_eq!(
        findings.methods(),
        [UploadMethod::Stream],
        "it could not be tried"
    );
    assert_eq!(findings.worst(), Verdict::Warn);

    target.detour = Some(Arc::clone(&stand.target.signer));
    let findings = probe::thorough(&target).await;
    assert!(matches!(
        findings.answer(Fact::PublicEndpointReached),
        Some(Answer::Not(_))
    ));
    assert_eq!(
        findings.methods(),
        UploadMethod::ALL,
        "it was tried at our own address"
    );
    assert_eq!(findings.worst(), Verdict::Warn);
    assert_eq!(stand.keys().await, "");
}

#[tokio::test]
async fn wrong_credentials_are_named() {
    let stand = Stand::ceph().await;
    let server = servers::s3();
    for (key, secret, code) in [
        (server.access_key.as_str(), "wrong", "SignatureDoesNotMatch"),
        ("nobody", "wrong", "InvalidAccessKeyId"),
    ] {
        let mut target = stand.target.clone();
        target.credentials = Arc::new(StaticCredentials(Credentials::new(key, secret)));
        let findings = probe::thorough(&target).await;
        assert!(
            said(&findings, Fact::CredentialsAccepted).contains(code),
            "{findings:?}"
        );
        assert!(
            !format!("{findings:?} {target:?}").contains("wrong"),
            "no secret is shown"
        );
    }
}

#[tokio::test]
async fn a_missing_bucket_is_named() {
    let stand = Stand::ceph().await;
    let mut target = stand.target.clone();
    target.bucket = servers::unique_bucket();
    let findings = probe::thorough(&target).await;
    assert!(said(&findings, Fact::BucketExists).contains(&target.bucket));
    assert!(findings.holds(Fact::CredentialsAccepted));
    assert_eq!(findings.methods(), [UploadMethod::Stream]);
}

#[tokio::test]
async fn clocks_that_differ_are_noticed() {
    let stand = Stand::ceph().await;
    let mut target = stand.target.clone();
    for (minutes, word) in [(5, "behind"), (-5, "ahead")] {
        let clock = MockClock::new();
        clock.set(WallClock.now());
        clock.advance(SignedDuration::from_mins(minutes));
        target.clock = Arc::new(clock);
        let findings = probe::thorough(&target).await;
        assert!(said(&findings, Fact::ClockAgrees).contains(word), "{findings:?}");
        assert_eq!(
            Findings::verdict(
                Fact::ClockAgrees,
                findings.answer(Fact::ClockAgrees).expect("asked")
            ),
            Verdict::Warn
        );
    }
    let clock = MockClock::new();
    clock.set(WallClock.now());
    clock.advance(SignedDuration::from_hours(2));
    target.clock = Arc::new(clock);
    let findings = probe::essential(&target).await;
    assert!(
        said(&findings, Fact::CredentialsAccepted).contains("RequestTimeTooSkewed"),
        "{findings:?}"
    );
    assert!(!findings.holds(Fact::ClockAgrees));
}

#[tokio::test]
async fn permissions_that_are_denied_are_named_one_by_one() {
    let stand = Stand::ceph().await;
    let denied = [
        (Fact::MayListUploads, "s3:ListBucketMultipartUploads"),
        (Fact::MayReadCors, "s3:GetBucketCORS"),
        (Fact::MayWriteCors, "s3:PutBucketCORS"),
        (Fact::MayWriteLifecycle, "s3:PutLifecycleConfiguration"),
    ];
    let actions: Vec<_> = denied.iter().map(|(_, action)| format!("\"{action}\"")).collect();
    let bucket = &stand.target.bucket;
    let policy = format!(
        r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Deny","Principal":"*","Action":[{}],
            "Resource":["arn:aws:s3:::{bucket}","arn:aws:s3:::{bucket}/*"]}}]}}"#,
        actions.join(",")
    );
    stand.configure("policy", policy).await;
    let findings = probe::thorough(&stand.target).await;
    for (fact, answer) in findings.answers() {
        let expected = denied
            .iter()
            .find(|(denied, _)| *denied == fact)
            .map(|(_, action)| *action);
        match (answer, expected) {
            (Answer::Denied(action), Some(expected)) => assert_eq!(*action, expected),
            (Answer::Denied(_), None) | (_, Some(_)) => panic!("{fact:?}: {answer:?}"),
            _ => {}
        }
    }
    assert_eq!(stand.keys().await, "");
}

#[tokio::test]
async fn settings_that_do_not_work_are_named() {
    let stand = Stand::ceph().await;
    let mut target = stand.target.clone();
    let kms = |id: String| Some(Encryption::Kms { key_id: Some(id) });
    let signer = |encryption: &Option<Encryption>| {
        let signer = UrlSigner::from_credentials(
            Arc::clone(&stand.target.credentials),
            stand.target.region.clone(),
            stand.target.public.clone(),
        );
        match encryption {
            Some(encryption) => Arc::new(signer.with_encryption(encryption)),
            None => Arc::new(signer),
        }
    };
    target.encryption = kms(servers::s3_kms_key_id());
    target.signer = signer(&target.encryption);
    let findings = probe::thorough(&target).await;
    assert!(findings.holds(Fact::EncryptionAsConfigured) && findings.holds(Fact::EncryptionKms));
    assert_eq!(
        findings.methods(),
        UploadMethod::ALL,
        "uploads are encrypted too: {findings:?}"
    );

    target.encryption = kms("no-such-key".to_owned());
    target.signer = signer(&target.encryption);
    target.storage_class = Some("NO_SUCH_CLASS".to_owned());
    let findings = probe::thorough(&target).await;
    assert!(!findings.holds(Fact::EncryptionAsConfigured));
    assert!(!findings.holds(Fact::StorageClassAsConfigured));
    assert_eq!(findings.methods(), [UploadMethod::Stream]);

    target.encryption = Some(Encryption::Aes256);
    target.storage_class = Some("STANDARD".to_owned());
    let findings = probe::thorough(&target).await;
    assert!(
        said(&findings, Fact::EncryptionAsConfigured).contains("stored with none"),
        "Ceph 16 takes the header and encrypts nothing: {findings:?}"
    );
    assert!(findings.holds(Fact::StorageClassAsConfigured));
}

#[tokio::test]
async fn origins_versions_and_missing_rules_are_found() {
    let mut stand = Stand::ceph().await;
    stand.target.origins = vec![ORIGIN.to_owned()];
    let cors = format!(
        "<CORSConfiguration><CORSRule><AllowedOrigin>{ORIGIN}</AllowedOrigin><AllowedMethod>PUT</AllowedMethod>\
         <AllowedHeader>*</AllowedHeader></CORSRule></CORSConfiguration>"
    );
    stand.configure("cors", cors).await;
    let versions = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
    stand.configure("versioning", versions.to_owned()).await;
    let findings = probe::thorough(&stand.target).await;
    assert!(findings.holds(Fact::CorsPut));
    assert!(!findings.holds(Fact::CorsPost) && !findings.holds(Fact::CorsExposesEtag));
    assert!(!findings.holds(Fact::VersioningOff));
    assert!(!findings.holds(Fact::LifecycleNet) && !findings.holds(Fact::LifecycleAborts));

    stand.target.origins = vec!["https://elsewhere.example".to_owned()];
    let findings = probe::thorough(&stand.target).await;
    assert!(!findings.holds(Fact::CorsPut));
    assert!(said(&findings, Fact::CorsPut).contains("elsewhere.example"));
}
