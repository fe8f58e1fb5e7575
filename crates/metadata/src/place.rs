//! Places in an archive where a key has parts that may hold any character.

use cloakroom_core::garbage::Garbage;

/// The place after this garbage.
pub(crate) fn place_of_garbage(garbage: &Garbage) -> String {
    let parts = [&garbage.path.bucket, &garbage.path.key, &garbage.upload_id];
    serde_json::Value::from_iter(parts.map(String::as_str)).to_string()
}

/// Bucket, key and upload that a place stands for.
pub(crate) fn garbage_of_place(place: &str) -> Option<[String; 3]> {
    serde_json::from_str(place).ok()
}
