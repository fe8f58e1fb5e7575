//! What is known of services, by name and version: declared here, and found by the probe in tests on the real thing. The
//! tables of `docs/providers.md` are made of it.

use std::fmt::Write as _;

use super::probe::{Answer, Fact, Findings, Group};

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
        Fact::MayWriteCors,
        Fact::MayReadLifecycle,
        Fact::MayWriteLifecycle,
        Fact::MayReadPolicy,
        Fact::MayReadEncryption,
        Fact::MayReadNotification,
        Fact::LifecycleNet,
        Fact::LifecycleAborts,
        Fact::EncryptionAes256,
        Fact::EncryptionKms,
        Fact::Notifications,
    ],
};

/// Ceph's gateway. What is not signed is accepted; conditions on what is replaced hold for PUT only.
pub const CEPH_16: Provider = Provider {
    name: "Ceph RGW 16.2",
    lacks: &[
        Fact::PutRefusesCopySource,
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
        Fact::ChecksumsComputed,
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
        Fact::CompletedClosed,
        Fact::GetExpires,
        Fact::ChecksumCrc32,
        Fact::ChecksumCrc32c,
        Fact::ChecksumCrc64Nvme,
        Fact::ChecksumSha1,
        Fact::ChecksumSha256,
        Fact::ChecksumsShown,
        Fact::ChecksumsComputed,
        Fact::ContentMd5,
        Fact::CopyIfMatch,
        Fact::CopyIfAbsent,
        Fact::CompletionIfMatch,
        Fact::CorsGet,
    ],
};

/// Garage. What is not signed is refused; conditions on writes are ignored.
pub const GARAGE_2: Provider = Provider {
    name: "Garage 2.5",
    lacks: &[
        Fact::MayReadPolicy,
        Fact::MayReadEncryption,
        Fact::MayReadNotification,
        Fact::SmallPartsRefused,
        Fact::EmptyParts,
        Fact::LeadingSlashes,
        Fact::ChecksumsComputed,
        Fact::PutIfAbsent,
        Fact::PutIfMatch,
        Fact::CopyIfAbsent,
        Fact::CompletionIfAbsent,
        Fact::CompletionIfMatch,
        Fact::EncryptionAes256,
        Fact::EncryptionKms,
        Fact::Notifications,
    ],
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
        Fact::CompletedClosed,
        Fact::UserMetadata,
        Fact::ChecksumsShown,
        Fact::ChecksumsComputed,
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
        Fact::EncryptionKms,
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

    /// What a probe would find.
    pub fn findings(&self) -> Findings {
        Findings::declared(|fact| self.declares(fact))
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

/// Facts about a configuration, and not about a service.
const OF_CONFIGURATIONS: [Fact; 3] = [
    Fact::SameProtocol,
    Fact::EncryptionAsConfigured,
    Fact::StorageClassAsConfigured,
];

/// The tables of `docs/providers.md`: which upload methods each service is given, every fact, and what each gap means.
pub fn markdown() -> String {
    let mut text = String::from("| what |");
    // Writing to a String cannot fail.
    for provider in PROVIDERS {
        let _ = write!(text, " {} |", provider.name);
    }
    text.push_str("\n|---|");
    text.push_str(&"---|".repeat(PROVIDERS.len()));
    text.push_str("\n| **upload methods that are offered** |");
    for provider in PROVIDERS {
        let methods = provider.findings().methods();
        let names: Vec<_> = methods.iter().map(|method| method.as_str()).collect();
        let _ = write!(text, " {} |", names.join(", "));
    }
    let mut group = None;
    for fact in facts() {
        if group.replace(fact.group()) != Some(fact.group()) {
            let _ = write!(text, "\n| **{}** |", fact.group().as_str());
            text.push_str(&" |".repeat(PROVIDERS.len()));
        }
        let _ = write!(text, "\n| {} |", fact.title());
        for provider in PROVIDERS {
            text.push_str(if provider.declares(fact) {
                " yes |"
            } else {
                " – |"
            });
        }
    }
    text.push_str(
        "\n\n### What each gap means\n\n| where it does not hold that | it means | at |\n|---|---|---|\n",
    );
    for fact in facts() {
        // What our own endpoint has not, it has no need of.
        let others = PROVIDERS.iter().filter(|provider| provider.name != OWN.name);
        let at: Vec<_> = others
            .filter(|provider| !provider.declares(fact))
            .map(|provider| provider.name)
            .collect();
        if at.is_empty() {
            continue;
        }
        let (group, title) = (fact.group().as_str(), fact.title());
        let _ = writeln!(
            text,
            "| {group}: {title} | {}. | {} |",
            capitalised(fact.meaning()),
            at.join(", ")
        );
    }
    text
}

/// Those that are about services. How one is reached is not.
fn facts() -> impl Iterator<Item = Fact> {
    let facts = Fact::ALL.iter().copied();
    facts.filter(|fact| fact.group() != Group::Reach && !OF_CONFIGURATIONS.contains(fact))
}

fn capitalised(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(characters).collect()
    })
}

#[cfg(test)]
mod tests {
    use cloakroom_core::upload::UploadMethod;

    use super::super::USUAL_CAPABILITIES;
    use super::*;

    #[test]
    fn the_documentation_is_current() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/providers.md");
        let page = std::fs::read_to_string(path).expect("the page");
        let (_, rest) = page
            .split_once("<!-- providers:table -->\n")
            .expect("a beginning");
        let (there, _) = rest.split_once("<!-- /providers:table -->").expect("an end");
        assert!(
            there.trim() == markdown().trim(),
            "docs/providers.md is not what this table says; run `make docs-providers`"
        );
    }

    #[test]
    fn methods_follow_from_what_is_declared() {
        assert_eq!(OWN.findings().methods(), UploadMethod::ALL);
        assert_eq!(MOTO_5.findings().methods(), [UploadMethod::Stream]);
        assert!(!SWIFT_2.findings().methods().contains(&UploadMethod::Post));
        assert!(
            !GARAGE_2
                .findings()
                .capabilities(USUAL_CAPABILITIES)
                .conditional_put
        );
    }

    #[test]
    fn nothing_is_declared_twice() {
        for provider in PROVIDERS {
            let unique: std::collections::BTreeSet<_> = provider.lacks.iter().collect();
            assert_eq!(unique.len(), provider.lacks.len(), "{}", provider.name);
        }
    }
}
