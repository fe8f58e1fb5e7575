//! What an error of the operating system means to a caller of the store.

use cloakroom_core::ports::objects::{BodyError, ObjectError};
use rustix::io::Errno;

/// The port's error for a failed system call; `doing` completes "cannot ...".
pub(super) fn object(error: Errno, doing: &str) -> ObjectError {
    match error {
        Errno::NOSPC | Errno::DQUOT | Errno::FBIG => ObjectError::NoSpace,
        Errno::MFILE
        | Errno::NFILE
        | Errno::NOMEM
        | Errno::AGAIN
        | Errno::ROFS
        | Errno::STALE
        | Errno::TIMEDOUT => ObjectError::Unavailable(format!("cannot {doing}: {error}")),
        _ => ObjectError::Internal(format!("cannot {doing}: {error}")),
    }
}

/// The same for a standard I/O error.
pub(super) fn object_io(error: &std::io::Error, doing: &str) -> ObjectError {
    match Errno::from_io_error(error) {
        Some(errno) => object(errno, doing),
        None => ObjectError::Internal(format!("cannot {doing}: {error}")),
    }
}

/// What the reader of a body sees when the file cannot be read on.
pub(super) fn body(error: Errno) -> BodyError {
    BodyError {
        code: "InternalError",
        message: format!("cannot read the object: {error}"),
    }
}

/// A blocking task that panicked or was cancelled at shutdown.
pub(super) fn task(error: &tokio::task::JoinError) -> ObjectError {
    if error.is_cancelled() {
        ObjectError::Unavailable("shutting down".to_owned())
    } else {
        ObjectError::Internal("a storage task panicked".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_from_a_broken_one() {
        assert!(matches!(object(Errno::NOSPC, "x"), ObjectError::NoSpace));
        assert!(matches!(object(Errno::DQUOT, "x"), ObjectError::NoSpace));
        assert!(matches!(object(Errno::MFILE, "x"), ObjectError::Unavailable(_)));
        assert!(matches!(object(Errno::IO, "x"), ObjectError::Internal(_)));
        let full = std::io::Error::from(Errno::NOSPC);
        assert!(matches!(object_io(&full, "x"), ObjectError::NoSpace));
    }
}
