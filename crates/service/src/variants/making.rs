//! Making one variant: picture, object, row.

use cloakroom_core::derivative::{Derivative, DerivativeOutcome, NewVariant, VariantAdded};
use cloakroom_core::error::{ErrorCode, Refusal};
use cloakroom_core::file::File;
use cloakroom_core::image::{Rendition, VARIANT_PREFIX};
use cloakroom_core::key::derivative_key;
use cloakroom_core::ports::objects::{ObjectAttributes, ObjectPath, PutBody, PutOptions};
use cloakroom_core::ports::processor::{MadeDerivative, ProcessorError};
use cloakroom_core::ports::renderer::RendererInput;
use cloakroom_core::storage::StorageAction;
use jiff::{SignedDuration, Timestamp};

use super::{FAILED_FOR, Offer};
use crate::app::App;
use crate::downloads::readable;
use crate::error::{Result, ServiceError};
use crate::processing::derivation::StoredSource;
use crate::stores::Deed;

/// After how many seconds whoever was sent away may come again.
const RETRY_AFTER_SECONDS: i64 = 2;

impl App {
    /// Makes one variant and keeps it, or keeps that it cannot be made.
    pub(super) async fn make_variant(
        &self,
        file: &File,
        rendition: &Rendition,
        name: String,
    ) -> Result<Derivative> {
        // A place in the queue is for work that will be kept.
        let admission = self.admission(Deed::Act(StorageAction::Create), &file.bucket)?;
        let nothing = self.failure_of(file, &name, String::new());
        let standing = self.metadata.derivatives(file.id).await?;
        match self
            .new_variant(file, nothing)?
            .admit(file.state, &file.key, standing)
        {
            VariantAdded::Existing(variant) => return Ok(*variant),
            VariantAdded::Full(since) => return Err(self.too_many(file, since).into()),
            VariantAdded::Added(_) | VariantAdded::FileChanged => {}
        }
        let slot = self.variants.0.slots.take().await.map_err(|_| {
            metrics::counter!("cloakroom_variants_refused_total").increment(1);
            Refusal::new(
                ErrorCode::Overloaded,
                "More pictures wait to be made than can be made soon; try again.",
            )
            .with("retry_after_seconds", RETRY_AFTER_SECONDS)
        })?;
        let rendered = self.render(file, rendition, &name).await;
        drop(slot);
        let variant = match rendered {
            Ok(made) => self.keep_object(file, &name, made).await?,
            Err(ProcessorError::Rejected(error)) => {
                tracing::info!(event = "variant_failed", file_id = %file.id, code = error.code, name, "a variant cannot be made");
                self.failure_of(file, &name, error.message)
            }
            Err(ProcessorError::Retry(reason) | ProcessorError::Unavailable { reason, .. }) => {
                return Err(ServiceError::Unavailable(reason));
            }
        };
        let outcome = match self.still_admitted(&admission).await {
            Ok(()) => {
                self.metadata
                    .add_variant(&self.new_variant(file, variant.clone())?)
                    .await
            }
            Err(error) => {
                self.remove_variant_object(file, &variant).await;
                return Err(error);
            }
        };
        // An error says nothing of whether the row is there: the object stays, and is garbage if it is not.
        let outcome = outcome?;
        if !matches!(&outcome, VariantAdded::Added(_) | VariantAdded::Existing(_))
            || matches!(&outcome, VariantAdded::Existing(existing) if **existing != variant)
        {
            self.remove_variant_object(file, &variant).await;
        }
        self.settle(file, variant, outcome).await
    }

    async fn render(
        &self,
        file: &File,
        rendition: &Rendition,
        name: &str,
    ) -> std::result::Result<MadeDerivative, ProcessorError> {
        let path = ObjectPath::new(&file.bucket, &file.key);
        let source = StoredSource {
            objects: &*self.objects,
            path: &path,
        };
        let input = RendererInput {
            file,
            source: &source,
            rendition,
            name,
        };
        let begun = self.now();
        let Offer { renderer, .. } = self
            .offered(file)
            .map_err(|refusal| ProcessorError::Retry(refusal.message))?;
        let rendered = renderer.render(input).await;
        let seconds = self.now().duration_since(begun).as_secs_f64();
        metrics::histogram!("cloakroom_variant_render_seconds").record(seconds);
        rendered
    }

    async fn keep_object(&self, file: &File, name: &str, made: MadeDerivative) -> Result<Derivative> {
        let digest = name.strip_prefix(VARIANT_PREFIX).unwrap_or(name);
        // Whose making this is: no key is used twice. Short, for files whose names leave little room.
        let unique = self.random.uuid_v7(self.now()).as_u128() & 0xffff_ffff;
        let key = derivative_key(
            &file.key,
            file.epoch,
            &format!("v-{digest}-{unique:08x}"),
            &made.extension,
        );
        let options = PutOptions {
            attributes: ObjectAttributes {
                content_type: Some(made.content_type.to_string()),
                ..ObjectAttributes::default()
            },
            ..PutOptions::default()
        };
        let size_bytes = made.bytes.len() as u64;
        let path = ObjectPath::new(&file.bucket, &key);
        self.objects
            .put(&path, options, PutBody::from_bytes(made.bytes))
            .await?;
        Ok(Derivative {
            file_id: file.id,
            name: name.to_owned(),
            outcome: DerivativeOutcome::Made {
                key,
                content_type: made.content_type,
                size_bytes,
                width: made.width,
                height: made.height,
            },
            created_at: self.now(),
        })
    }

    async fn settle(&self, file: &File, variant: Derivative, outcome: VariantAdded) -> Result<Derivative> {
        match outcome {
            VariantAdded::Added(gave_way) => {
                for one in &gave_way {
                    self.remove_variant_object(file, one).await;
                }
                metrics::counter!("cloakroom_variants_made_total", "collection" => file.collection.clone())
                    .increment(1);
                Ok(variant)
            }
            VariantAdded::Existing(existing) => Ok(*existing),
            VariantAdded::Full(since) => Err(self.too_many(file, since).into()),
            VariantAdded::FileChanged => match self.metadata.file(file.id).await? {
                None => Err(Refusal::file_not_found(&file.id).into()),
                Some(now) => {
                    readable(&now)?;
                    Err(ServiceError::Unavailable(
                        "the file moved while a variant of it was made".to_owned(),
                    ))
                }
            },
        }
    }

    fn new_variant(&self, file: &File, variant: Derivative) -> Result<NewVariant> {
        let Offer { collection, .. } = self.offered(file)?;
        // Nobody who was just sent there finds nothing.
        let keep_for = SignedDuration::from_secs(i64::from(collection.download_expires_seconds));
        Ok(NewVariant {
            file_key: file.key.clone(),
            keep_max: collection.images.variants_max,
            replace_before: self.now() - keep_for,
            retry_before: self.now() - FAILED_FOR,
            variant,
        })
    }

    fn failure_of(&self, file: &File, name: &str, error: String) -> Derivative {
        Derivative {
            file_id: file.id,
            name: name.to_owned(),
            outcome: DerivativeOutcome::Failed { error },
            created_at: self.now(),
        }
    }

    fn too_many(&self, file: &File, since: Timestamp) -> Refusal {
        let keep_for = i64::from(self.download_expires_seconds(file));
        let wait = keep_for - self.now().duration_since(since).as_secs();
        let max = self
            .collections
            .get(&file.collection)
            .map_or(0, |c| c.images.variants_max);
        Refusal::new(
            ErrorCode::TooManyVariants,
            format!("{max} variants of the file are kept, and all of them were made lately."),
        )
        .with("file_id", file.id.to_string())
        .with("variants_max", max)
        .with("retry_after_seconds", wait.clamp(1, 86_400))
    }

    /// One that stays is garbage.
    async fn remove_variant_object(&self, file: &File, variant: &Derivative) {
        let DerivativeOutcome::Made { key, .. } = &variant.outcome else {
            return;
        };
        if let Err(error) = self.objects.delete(&ObjectPath::new(&file.bucket, key)).await {
            tracing::warn!(file_id = %file.id, %error, "the object of a variant stays behind");
        }
    }
}
