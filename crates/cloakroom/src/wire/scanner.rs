//! The virus scanner, as configuration wants it.

use std::sync::Arc;

use cloakroom_core::ports::scanner::Scanner;
use cloakroom_scanner::account::Limits;
use cloakroom_scanner::{Clamd, ClamdOptions};

use crate::config::settings::Settings;

/// The scanner, where one is configured.
pub fn scanner(settings: &Settings) -> Option<Arc<dyn Scanner>> {
    let address = settings.scan_address.as_ref()?.0.clone();
    let options = ClamdOptions {
        address,
        limits: Limits {
            stream_bytes_max: settings.scan_stream_max.0,
            file_bytes_max: settings.scan_file_max.0,
            total_bytes_max: settings.scan_total_max.0,
            recursion_max: settings.scan_recursion_max,
            files_max: settings.scan_files_max,
        },
        scan_time_max: settings.scan_time_max.std(),
        connect_timeout: settings.scan_connect_timeout.std(),
        idle_timeout: settings.scan_idle_timeout.std(),
        verdict_timeout: settings.scan_timeout.std(),
    };
    Some(Arc::new(Clamd::new(options)))
}
