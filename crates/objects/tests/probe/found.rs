//! What is found on each service is what is declared of it, and the probe leaves nothing behind.

use cloakroom_core::ports::objects::{Capabilities, ObjectStore as _};
use cloakroom_core::upload::UploadMethod;
use cloakroom_objects::s3::bootstrap::BucketPlan;
use cloakroom_objects::s3::probe::{self, Answer, Fact, Findings, Target};
use cloakroom_objects::s3::providers::{CEPH_16, MOTO_5, OWN, Provider};
use cloakroom_objects::s3::{Encryption, USUAL_CAPABILITIES};
use cloakroom_testkit::servers;

use crate::stand::{ORIGIN, Stand};

async fn set_up(stand: &mut Stand) {
    stand.target.origins = vec![ORIGIN.to_owned()];
    let plan = BucketPlan {
        name: stand.target.bucket.clone(),
        cors_origins: stand.target.origins.clone(),
        staging_days: 9,
        block_public: true,
        encryption: None,
        notify: None,
    };
    stand.store.set_up(&plan).await.expect("set up");
}

async fn probe_as_declared(stand: &Stand, provider: &Provider) -> Findings {
    let findings = probe::thorough(&stand.target).await;
    assert_eq!(provider.differences(&findings).join("\n"), "");
    assert_eq!(stand.keys().await, "", "nothing is left");
    let open = stand
        .store
        .multiparts(&stand.target.bucket, "")
        .await
        .expect("a list");
    assert_eq!(open, [], "no upload is left open");

    let essential = probe::essential(&stand.target).await;
    assert!(essential.answers().count() > 25, "enough to decide by");
    for (fact, answer) in essential.answers() {
        // Both are right, whatever else was found in between.
        let same = findings.answer(fact).map(|known| *known == Answer::Holds);
        assert_eq!(same, Some(*answer == Answer::Holds), "{fact:?}");
    }
    assert_eq!(essential.methods(), findings.methods());

    let with_kms = Target {
        encryption: Some(Encryption::Kms {
            key_id: (provider.name == CEPH_16.name).then(servers::s3_kms_key_id),
        }),
        ..stand.target.clone()
    };
    let with_kms = probe::bucket(&with_kms).await;
    assert_eq!(
        with_kms.holds(Fact::EncryptionKms),
        provider.declares(Fact::EncryptionKms),
        "{with_kms:?}"
    );
    findings
}

#[tokio::test]
async fn our_own_endpoint_enforces_everything() {
    let mut stand = Stand::own().await;
    stand.target.origins = vec![ORIGIN.to_owned()];
    let findings = probe_as_declared(&stand, &OWN).await;
    assert_eq!(findings.methods(), UploadMethod::ALL);
    let found = findings.capabilities(USUAL_CAPABILITIES);
    let expected = Capabilities {
        checksums: true,
        computed_checksums: true,
        conditional_copy_target: true,
        conditional_completion: true,
        part_reads: true,
        ..USUAL_CAPABILITIES
    };
    assert_eq!(found, expected);
}

#[tokio::test]
async fn ceph_enforces_what_is_signed() {
    let mut stand = Stand::ceph().await;
    set_up(&mut stand).await;
    let findings = probe_as_declared(&stand, &CEPH_16).await;
    assert_eq!(findings.methods(), UploadMethod::ALL);
    assert_eq!(findings.capabilities(USUAL_CAPABILITIES), USUAL_CAPABILITIES);
}

#[tokio::test]
async fn moto_enforces_nothing_so_nothing_is_signed() {
    let mut stand = Stand::moto().await;
    set_up(&mut stand).await;
    let findings = probe_as_declared(&stand, &MOTO_5).await;
    assert_eq!(findings.methods(), [UploadMethod::Stream]);
    assert_eq!(findings.worst(), probe::Verdict::Fail);
    assert!(!findings.capabilities(USUAL_CAPABILITIES).post_policy);
}
