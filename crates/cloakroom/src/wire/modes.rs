//! The stores as the use cases know them: what signs for each, how far each is open, and whether all agree on that.

use std::sync::Arc;

use cloakroom_core::ports::signer::Signer;
use cloakroom_core::storage::MAIN_STORE;
use cloakroom_objects::signer::UrlSigner;
use cloakroom_objects::stores::{StoreMember, StoreRouter};
use cloakroom_service::stores::{StoreDefinition, StoreKind};
use cloakroom_service::{App, ServiceError};
use cloakroom_signing::{Addressing, Endpoint};

use super::patience::{NotReady, Patience};
use super::stores::{OpenStore, Stores, owned_buckets};
use super::{EmbeddedEndpoint, policy_of, s3};
use crate::commands::Failure;
use crate::config::Config;
use crate::config::layers::Problem;
use crate::config::settings::Settings;

/// What is said of each store.
pub(super) fn definitions(
    config: &Config,
    stores: &Stores,
    embedded: Option<&EmbeddedEndpoint>,
) -> Result<Vec<StoreDefinition>, Failure> {
    let of = |store: &OpenStore| {
        let own = config.of_store(&store.name).settings;
        let policy = policy_of(&config.settings, store);
        let address = match &store.access {
            Some(_) => own.s3_public_address(),
            None => embedded.map(|endpoint| own.s3_public_address().unwrap_or_else(|| endpoint.url.clone())),
        };
        Ok(StoreDefinition {
            kind: match store.access {
                Some(_) => StoreKind::S3,
                None => StoreKind::Local,
            },
            address,
            mode: own.storage_mode,
            methods: Some(policy.methods),
            capacity_bytes: own.store_capacity.map(|size| size.0),
            ..StoreDefinition::new(&store.name, owned_buckets(config, &store.name))
        })
    };
    stores.opened.iter().map(of).collect()
}

/// What signs for each store, for the addresses that its clients use.
pub(super) fn signer(
    config: &Config,
    stores: &Stores,
    embedded: Option<&EmbeddedEndpoint>,
) -> Result<Arc<dyn Signer>, Failure> {
    let mut members = Vec::new();
    for store in &stores.opened {
        let member = StoreMember {
            objects: Arc::clone(&store.objects),
            signer: signer_of(config, store, embedded)?,
        };
        members.push((store.name.clone(), member, owned_buckets(config, &store.name)));
    }
    if let [
        (
            _,
            StoreMember {
                signer: Some(signer), ..
            },
            _,
        ),
    ] = members.as_slice()
    {
        return Ok(Arc::clone(signer));
    }
    let router = StoreRouter::new(MAIN_STORE, members).map_err(Failure::new)?;
    Ok(Arc::new(router))
}

fn signer_of(
    config: &Config,
    store: &OpenStore,
    embedded: Option<&EmbeddedEndpoint>,
) -> Result<Option<Arc<dyn Signer>>, Failure> {
    let own = config.of_store(&store.name).settings;
    match (&store.access, embedded) {
        (Some(access), _) => Ok(Some(Arc::new(s3::signer(&own, access)?))),
        (None, Some(EmbeddedEndpoint { url, credentials })) => {
            // The endpoint is one, whatever the tables say of regions.
            let url = own.s3_public_address().unwrap_or_else(|| url.clone());
            let endpoint = Endpoint::parse(&url, Addressing::Path).map_err(Failure::new)?;
            let region = config.settings.s3_region.clone();
            let signer = cloakroom_signing::Signer::new(credentials.clone(), region);
            Ok(Some(Arc::new(UrlSigner::new(signer, endpoint))))
        }
        (None, None) => Ok(None),
    }
}

/// Brings the modes in the database, beside the data and in configuration together, or refuses to start.
pub(super) async fn reconcile(app: &App, settings: &Settings) -> Result<(), Failure> {
    let attempt = async || match app.reconcile_stores().await {
        Ok(found) => Ok(found),
        Err(ServiceError::Unavailable(reason)) => Err(NotReady::Yet(reason)),
        Err(error) => Err(NotReady::Ever(Failure::new(error))),
    };
    let found = Patience::new(settings.server_startup_timeout.std())
        .wait_for("the mode of the stores", attempt)
        .await?;
    if found.is_empty() {
        return Ok(());
    }
    let problems = found.into_iter().map(|disagreement| Problem(disagreement.0));
    Err(Failure::configuration(problems.collect()))
}
