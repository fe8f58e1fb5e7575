//! The offer: terms that a user accepts before they may upload, where `uploads.offer` names a version of them.
//!
//! An acceptance is a record of a type that clients cannot write themselves, under an id that follows from user and version;
//! so it survives the loss of the database like any record (I6), and a new version has to be accepted anew. Applications with
//! a service token and administrators are not asked: they answer for their users themselves.

use cloakroom_core::JsonObject;
use cloakroom_core::access::{Credential, Principal, Role};
use cloakroom_core::checksum::Sha256Digest;
use cloakroom_core::error::{ErrorCode, Refusal};
use cloakroom_core::ports::metadata::MetadataError;
use cloakroom_core::record::{Record, RecordKey};
use cloakroom_core::storage::StorageAction;
use jiff::Timestamp;
use sha2::{Digest, Sha256};

use crate::app::App;
use crate::error::{Result, ServiceError};

/// The type of the records that say who has accepted what.
const ACCEPTANCE: &str = "offer-acceptance";

/// What a user is asked to accept, and whether they have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The version in force; `None` when nothing has to be accepted.
    pub version: Option<String>,
    /// When the user accepted it.
    pub accepted_at: Option<Timestamp>,
}

impl App {
    /// The offer as the caller has it.
    pub async fn offer(&self, principal: &Principal) -> Result<Offer> {
        let Some(version) = &self.policy.offer else {
            return Ok(Offer {
                version: None,
                accepted_at: None,
            });
        };
        let accepted = self.acceptance(principal, version).await?;
        Ok(Offer {
            version: Some(version.clone()),
            accepted_at: accepted.map(|record| record.created_at),
        })
    }

    /// Accepts the version in force; accepting twice is accepting once. `version` is the one that the user has read.
    ///
    /// # Errors
    /// `invalid_request` for a version that is not in force.
    pub async fn accept_offer(&self, principal: &Principal, version: Option<&str>) -> Result<Offer> {
        let Some(current) = &self.policy.offer else {
            return self.offer(principal).await;
        };
        if version.is_some_and(|version| version != current) {
            return Err(Refusal::new(
                ErrorCode::InvalidRequest,
                format!("The offer in force is version {current}; show that one and accept it."),
            )
            .with("field", "version")
            .with("version", current.as_str())
            .into());
        }
        if self.acceptance(principal, current).await?.is_none() {
            self.admit_records(StorageAction::Update)?;
            let now = self.now();
            let mut record = Record {
                meta: JsonObject::from_iter([("version".to_owned(), current.clone().into())]),
                ..Record::linked(
                    acceptance_key(principal, current)?,
                    principal.subject.clone(),
                    now,
                )
            };
            match self.commit_record(&mut record, None, &principal.subject).await {
                Ok(()) => tracing::info!(
                    event = "offer_accepted",
                    user_id = %principal.subject,
                    version = %current,
                    "Offer accepted"
                ),
                // By another request at the same time.
                Err(ServiceError::Refused(refusal)) if refusal.code == ErrorCode::Conflict => {
                    if self.acceptance(principal, current).await?.is_none() {
                        return Err(MetadataError::Conflict.into());
                    }
                }
                Err(error) => return Err(error),
            }
        }
        self.offer(principal).await
    }

    /// Refuses uploads of who has not accepted the offer in force.
    pub(crate) async fn admit_by_offer(&self, principal: &Principal) -> Result<()> {
        let Some(version) = &self.policy.offer else {
            return Ok(());
        };
        if principal.credential != Credential::AccessToken
            || principal.role >= Role::Admin
            || self.acceptance(principal, version).await?.is_some()
        {
            return Ok(());
        }
        Err(Refusal::new(
            ErrorCode::OfferNotAccepted,
            format!("Accept the offer, version {version}, with POST /api/v1/me/offer before you upload."),
        )
        .with("version", version.as_str())
        .into())
    }

    async fn acceptance(&self, principal: &Principal, version: &str) -> Result<Option<Record>> {
        let record = self.metadata.record(&acceptance_key(principal, version)?).await?;
        Ok(record.filter(|record| record.owner == principal.subject))
    }
}

fn acceptance_key(principal: &Principal, version: &str) -> Result<RecordKey> {
    let mut hash = Sha256::new();
    for text in [&*principal.subject, version] {
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text.as_bytes());
    }
    let id = Sha256Digest(hash.finalize().into()).to_string();
    Ok(RecordKey::new(ACCEPTANCE, &id)?)
}

/// Refuses to have such a record written or linked to: it says what its owner has agreed to.
pub(crate) fn admit_record_type(key: &RecordKey) -> std::result::Result<(), Refusal> {
    if key.kind() != ACCEPTANCE {
        return Ok(());
    }
    Err(Refusal::new(
        ErrorCode::InvalidRequest,
        format!("Records of the type {ACCEPTANCE} are made by accepting the offer."),
    )
    .with("field", "record.type"))
}
