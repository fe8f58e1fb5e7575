//! States, and the table of what may become what.

use crate::event::EventKind;

/// Where a file stands (design §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FileState {
    /// Signed, quota reserved.
    Pending,
    /// First bytes were seen.
    Uploading,
    /// A complete staging object was seen.
    Uploaded,
    /// Acknowledged: it will reach `Ready`, `Failed` or `Quarantined` (I3).
    Confirmed,
    /// A worker verifies it.
    Processing,
    /// Verified and readable.
    Ready,
    /// Refused, with the reason.
    Failed,
    /// Out of reach of everybody but an administrator.
    Quarantined,
    /// In a cold store.
    Archived,
    /// Deleted, restorable.
    Trashed,
    /// Claimed by the reaper; a confirm that comes now is too late.
    Reaping,
    /// Over: nobody confirmed in time, or the client aborted.
    Expired,
    /// Claimed by the purge; bytes are being removed.
    Purging,
}

impl FileState {
    /// Every state.
    pub const ALL: &'static [Self] = &[
        Self::Pending,
        Self::Uploading,
        Self::Uploaded,
        Self::Confirmed,
        Self::Processing,
        Self::Ready,
        Self::Failed,
        Self::Quarantined,
        Self::Archived,
        Self::Trashed,
        Self::Reaping,
        Self::Expired,
        Self::Purging,
    ];

    /// The stable name, on the wire and in the tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Uploading => "uploading",
            Self::Uploaded => "uploaded",
            Self::Confirmed => "confirmed",
            Self::Processing => "processing",
            Self::Ready => "ready",
            Self::Failed => "failed",
            Self::Quarantined => "quarantined",
            Self::Archived => "archived",
            Self::Trashed => "trashed",
            Self::Reaping => "reaping",
            Self::Expired => "expired",
            Self::Purging => "purging",
        }
    }

    /// Reads a stable name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|state| state.as_str() == text)
    }

    /// The table of legal transitions: what may happen to a file in this state, and where it leads. What is not
    /// here is refused.
    pub const fn may_become(self, event: EventKind, next: Self) -> bool {
        use FileState::{
            Archived, Confirmed, Expired, Failed, Pending, Processing, Purging, Quarantined, Ready, Reaping,
            Trashed, Uploaded, Uploading,
        };
        match (event, next) {
            (EventKind::Uploading, Uploading) => matches!(self, Pending),
            (EventKind::Uploaded, Uploaded) => matches!(self, Pending | Uploading),
            (EventKind::Confirmed, Confirmed) | (EventKind::Expired, Reaping) => self.is_open(),
            // A claim that takes over from a dead worker enters `Processing` again, under a new epoch.
            (EventKind::Processing, Processing) => matches!(self, Confirmed | Processing),
            (EventKind::Ready, Ready) | (EventKind::Delayed, Processing) => matches!(self, Processing),
            (EventKind::Failed, Failed) => matches!(self, Confirmed | Processing),
            // Another verdict of the scanner replaces the first one.
            (EventKind::Quarantined, Quarantined) => matches!(self, Processing | Ready | Quarantined),
            (EventKind::Cleared, Ready) => matches!(self, Quarantined),
            // A dead-lettered job that an administrator tries again.
            (EventKind::Reopened, Confirmed) => matches!(self, Failed),
            (EventKind::Reaped, Expired) => matches!(self, Reaping),
            (EventKind::Trashed, Trashed) => {
                matches!(
                    self,
                    Confirmed | Processing | Ready | Failed | Quarantined | Archived
                )
            }
            (EventKind::Archived, Archived) => matches!(self, Ready),
            (EventKind::Unarchived, Ready) => matches!(self, Archived),
            // A hold changes no state. What was never acknowledged, or is over already, cannot be held.
            (EventKind::Held | EventKind::Released, _) => {
                self as u8 == next as u8
                    && matches!(
                        self,
                        Confirmed | Processing | Ready | Failed | Quarantined | Archived | Trashed
                    )
            }
            (EventKind::Restored, Confirmed | Ready | Failed | Quarantined | Archived)
            | (EventKind::Purging, Purging) => matches!(self, Trashed),
            _ => false,
        }
    }

    /// Whether the client may still bring bytes.
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Pending | Self::Uploading | Self::Uploaded)
    }

    /// Whether nothing more happens by itself; a status stream ends here.
    pub const fn is_settled(self) -> bool {
        !matches!(
            self,
            Self::Pending
                | Self::Uploading
                | Self::Uploaded
                | Self::Confirmed
                | Self::Processing
                | Self::Reaping
        )
    }
}
