//! What goes wrong inside of an operation, and what the port calls it.

use cloakroom_core::ports::metadata::MetadataError;
use rusqlite::ErrorCode;

/// Either an answer that the rules ask for, or what the database said.
#[derive(Debug)]
pub(crate) enum Failure {
    /// An answer of the port.
    Answer(MetadataError),
    /// An error of the engine.
    Engine(rusqlite::Error),
}

/// Result of a step inside of an operation.
pub(super) type Outcome<T> = Result<T, Failure>;

impl From<MetadataError> for Failure {
    fn from(error: MetadataError) -> Self {
        Self::Answer(error)
    }
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Engine(error)
    }
}

impl From<Failure> for MetadataError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Answer(error) => error,
            Failure::Engine(error) => describe(&error),
        }
    }
}

impl Failure {
    /// Whether a unique key or a check refused the row.
    pub(super) fn is_constraint(&self) -> bool {
        matches!(self, Self::Engine(error) if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation))
    }
}

/// Sorts an error of the engine: what may pass by itself, what is damage, and what is a defect of ours.
pub(super) fn describe(error: &rusqlite::Error) -> MetadataError {
    match error.sqlite_error_code() {
        Some(
            ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked
            | ErrorCode::DiskFull
            | ErrorCode::SystemIoFailure
            | ErrorCode::CannotOpen
            | ErrorCode::ReadOnly
            | ErrorCode::PermissionDenied
            | ErrorCode::OutOfMemory
            | ErrorCode::OperationInterrupted
            | ErrorCode::OperationAborted
            | ErrorCode::FileLockingProtocolFailed,
        ) => MetadataError::Unavailable(error.to_string()),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            MetadataError::Inconsistent(error.to_string())
        }
        _ => match error {
            rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::IntegralValueOutOfRange(..)
            | rusqlite::Error::InvalidColumnType(..)
            | rusqlite::Error::Utf8Error(..) => MetadataError::Inconsistent(error.to_string()),
            _ => MetadataError::Internal(error.to_string()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(code: i32) -> MetadataError {
        describe(&rusqlite::Error::SqliteFailure(
            rusqlite::ffi::Error::new(code),
            None,
        ))
    }

    #[test]
    fn trouble_of_the_disk_is_worth_another_try_and_damage_is_not() {
        for code in [
            rusqlite::ffi::SQLITE_FULL,
            rusqlite::ffi::SQLITE_IOERR,
            rusqlite::ffi::SQLITE_BUSY,
        ] {
            assert!(matches!(described(code), MetadataError::Unavailable(_)), "{code}");
        }
        for code in [rusqlite::ffi::SQLITE_CORRUPT, rusqlite::ffi::SQLITE_NOTADB] {
            assert!(
                matches!(described(code), MetadataError::Inconsistent(_)),
                "{code}"
            );
        }
        assert!(matches!(
            described(rusqlite::ffi::SQLITE_ERROR),
            MetadataError::Internal(_)
        ));
    }
}
