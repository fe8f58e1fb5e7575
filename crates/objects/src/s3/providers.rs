//! What is known of services, by name and version: declared here, and found by the probe in tests on the real thing. The
//! table of `docs/providers.md` is made of it.

use super::probe::{Answer, Fact, Findings};

/// A service that was tried.
#[derive(Clone, Copy, Debug)]
pub struct Provider {
    /// Its name and version.
    pub name: &'static str,
    /// Facts that do not hold there, in a bucket that was set up as far as it can be. All others do.
    pub lacks: &'static [Fact],
}

/// The endpoint of our own local store. Its buckets have no settings: origins are in the configuration, and the sweeper has
/// no need of a net.
pub const OWN: Provider = Provider {
    name: "Cloakroom",
    lacks: &[
        Fact::MayReadCors,
        Fact::MayWriteCors,
        Fact::MayReadLifecycle,
        Fact::MayWriteLifecycle,
        Fact::MayReadPolicy,
        Fact::MayReadEncryption,
        Fact::MayReadNotification,
        Fact::LifecycleNet,
        Fact::LifecycleAborts,
        Fact::EncryptionAes256,
        Fact::Notifications,
    ],
};

/// Ceph's gateway. What is not signed is accepted; conditions on what is replaced hold for PUT only.
pub const CEPH_16: Provider = Provider {
    name: "Ceph RGW 16.2",
    lacks: &[
        Fact::PutRefusesCopySource,
        Fact::PutRefusesAcl,
        Fact::PutRefusesMetadata,
        Fact::PutVerifiesSha256,
        Fact::PartRefusesCopySource,
        Fact::PartReads,
        Fact::ChecksumCrc32,
        Fact::ChecksumCrc32c,
        Fact::ChecksumCrc64Nvme,
        Fact::ChecksumSha1,
        Fact::ChecksumSha256,
        Fact::ChecksumsShown,
        Fact::CopyIfAbsent,
        Fact::CompletionIfAbsent,
        Fact::CompletionIfMatch,
        Fact::EncryptionAes256,
    ],
};

/// A stand-in for tests. It looks at no signature, so nothing that is signed is enforced.
pub const MOTO_5: Provider = Provider {
    name: "moto 5.2",
    lacks: &[
        Fact::MayWriteCors,
        Fact::MayWriteLifecycle,
        Fact::PutBindsType,
        Fact::PutBindsLength,
        Fact::PutBindsKey,
        Fact::PutExpires,
        Fact::PutRefusesCopySource,
        Fact::PutRefusesAcl,
        Fact::PutRefusesMetadata,
        Fact::PutVerifiesSha256,
        Fact::FormBindsKey,
        Fact::FormBindsType,
        Fact::FormBindsSizeMin,
        Fact::FormBindsSizeMax,
        Fact::FormExpires,
        Fact::FormRefusesFields,
        Fact::FormBindsStatus,
        Fact::PartBindsNumber,
        Fact::PartBindsKey,
        Fact::PartExpires,
        Fact::PartRefusesCopySource,
        Fact::GetExpires,
        Fact::ChecksumCrc32,
        Fact::ChecksumCrc32c,
        Fact::ChecksumCrc64Nvme,
        Fact::ChecksumSha1,
        Fact::ChecksumSha256,
        Fact::ChecksumsShown,
        Fact::ContentMd5,
        Fact::CopyIfMatch,
        Fact::CopyIfAbsent,
        Fact::CompletionIfMatch,
    ],
};

/// Garage. What is not signed is refused; conditions on writes are ignored.
pub const GARAGE_2: Provider = Provider {
    name: "Garage 2.5",
    lacks: &[],
};

/// OpenStack Swift with its S3 layer. It has no POST forms; its CORS is set through its own API.
pub const SWIFT_2: Provider = Provider {
    name: "Swift 2.38 with s3api",
    lacks: &[
        Fact::MayReadCors,
        Fact::MayWriteCors,
        Fact::MayReadPolicy,
        Fact::MayReadNotification,
        Fact::FormAsSigned,
        Fact::FormBindsKey,
        Fact::FormBindsType,
        Fact::FormBindsSizeMin,
        Fact::FormBindsSizeMax,
        Fact::FormExpires,
        Fact::FormRefusesFields,
        Fact::FormBindsStatus,
        Fact::FormAnswersStatus,
        Fact::ChecksumsShown,
        Fact::PutIfMatch,
        Fact::CopyIfAbsent,
        Fact::CompletionIfMatch,
        Fact::CorsPut,
        Fact::CorsPost,
        Fact::CorsGet,
        Fact::CorsExposesEtag,
        Fact::LifecycleNet,
        Fact::LifecycleAborts,
        Fact::EncryptionAes256,
        Fact::Notifications,
    ],
};

/// Every service that was tried, in the order of the documentation.
pub const PROVIDERS: &[Provider] = &[OWN, CEPH_16, MOTO_5, GARAGE_2, SWIFT_2];

impl Provider {
    /// Whether a fact is declared to hold there.
    pub fn declares(&self, fact: Fact) -> bool {
        !self.lacks.contains(&fact)
    }

    /// What was found and is declared otherwise, a line each.
    pub fn differences(&self, findings: &Findings) -> Vec<String> {
        let answers = findings.answers();
        let differ = answers.filter(|(fact, answer)| self.declares(*fact) != (**answer == Answer::Holds));
        differ
            .map(|(fact, answer)| {
                let declared = if self.declares(fact) {
                    "holds"
                } else {
                    "does not hold"
                };
                format!(
                    "{}: {} is declared to be so: {declared}; found: {answer:?}",
                    self.name,
                    fact.as_str()
                )
            })
            .collect()
    }
}
