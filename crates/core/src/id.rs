//! Identifiers. All are UUIDs: version 7 where the row is new (ids sort by time, so lists page by id), version 8
//! where the id is derived from an idempotency key.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};
use uuid::Uuid;

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.as_hyphenated().fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::try_parse(text).map(Self)
            }
        }
    };
}

uuid_id!(
    /// Names a file, and its upload, for ever; never used again.
    FileId
);
uuid_id!(
    /// Names a job in the queue.
    JobId
);
uuid_id!(
    /// Names an event; stable across deliveries.
    EventId
);
uuid_id!(
    /// Names an intent of the write-ahead log.
    IntentId
);
uuid_id!(
    /// Names a service token (not the secret itself).
    ServiceTokenId
);
uuid_id!(
    /// Names an operation that an administrator asked for.
    OperationId
);
uuid_id!(
    /// Names an entry of the audit log.
    AuditId
);

impl FileId {
    /// The id that an upload with an idempotency key gets: the same owner and key always give the same id, so
    /// the primary key itself refuses the second row and no idempotency table is needed (design §5).
    pub fn from_idempotency_key(owner: &str, key: &str) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"cloakroom idempotency v1\0");
        hash.update((owner.len() as u64).to_be_bytes());
        hash.update(owner.as_bytes());
        hash.update(key.as_bytes());
        let digest = hash.finalize();
        let mut bytes = [0_u8; 16];
        bytes.copy_from_slice(&digest[..16]);
        Self(Uuid::new_v8(bytes))
    }
}

/// Names a process that claims work: host, process id and a random part.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WorkerId(pub String);

impl fmt::Display for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idempotency_ids_are_stable_and_separate_owners() {
        let a = FileId::from_idempotency_key("ann", "k1");
        assert_eq!(a, FileId::from_idempotency_key("ann", "k1"));
        assert_ne!(a, FileId::from_idempotency_key("ann", "k2"));
        assert_ne!(
            FileId::from_idempotency_key("an", "nk"),
            FileId::from_idempotency_key("ann", "k")
        );
        assert_eq!(a.0.get_version_num(), 8);
    }
}
