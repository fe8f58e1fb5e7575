//! How one file differs from its row.

use std::collections::BTreeMap;

use cloakroom_core::checksum::Sha256Digest;
use cloakroom_core::derivative::{Derivative, DerivativeOutcome};
use cloakroom_core::file::{File, FileState};
use cloakroom_core::format::sidecar_v1::{SIDECAR_BYTES_MAX, SidecarV1};
use cloakroom_core::garbage::KeyKind;
use cloakroom_core::key::{derivative_base, sidecar_key};
use cloakroom_core::operation::Finding;
use cloakroom_core::ports::objects::{GetOptions, ListOptions, ObjectError, ObjectPath};
use futures_util::StreamExt;
use sha2::{Digest, Sha256};

use super::files::must_stand;
use super::finding_at;
use crate::app::App;
use crate::error::{Result, ServiceError};

/// Keys that begin with a file's key, at most in one page.
const PAGE_MAX: u32 = 1_000;
/// How often bytes that cannot be read are tried again.
const READS_MAX: u32 = 2;

/// One way in which a file is not as its row says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Drift {
    ObjectMissing,
    SizeDiffers {
        row: u64,
        object: u64,
    },
    ChecksumDiffers {
        detail: String,
    },
    SidecarMissing {
        epoch: u32,
    },
    SidecarInvalid {
        epoch: u32,
        reason: String,
    },
    SidecarDiffers {
        epoch: u32,
        fields: Vec<String>,
    },
    /// A revision stands that the row has not reached.
    RowBehind {
        epoch: u32,
    },
    DerivativeMissing {
        name: String,
        key: String,
    },
    DerivativeSizeDiffers {
        name: String,
        key: String,
        row: u64,
        object: u64,
    },
}

impl Drift {
    /// Whether it can be repaired from the row, or the row from it.
    pub(super) const fn is_of_sidecar(&self) -> bool {
        matches!(
            self,
            Self::SidecarMissing { .. }
                | Self::SidecarInvalid { .. }
                | Self::SidecarDiffers { .. }
                | Self::RowBehind { .. }
        )
    }

    /// The line of the report.
    pub(super) fn finding(&self, file: &File) -> Finding {
        let sidecar = |epoch: u32| sidecar_key(&file.key, epoch);
        let (kind, key, detail) = match self {
            Self::ObjectMissing => (
                "object_missing",
                file.key.clone(),
                "The row says that an object stands here, and none does. Bring it back from a backup or from an earlier \
                 version of the bucket, under this key, and verify again; or delete the file."
                    .to_owned(),
            ),
            Self::SizeDiffers { row, object } => (
                "size_differs",
                file.key.clone(),
                format!("The row says {row} bytes, the object has {object}."),
            ),
            Self::ChecksumDiffers { detail } => ("checksum_differs", file.key.clone(), detail.clone()),
            Self::SidecarMissing { epoch } => (
                "sidecar_missing",
                sidecar(*epoch),
                format!("There is no sidecar of revision {epoch}."),
            ),
            Self::SidecarInvalid { epoch, reason } => (
                "sidecar_invalid",
                sidecar(*epoch),
                format!("invalid_attribute_file: {reason}"),
            ),
            Self::SidecarDiffers { epoch, fields } => (
                "sidecar_differs",
                sidecar(*epoch),
                format!("Other than the row: {}.", fields.join(", ")),
            ),
            Self::RowBehind { epoch } => (
                "sidecar_differs",
                sidecar(*epoch),
                format!("Revision {epoch} stands, and the row is at {}.", file.epoch),
            ),
            Self::DerivativeMissing { name, key } => (
                "derivative_missing",
                key.clone(),
                format!("The row says that the derivative {name} stands here, and none does."),
            ),
            Self::DerivativeSizeDiffers {
                name,
                key,
                row,
                object,
            } => (
                "derivative_size_differs",
                key.clone(),
                format!("The row says {row} bytes for the derivative {name}, the object has {object}."),
            ),
        };
        finding_at(kind, &ObjectPath::new(&file.bucket, key), Some(file.id), detail)
    }
}

/// What stands at a file's key and beside it: sizes by key.
type Standing = BTreeMap<String, u64>;

impl App {
    /// Everything in which the file differs from its row as given, and how many bytes were read for it. One look, to be
    /// believed only if the row is still the same afterwards.
    pub(super) async fn drifts_of(&self, file: &File, deep: bool) -> Result<(Vec<Drift>, u64)> {
        if !must_stand(file) {
            let drifts = self.confirmed_drift(file).await?;
            return Ok((drifts.into_iter().collect(), 0));
        }
        let derivatives = self.derivatives_of(file).await?;
        let standing = self.standing_beside(file).await?;
        let mut drifts = Vec::new();
        let mut bytes_read = 0;
        match (standing.get(&file.key), &file.verified) {
            (None, _) => drifts.push(Drift::ObjectMissing),
            (Some(size), Some(verified)) if *size != verified.size_bytes => drifts.push(Drift::SizeDiffers {
                row: verified.size_bytes,
                object: *size,
            }),
            // The bytes of a cold class cannot be read without being restored.
            (Some(size), Some(verified)) if deep && file.state != FileState::Archived => {
                bytes_read = *size;
                drifts.extend(self.checksum_drift(file, verified.sha256).await?);
            }
            _ => {}
        }
        drifts.extend(self.sidecar_drift(file, &derivatives, &standing, deep).await?);
        for derivative in &derivatives {
            drifts.extend(self.derivative_drift(file, derivative, &standing).await?);
        }
        Ok((drifts, bytes_read))
    }

    /// A confirmed file that is not verified yet needs the bytes that were confirmed, or it is lost (I3).
    async fn confirmed_drift(&self, file: &File) -> Result<Option<Drift>> {
        if !matches!(file.state, FileState::Confirmed | FileState::Processing) {
            return Ok(None);
        }
        let upload = self.metadata.upload(file.id).await?;
        let staging = upload.map(|upload| upload.staging_key);
        for key in staging.iter().chain([&file.key]) {
            if self.size_of(&ObjectPath::new(&file.bucket, key)).await?.is_some() {
                return Ok(None);
            }
        }
        Ok(Some(Drift::ObjectMissing))
    }

    async fn standing_beside(&self, file: &File) -> Result<Standing> {
        let mut standing = Standing::new();
        self.add_standing(&file.bucket, file.key.clone(), &mut standing)
            .await?;
        let base = derivative_base(&file.key);
        if base != file.key {
            self.add_standing(&file.bucket, format!("{base}."), &mut standing)
                .await?;
        }
        Ok(standing)
    }

    async fn add_standing(&self, bucket: &str, prefix: String, standing: &mut Standing) -> Result<()> {
        let mut options = ListOptions {
            prefix,
            limit: PAGE_MAX,
            ..ListOptions::default()
        };
        loop {
            let page = match self.objects.list(bucket, &options).await {
                Ok(page) => page,
                Err(ObjectError::NoSuchBucket(_)) => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            standing.extend(
                page.objects
                    .into_iter()
                    .map(|object| (object.key, object.size_bytes)),
            );
            match page.next {
                Some(next) => options.after = Some(next),
                None => return Ok(()),
            }
        }
    }

    async fn checksum_drift(&self, file: &File, expected: Sha256Digest) -> Result<Option<Drift>> {
        let path = ObjectPath::new(&file.bucket, &file.key);
        let mut failure = String::new();
        for _ in 0..READS_MAX {
            match self.digest(&path).await? {
                Ok(Some(found)) if found == expected => return Ok(None),
                Ok(Some(found)) => {
                    return Ok(Some(Drift::ChecksumDiffers {
                        detail: format!("The row says SHA-256 {expected}, the bytes have {found}."),
                    }));
                }
                Ok(None) => return Ok(Some(Drift::ObjectMissing)),
                Err(reason) => failure = reason,
            }
        }
        // A store that went away in the middle is no fault of the file.
        self.objects.ping().await?;
        Ok(Some(Drift::ChecksumDiffers {
            detail: format!("The bytes cannot be read to their end: {failure}."),
        }))
    }

    /// SHA-256 of the bytes at a path; `None` when there are none. The inner error is about these bytes alone.
    async fn digest(&self, path: &ObjectPath) -> Result<std::result::Result<Option<Sha256Digest>, String>> {
        let mut read = match self.objects.get(path, &GetOptions::default()).await {
            Ok(read) => read,
            Err(ObjectError::NotFound) => return Ok(Ok(None)),
            Err(error @ (ObjectError::Unavailable(_) | ObjectError::Denied(_))) => return Err(error.into()),
            Err(error) => return Ok(Err(error.to_string())),
        };
        let (mut hash, mut size_bytes) = (Sha256::new(), 0_u64);
        while let Some(piece) = read.body.next().await {
            match piece {
                Ok(piece) => {
                    size_bytes += piece.len() as u64;
                    hash.update(&piece);
                }
                Err(error) => return Ok(Err(error.to_string())),
            }
        }
        if size_bytes != read.info.size_bytes {
            return Ok(Err(format!(
                "{size_bytes} of {} bytes came",
                read.info.size_bytes
            )));
        }
        Ok(Ok(Some(Sha256Digest(hash.finalize().into()))))
    }

    async fn sidecar_drift(
        &self,
        file: &File,
        derivatives: &[Derivative],
        standing: &Standing,
        deep: bool,
    ) -> Result<Option<Drift>> {
        let epochs = standing.keys().filter_map(|key| match KeyKind::of(key) {
            KeyKind::Sidecar { of, epoch } if of == file.key => Some(epoch),
            _ => None,
        });
        let highest = epochs.max();
        if let Some(epoch) = highest.filter(|epoch| *epoch > file.epoch) {
            return Ok(match self.decoded_sidecar(file, epoch).await? {
                Some(Ok(_)) => Some(Drift::RowBehind { epoch }),
                Some(Err(reason)) => Some(Drift::SidecarInvalid { epoch, reason }),
                None => Some(Drift::SidecarMissing { epoch: file.epoch }),
            });
        }
        let epoch = file.epoch;
        let fits = standing.get(&sidecar_key(&file.key, epoch));
        match fits {
            None => return Ok(Some(Drift::SidecarMissing { epoch })),
            Some(0) => {
                return Ok(Some(Drift::SidecarInvalid {
                    epoch,
                    reason: "It is empty.".to_owned(),
                }));
            }
            Some(size) if *size > SIDECAR_BYTES_MAX as u64 => {
                return Ok(Some(Drift::SidecarInvalid {
                    epoch,
                    reason: format!("{size} bytes are more than {SIDECAR_BYTES_MAX}."),
                }));
            }
            Some(_) if !deep => return Ok(None),
            Some(_) => {}
        }
        let sidecar = match self.decoded_sidecar(file, epoch).await? {
            None => return Ok(Some(Drift::SidecarMissing { epoch })),
            Some(Err(reason)) => return Ok(Some(Drift::SidecarInvalid { epoch, reason })),
            Some(Ok(sidecar)) => sidecar,
        };
        let expected = match self.expected_sidecar(file, derivatives).await {
            Ok(expected) => expected,
            // A row that no sidecar can hold cannot be compared with one.
            Err(ServiceError::Refused(_)) => return Ok(None),
            Err(error) => return Err(error),
        };
        let fields = differing_fields(&expected, &sidecar);
        Ok((!fields.is_empty()).then_some(Drift::SidecarDiffers { epoch, fields }))
    }

    /// The sidecar of an epoch, or why it cannot be read; `None` when there is none.
    async fn decoded_sidecar(
        &self,
        file: &File,
        epoch: u32,
    ) -> Result<Option<std::result::Result<SidecarV1, String>>> {
        let path = ObjectPath::new(&file.bucket, sidecar_key(&file.key, epoch));
        let bytes = self.read_document(&path, SIDECAR_BYTES_MAX).await?;
        Ok(bytes.map(|bytes| SidecarV1::decode(&bytes).map_err(|refusal| refusal.message)))
    }

    async fn derivative_drift(
        &self,
        file: &File,
        derivative: &Derivative,
        standing: &Standing,
    ) -> Result<Option<Drift>> {
        let DerivativeOutcome::Made { key, size_bytes, .. } = &derivative.outcome else {
            return Ok(None);
        };
        let found = match standing.get(key) {
            Some(size) => Some(*size),
            None => self.size_of(&ObjectPath::new(&file.bucket, key)).await?,
        };
        let name = derivative.name.clone();
        Ok(match found {
            None => Some(Drift::DerivativeMissing {
                name,
                key: key.clone(),
            }),
            Some(size) if size != *size_bytes => Some(Drift::DerivativeSizeDiffers {
                name,
                key: key.clone(),
                row: *size_bytes,
                object: size,
            }),
            Some(_) => None,
        })
    }

    /// The size of an object, if it stands.
    pub(super) async fn size_of(&self, path: &ObjectPath) -> Result<Option<u64>> {
        match self.objects.head(path, &GetOptions::default()).await {
            Ok(info) => Ok(Some(info.size_bytes)),
            Err(ObjectError::NotFound | ObjectError::NoSuchBucket(_)) => Ok(None),
            Err(error) => Err(ServiceError::from(error)),
        }
    }
}

/// Fields that say whose a record is that was made by linking. When it gets a document of its own, the sidecars of its
/// files keep them, and nobody reads them any more.
const LINK_FIELDS: [&str; 2] = ["record_owner", "record_created_at"];

/// The names of the fields in which a sidecar is not as expected.
fn differing_fields(expected: &SidecarV1, found: &SidecarV1) -> Vec<String> {
    let fields = |sidecar: &SidecarV1| match serde_json::to_value(sidecar) {
        Ok(serde_json::Value::Object(fields)) => fields,
        _ => serde_json::Map::new(),
    };
    let (expected, found) = (fields(expected), fields(found));
    let names: std::collections::BTreeSet<&String> = expected.keys().chain(found.keys()).collect();
    names
        .into_iter()
        .filter(|name| expected.contains_key(*name) || !LINK_FIELDS.contains(&name.as_str()))
        .filter(|name| expected.get(*name) != found.get(*name))
        .cloned()
        .collect()
}
