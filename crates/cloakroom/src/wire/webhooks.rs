//! The webhooks that configuration asks for.

use cloakroom_worker::WorkerOptions;
use cloakroom_worker::deliveries::{SigningKeys, Target, WebhookOptions};

use crate::commands::Failure;
use crate::config::settings::Settings;

/// How this process delivers webhooks beside its other work; `None` where there are none.
pub fn webhook_options(
    settings: &Settings,
    worker: &WorkerOptions,
) -> Result<Option<WebhookOptions>, Failure> {
    let (Some(url), Some(secret)) = (&settings.webhooks_url, &settings.webhooks_secret) else {
        return Ok(None);
    };
    // Configuration has checked both.
    let target = Target::new(url.expose(), settings.webhooks_allow_private);
    let target = target.map_err(|error| Failure::new(format!("webhooks.url {error}")))?;
    let keys = SigningKeys::parse(secret.expose());
    let keys = keys.map_err(|error| Failure::new(format!("webhooks.secret {error}")))?;
    Ok(Some(WebhookOptions {
        grace: worker.grace,
        ..WebhookOptions::new(worker.id.clone(), target, keys)
    }))
}
