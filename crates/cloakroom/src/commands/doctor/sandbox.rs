//! The processes that look at files.

use cloakroom_objects::s3::probe::Verdict;
use cloakroom_worker::processors::decoders::Decoders;

use super::report::{Line, Report};
use crate::config::Config;
use crate::config::values::SandboxPolicy;
use crate::wire;

/// Looks how far this system confines them, and which decoders it has.
pub(super) async fn look(config: &Config, report: &mut Report) {
    let settings = &config.settings;
    report.subject("processing", "processors".to_owned(), false);
    let examined = match wire::sandbox(settings, None) {
        Ok(sandbox) => sandbox.examine().await.map_err(|failure| failure.to_string()),
        Err(failure) => Err(failure.to_string()),
    };
    let (confined, found) = match &examined {
        Ok(found) => {
            let shown = |holds| if holds { "yes" } else { "no" };
            let text = format!(
                "files {}, network {}, calls {}",
                shown(found.files),
                shown(found.network),
                shown(found.calls)
            );
            (found.is_complete(), text)
        }
        Err(reason) => (false, reason.clone()),
    };
    let verdict = if examined.is_err() || settings.processing_sandbox == SandboxPolicy::Required {
        Verdict::Fail
    } else {
        Verdict::Warn
    };
    report.add(
        Line::ok("sandbox", "sandbox", "a file can harm only the process that looks at it", found).unless(
            confined,
            verdict,
            "a file made to break a decoder could reach what the server can reach; limits of memory and time hold",
            "use a kernel with landlock (5.13 and later), and let containers use landlock and seccomp",
        ),
    );
    if settings.processing_system_decoders {
        let names: Vec<&str> = Decoders::find().names().collect();
        let found = if names.is_empty() {
            "none".to_owned()
        } else {
            names.join(", ")
        };
        report.add(Line::ok(
            "sandbox",
            "decoders",
            "decoders of the system (videos, HEIC, AVIF)",
            found,
        ));
    }
}
