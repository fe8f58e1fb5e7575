//! What a webhook says: the event, as JSON. It holds no address, no token and no key, as events hold none (I7); who wants
//! the file asks for it.

use cloakroom_core::JsonObject;
use cloakroom_core::event::Event;
use serde::Serialize;

/// The version of this schema. Receivers may meet new fields and new types of events at any time; a field that changes its
/// meaning or goes away raises this.
const SCHEMA_VERSION: u32 = 1;

/// `type`, `timestamp` and `data` as Standard Webhooks has them.
#[derive(Serialize)]
struct Message<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    timestamp: String,
    schema_version: u32,
    data: Data<'a>,
}

#[derive(Serialize)]
struct Data<'a> {
    event_id: String,
    file_id: String,
    state: &'static str,
    version: u64,
    actor: &'a str,
    details: &'a JsonObject,
}

/// The body, the same at every delivery of an event.
pub(super) fn body(event: &Event) -> Vec<u8> {
    let message = Message {
        kind: event.kind.as_str(),
        timestamp: event.at.to_string(),
        schema_version: SCHEMA_VERSION,
        data: Data {
            event_id: event.id.to_string(),
            file_id: event.file_id.to_string(),
            state: event.state.as_str(),
            version: event.version,
            actor: &event.actor,
            details: &event.data,
        },
    };
    // Strings, numbers and maps with string keys: serialising them cannot fail.
    serde_json::to_vec(&message).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use cloakroom_core::event::EventKind;
    use cloakroom_core::file::FileState;
    use cloakroom_core::id::{EventId, FileId};
    use serde_json::json;
    use uuid::Uuid;

    use super::*;

    /// A line that changes here breaks a receiver.
    #[test]
    fn the_schema_is_this() {
        let event = Event {
            id: EventId(Uuid::from_u128(1)),
            file_id: FileId(Uuid::from_u128(2)),
            kind: EventKind::Failed,
            state: FileState::Failed,
            version: 5,
            actor: "worker".to_owned(),
            data: json!({"reason": "type_mismatch"})
                .as_object()
                .cloned()
                .expect("an object"),
            at: "2026-11-21T06:00:00.25Z".parse().expect("a time"),
        };
        assert_eq!(
            String::from_utf8(body(&event)).expect("text"),
            "{\"type\":\"file.failed\",\"timestamp\":\"2026-11-21T06:00:00.25Z\",\"schema_version\":1,\"data\":{\
             \"event_id\":\"00000000-0000-0000-0000-000000000001\",\
             \"file_id\":\"00000000-0000-0000-0000-000000000002\",\
             \"state\":\"failed\",\"version\":5,\"actor\":\"worker\",\"details\":{\"reason\":\"type_mismatch\"}}}"
        );
    }
}
