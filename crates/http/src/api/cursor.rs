//! Cursors of lists: opaque to clients, so what they hold can change.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cloakroom_core::id::{AuditId, FileId, IntentId, JobId, OperationId};
use cloakroom_core::ports::metadata::Cursor;
use cloakroom_core::ports::objects::ObjectPath;
use jiff::Timestamp;
use uuid::Uuid;

use crate::extract::query::{Parameters, invalid};
use crate::problem::Problem;

/// A place in a list.
pub trait Position: Sized {
    /// As bytes.
    fn to_bytes(&self) -> Vec<u8>;
    /// From bytes that may come from anybody. Any bytes of the right length are a place, if a strange one.
    fn from_bytes(bytes: &[u8]) -> Option<Self>;
}

impl Position for Cursor {
    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.created_at.as_microsecond().to_be_bytes().to_vec();
        bytes.extend_from_slice(self.id.0.as_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (time, id) = bytes.split_first_chunk::<8>()?;
        let micros = i64::from_be_bytes(*time);
        let end = if micros < 0 {
            Timestamp::MIN
        } else {
            Timestamp::MAX
        };
        let created_at = Timestamp::from_microsecond(micros).unwrap_or(end);
        Some(Self {
            created_at,
            id: FileId(Uuid::from_slice(id).ok()?),
        })
    }
}

macro_rules! id_position {
    ($($id:ty),*) => {$(
        impl Position for $id {
            fn to_bytes(&self) -> Vec<u8> {
                self.0.as_bytes().to_vec()
            }

            fn from_bytes(bytes: &[u8]) -> Option<Self> {
                Uuid::from_slice(bytes).ok().map(Self)
            }
        }
    )*};
}

id_position!(JobId, OperationId, AuditId, IntentId);

/// After a piece of garbage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GarbagePlace {
    /// Where it is.
    pub path: ObjectPath,
    /// The multipart upload, or empty.
    pub upload_id: String,
}

impl Position for GarbagePlace {
    fn to_bytes(&self) -> Vec<u8> {
        // None of them has a NUL in it: no database takes one in a text.
        format!("{}\0{}\0{}", self.path.bucket, self.upload_id, self.path.key).into_bytes()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let text = str::from_utf8(bytes).ok()?;
        let (bucket, rest) = text.split_once('\0')?;
        let (upload_id, key) = rest.split_once('\0')?;
        let fits = !key.contains('\0');
        fits.then(|| Self {
            path: ObjectPath::new(bucket, key),
            upload_id: upload_id.to_owned(),
        })
    }
}

/// After the event that made this version, or after so many lines of a report.
impl Position for u64 {
    fn to_bytes(&self) -> Vec<u8> {
        self.to_be_bytes().to_vec()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        // Databases count with a sign.
        bytes
            .try_into()
            .ok()
            .map(Self::from_be_bytes)
            .map(|version| version.min(i64::MAX.unsigned_abs()))
    }
}

/// The cursor as it stands on the wire.
pub fn encode(position: &impl Position) -> String {
    URL_SAFE_NO_PAD.encode(position.to_bytes())
}

/// A cursor from the wire.
pub fn decode<P: Position>(text: &str) -> Option<P> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    P::from_bytes(&bytes)
}

/// Takes `cursor` out of a query.
pub fn take<P: Position>(query: &mut Parameters) -> Result<Option<P>, Problem> {
    let Some(text) = query.text("cursor") else {
        return Ok(None);
    };
    decode(&text)
        .map(Some)
        .ok_or_else(|| invalid("cursor", "is not a cursor of this list"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_come_back() {
        let cursor = Cursor {
            created_at: Timestamp::from_microsecond(1_763_683_200_123_456).expect("a time"),
            id: FileId(Uuid::from_u128(7)),
        };
        let mut query = Parameters::parse(&format!("cursor={}", encode(&cursor)))
            .map_err(|p| p.code())
            .expect("a query");
        assert_eq!(take(&mut query).map_err(|p| p.code()), Ok(Some(cursor)));
    }

    #[test]
    fn strange_cursors_are_refused() {
        for text in ["", "x", "AAAA", "%ff", "//////////8"] {
            let Ok(mut query) = Parameters::parse(&format!("cursor={text}")) else {
                continue;
            };
            assert!(take::<Cursor>(&mut query).is_err(), "{text}");
        }
    }
}
