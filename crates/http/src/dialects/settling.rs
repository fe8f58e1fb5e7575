//! Waiting until a file is settled, for clients of documents in which a confirmed file is at hand at once.

use std::time::Duration;

use cloakroom_core::file::File;
use cloakroom_core::ports::signals::Topic;
use http::HeaderMap;

use crate::auth::Caller;
use crate::problem::Result;
use crate::state::HttpState;

/// So long at most: clients and proxies wait longer for an answer.
const WAIT_MAX: Duration = Duration::from_secs(10);
/// The file is looked at so often even without a wake-up: another node may not send any.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// The file once nothing more is done to it; after [`WAIT_MAX`], with `Prefer: respond-async` (RFC 7240 §4.1), or where
/// the caller waits for too many already, as it stands.
pub(crate) async fn settled(
    state: &HttpState,
    caller: &Caller,
    file: File,
    headers: &HeaderMap,
) -> Result<File> {
    if file.state.is_settled() || responds_async(headers) {
        return Ok(file);
    }
    let Ok(_slot) = state.streams.take(&caller.principal().subject) else {
        return Ok(file);
    };
    let id = file.id;
    // Subscribed before the first look, so no change falls in between.
    let mut subscription = state.app.signals.subscribe(Topic::File(id));
    let draining = state.draining.clone();
    let time_is_over = tokio::time::sleep(WAIT_MAX);
    tokio::pin!(time_is_over);
    loop {
        let file = state.app.file(caller.principal(), id).await?;
        if file.state.is_settled() {
            return Ok(file);
        }
        tokio::select! {
            () = draining.cancelled() => return Ok(file),
            () = &mut time_is_over => return Ok(file),
            () = subscription.wait(LOOK_INTERVAL) => {}
        }
    }
}

fn responds_async(headers: &HeaderMap) -> bool {
    let values = headers.get_all("prefer").into_iter();
    let preferences = values.filter_map(|value| value.to_str().ok());
    preferences
        .flat_map(|value| value.split(','))
        .any(|one| one.trim().eq_ignore_ascii_case("respond-async"))
}
