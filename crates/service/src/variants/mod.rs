//! Variants: pictures of an image that are made when somebody asks for them, through a signed URL, and kept.
//!
//! A variant is a cache. Its row stands among the derivatives of its file, its object beside the file; no sidecar names it,
//! no event tells of it, and it changes nothing of its file. A rebuild forgets variants, a move leaves them behind, and what
//! has lost its row that way is garbage like any derivative that no row names. They are made again.
//!
//! The order is object, then row: a crash in between leaves an object that nobody names. The key of an object is used
//! once, so that garbage which is about to go is never the object of a row that was made meanwhile.

mod making;
mod signature;
mod slots;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use cloakroom_core::access::{Action, Principal};
use cloakroom_core::collection::Collection;
use cloakroom_core::derivative::{Derivative, DerivativeOutcome};
use cloakroom_core::error::{ErrorCode, Refusal};
use cloakroom_core::file::File;
use cloakroom_core::id::FileId;
use cloakroom_core::image::{Fit, ImageFormat, Rendition};
use cloakroom_core::ports::renderer::Renderer;
use cloakroom_core::ports::signer::SignedRequest;
use cloakroom_core::storage::StorageAction;
use futures_util::future::{BoxFuture, Shared, WeakShared};
use jiff::{SignedDuration, Timestamp};

pub use self::signature::SigningKey;
use self::slots::Slots;
use crate::app::App;
use crate::downloads::{present_derivative, readable};
use crate::error::{Result, ServiceError};

/// Pictures that are made at once, where nobody says otherwise.
const AT_ONCE: usize = 2;
/// Requests that wait for their turn, where nobody says otherwise.
const WAITING_MAX: usize = 32;
/// How long it is believed that a picture cannot be made.
const FAILED_FOR: SignedDuration = SignedDuration::from_hours(1);
/// The longest time by which downloads are rounded, so that their URLs stay the same for a while: a quarter of what they
/// are good for, at most this.
const WINDOW_SECONDS_MAX: i64 = 900;

/// A picture that is being made; whoever wants the same waits for the same.
type Flight = Shared<BoxFuture<'static, Result<Derivative>>>;

/// What making variants takes.
pub struct VariantOptions {
    /// Makes them; without it none are offered.
    pub renderer: Option<Arc<dyn Renderer>>,
    /// Signs their URLs; without it none are offered.
    pub key: Option<SigningKey>,
    /// Pictures that are made at once.
    pub at_once: usize,
    /// Requests that may wait for their turn.
    pub waiting_max: usize,
}

impl Default for VariantOptions {
    fn default() -> Self {
        Self {
            renderer: None,
            key: None,
            at_once: AT_ONCE,
            waiting_max: WAITING_MAX,
        }
    }
}

/// What this process has to make variants with. Cloning shares it.
#[derive(Clone)]
pub struct Variants(Arc<Inner>);

struct Inner {
    renderer: Option<Arc<dyn Renderer>>,
    key: Option<SigningKey>,
    slots: Slots,
    /// By file, its key and the name of the variant.
    flights: Mutex<HashMap<(FileId, String, String), WeakFlight>>,
}

type WeakFlight = WeakShared<BoxFuture<'static, Result<Derivative>>>;

impl Variants {
    /// With these options.
    pub fn new(options: VariantOptions) -> Self {
        Self(Arc::new(Inner {
            slots: Slots::new(options.at_once, options.waiting_max),
            renderer: options.renderer,
            key: options.key,
            flights: Mutex::default(),
        }))
    }

    /// What addresses of ours are signed with, if anything.
    pub(crate) fn key(&self) -> Option<&SigningKey> {
        self.0.key.as_ref()
    }
}

impl Default for Variants {
    /// None are offered.
    fn default() -> Self {
        Self::new(VariantOptions::default())
    }
}

/// What is asked for; what is not said is as the collection has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VariantRequest {
    /// Width of the box, in pixels.
    pub width: Option<u32>,
    /// Height of the box, in pixels.
    pub height: Option<u32>,
    /// How the picture gets into the box.
    pub fit: Option<Fit>,
    /// What it is written as.
    pub format: Option<ImageFormat>,
    /// How good it is, 1 to 100.
    pub quality: Option<u8>,
    /// How long the URL is to be good for, in seconds; at most as long as a download of the collection.
    pub expires_in_seconds: Option<u32>,
}

/// What a URL of a variant says.
#[derive(Clone, PartialEq, Eq)]
pub struct SignedVariant {
    /// The file.
    pub file_id: FileId,
    /// What is to be made of it.
    pub rendition: Rendition,
    /// Until when the URL may be used.
    pub expires_at: Timestamp,
    /// What makes it one of ours. Whoever has it may use it (I7).
    pub signature: String,
}

impl std::fmt::Debug for SignedVariant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SignedVariant")
            .field("file_id", &self.file_id)
            .field("rendition", &self.rendition)
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

impl SignedVariant {
    /// The name of the derivative that it leads to.
    pub fn name(&self) -> String {
        signature::name_of(&self.rendition)
    }
}

/// What variants of a file are made with.
struct Offer<'a> {
    collection: &'a Arc<Collection>,
    key: &'a SigningKey,
    renderer: &'a Arc<dyn Renderer>,
}

impl App {
    /// Signs a URL for a variant of a ready image. Nothing is made yet.
    ///
    /// # Errors
    /// As of a download; `variants_not_offered`, and `invalid_request` for what is beyond the limits.
    pub async fn sign_variant(
        &self,
        principal: &Principal,
        id: FileId,
        request: VariantRequest,
    ) -> Result<SignedVariant> {
        let file = self.file_for(principal, Action::Read, id).await?;
        readable(&file)?;
        self.admit(StorageAction::ReadBytes, &file.bucket)
            .map_err(|refusal| refusal.with("file_id", id.to_string()))?;
        let Offer { collection, key, .. } = self.offered(&file)?;
        let rendition = Rendition {
            width: request.width,
            height: request.height,
            fit: request.fit.unwrap_or_default(),
            format: request.format.unwrap_or(collection.images.format),
            quality: request.quality.unwrap_or(collection.images.quality),
        };
        rendition.admit()?;
        let seconds_max = collection.download_expires_seconds;
        let seconds = request.expires_in_seconds.unwrap_or(seconds_max);
        if !(1..=seconds_max).contains(&seconds) {
            return Err(Refusal::new(
                ErrorCode::InvalidRequest,
                format!("expires_in_seconds is 1 to {seconds_max}."),
            )
            .with("field", "expires_in_seconds")
            .into());
        }
        let expires_at = window_begin(self.now(), seconds)
            .checked_add(SignedDuration::from_secs(i64::from(seconds)))
            .map_err(|error| ServiceError::Internal(error.to_string()))?;
        Ok(SignedVariant {
            file_id: id,
            rendition,
            expires_at,
            signature: key.sign(id, &rendition, expires_at),
        })
    }

    /// A URL for the bytes of a variant, which is made if it is not there. Whoever has the signature may have it.
    ///
    /// # Errors
    /// `invalid_signature` before anything else is looked at; `url_expired`; as of a download of the file; `variant_failed`,
    /// `too_many_variants`, `overloaded`.
    pub async fn variant(self: &Arc<Self>, asked: &SignedVariant) -> Result<SignedRequest> {
        let key = self.variants.0.key.as_ref();
        let genuine = key.is_some_and(|key| {
            key.verify(
                asked.file_id,
                &asked.rendition,
                asked.expires_at,
                &asked.signature,
            )
        });
        if !genuine {
            return Err(Refusal::new(
                ErrorCode::InvalidSignature,
                "The URL is not one that was signed here; use it exactly as it was given.",
            )
            .into());
        }
        let now = self.now();
        if now >= asked.expires_at {
            return Err(Refusal::new(
                ErrorCode::UrlExpired,
                "The time of the URL is over; have a new one signed.",
            )
            .with("expires_at", asked.expires_at.to_string())
            .into());
        }
        let file = self.metadata.file(asked.file_id).await?;
        let file = file.ok_or_else(|| Refusal::file_not_found(&asked.file_id))?;
        readable(&file)?;
        self.offered(&file)?;
        self.admit(StorageAction::ReadBytes, &file.bucket)
            .map_err(|refusal| refusal.with("file_id", file.id.to_string()))?;
        let variant = self.find_or_make(&file, asked).await?;
        let DerivativeOutcome::Made {
            key, content_type, ..
        } = &variant.outcome
        else {
            return Err(failed(&variant).into());
        };
        let presentation = present_derivative(key, content_type);
        // Signed as of when the URL itself was, so that for as long as it is good it leads to one address, which browsers
        // and proxies can cache.
        let seconds = self.download_expires_seconds(&file);
        let from = asked.expires_at - SignedDuration::from_secs(i64::from(seconds));
        if from <= now {
            let signed = self.sign_object(&file, key, &presentation, (seconds, from), "")?;
            if signed.expires_at == asked.expires_at {
                return Ok(signed);
            }
        }
        let left = asked.expires_at.duration_since(now).as_secs().max(1);
        let seconds = u32::try_from(left).unwrap_or(u32::MAX).min(seconds);
        self.sign_object(&file, key, &presentation, (seconds, now), "")
    }

    /// What it takes to make variants of this file, or why there are none.
    fn offered(&self, file: &File) -> std::result::Result<Offer<'_>, Refusal> {
        let refused = |message: String| {
            Refusal::new(ErrorCode::VariantsNotOffered, message).with("collection", file.collection.clone())
        };
        let collection = self.collections.get(&file.collection);
        let collection = collection.filter(|collection| collection.images.variants);
        let Inner { renderer, key, .. } = &*self.variants.0;
        let (Some(collection), Some(renderer), Some(key)) = (collection, renderer, key) else {
            let name = &file.collection;
            return Err(refused(format!("Collection {name} offers no variants.")));
        };
        if !renderer.accepts(file.content_type()) {
            let kind = file.content_type();
            return Err(refused(format!("There are no variants of files of type {kind}."))
                .with("content_type", kind.as_str()));
        }
        Ok(Offer {
            collection,
            key,
            renderer,
        })
    }

    async fn find_or_make(self: &Arc<Self>, file: &File, asked: &SignedVariant) -> Result<Derivative> {
        let name = asked.name();
        let standing = self.derivatives_of(file).await?;
        if let Some(variant) = standing.into_iter().find(|one| one.name == name)
            && (matches!(variant.outcome, DerivativeOutcome::Made { .. })
                || variant.created_at >= self.now() - FAILED_FOR)
        {
            return Ok(variant);
        }
        self.flight(file, asked.rendition, name).await
    }

    /// The making that is under way, or a new one.
    fn flight(self: &Arc<Self>, file: &File, rendition: Rendition, name: String) -> Flight {
        let place = (file.id, file.key.clone(), name.clone());
        // A map has no state that a panic could leave half made.
        let mut flights = self
            .variants
            .0
            .flights
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let under_way = flights.get(&place).and_then(WeakShared::upgrade);
        if let Some(flight) = under_way.filter(|flight| flight.peek().is_none()) {
            return flight;
        }
        flights.retain(|_, flight| flight.upgrade().is_some_and(|flight| flight.peek().is_none()));
        let (app, file) = (Arc::clone(self), file.clone());
        // Whoever waits drives it; when nobody does any more, it ends.
        let making: BoxFuture<'static, _> =
            Box::pin(async move { app.make_variant(&file, &rendition, name).await });
        let flight = futures_util::FutureExt::shared(making);
        if let Some(weak) = flight.downgrade() {
            flights.insert(place, weak);
        }
        flight
    }
}

/// The beginning of the window that a URL of so many seconds is signed in.
pub(crate) fn window_begin(now: Timestamp, seconds: u32) -> Timestamp {
    let window = (i64::from(seconds) / 4).clamp(1, WINDOW_SECONDS_MAX);
    let second = now.as_second();
    Timestamp::from_second(second - second.rem_euclid(window)).unwrap_or(now)
}

fn failed(variant: &Derivative) -> Refusal {
    let reason = match &variant.outcome {
        DerivativeOutcome::Failed { error } => error.as_str(),
        DerivativeOutcome::Made { .. } => "",
    };
    Refusal::new(
        ErrorCode::VariantFailed,
        format!("The picture could not be made: {reason}"),
    )
    .with("file_id", variant.file_id.to_string())
    .with("name", variant.name.clone())
}
