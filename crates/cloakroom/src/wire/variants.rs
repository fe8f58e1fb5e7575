//! What makes pictures while somebody waits, and what signs their URLs.

use std::sync::Arc;

use cloakroom_core::ports::renderer::Renderer;
use cloakroom_service::variants::{SigningKey, VariantOptions, Variants};
use cloakroom_signing::Secret;

use super::EmbeddedEndpoint;
use crate::config::settings::Settings;

/// As configuration has it; `embedded` brings the keys of `--dev`.
pub(super) fn variants(
    settings: &Settings,
    embedded: Option<&EmbeddedEndpoint>,
    renderer: Option<Arc<dyn Renderer>>,
) -> Variants {
    Variants::new(VariantOptions {
        renderer,
        key: key(settings, embedded),
        at_once: settings.variants_at_once as usize,
        waiting_max: settings.variants_waiting_max as usize,
    })
}

/// Every node that serves the same stores has the same.
fn key(settings: &Settings, embedded: Option<&EmbeddedEndpoint>) -> Option<SigningKey> {
    let own = settings
        .variants_secret
        .as_ref()
        .or(settings.s3_secret_key.as_ref());
    let secret = own
        .or(embedded.map(|endpoint| &endpoint.credentials.secret_access_key))
        .map(Secret::expose);
    secret.map(|secret| SigningKey::derived_from(secret.as_bytes()))
}
