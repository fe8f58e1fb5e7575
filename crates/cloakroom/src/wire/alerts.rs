//! The alerts that configuration asks for.

use std::sync::Arc;

use cloakroom_core::ports::alerts::{Alerts, NoAlerts};
use cloakroom_worker::alerts::{AlertCourier, alerts as ends};
use cloakroom_worker::deliveries::Target;

use crate::commands::Failure;
use crate::config::settings::Settings;

/// Where alerts are raised, and who tells them; nobody where no address is set.
pub fn alerts(settings: &Settings) -> Result<(Arc<dyn Alerts>, Option<AlertCourier>), Failure> {
    let Some(url) = &settings.alerts_webhook_url else {
        return Ok((Arc::new(NoAlerts), None));
    };
    // Configuration has checked it.
    let target = Target::new(url.expose(), settings.alerts_allow_private);
    let target =
        target.map_err(|error| Failure::new(format!("alerts.webhook_url {}", error.of("alerts"))))?;
    let (sender, courier) = ends(target, settings.alerts_interval.0);
    Ok((sender, Some(courier)))
}
