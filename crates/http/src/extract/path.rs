//! Path parameters.

use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{FromRequestParts, RawPathParams};
use cloakroom_core::error::ErrorCode;
use cloakroom_core::id::{FileId, JobId, OperationId, ServiceTokenId};
use cloakroom_core::record::RecordKey;
use http::request::Parts;
use uuid::Uuid;

use crate::problem::Problem;
use crate::state::HttpState;

/// The path's parameters, read.
pub struct Path<T>(pub T);

/// What can be read from a path.
pub trait FromPath: Sized {
    /// Reads it.
    fn from_path(parameters: &Parameters) -> Result<Self, Problem>;
}

/// Percent-decoded parameters by name.
pub struct Parameters(RawPathParams);

impl Parameters {
    /// The parameter of this name in the route's pattern.
    pub(crate) fn get(&self, name: &str) -> Result<&str, Problem> {
        self.0
            .iter()
            .find_map(|(key, value)| (key == name).then_some(value))
            .ok_or_else(|| Problem::internal(format!("the route has no parameter {name}")))
    }

    pub(crate) fn uuid(&self, name: &str) -> Result<Uuid, Problem> {
        let text = self.get(name)?;
        // The hyphenated form alone: one id has one spelling.
        let parsed = if text.len() == 36 {
            Uuid::try_parse(text).ok()
        } else {
            None
        };
        parsed.ok_or_else(|| {
            Problem::new(
                ErrorCode::InvalidParameter,
                format!("The path's `{name}` is not a UUID."),
            )
            .with("parameter", name)
        })
    }
}

impl<T: FromPath> FromRequestParts<HttpState> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &HttpState) -> Result<Self, Problem> {
        let parameters = RawPathParams::from_request_parts(parts, state)
            .await
            .map_err(|rejection| match rejection {
                RawPathParamsRejection::InvalidUtf8InPathParam(_) => {
                    Problem::new(ErrorCode::InvalidParameter, "The path is not UTF-8.")
                }
                other => Problem::internal(format!("path parameters: {other}")),
            })?;
        Ok(Self(T::from_path(&Parameters(parameters))?))
    }
}

impl FromPath for FileId {
    fn from_path(parameters: &Parameters) -> Result<Self, Problem> {
        parameters.uuid("file_id").map(Self)
    }
}

impl FromPath for JobId {
    fn from_path(parameters: &Parameters) -> Result<Self, Problem> {
        parameters.uuid("job_id").map(Self)
    }
}

impl FromPath for OperationId {
    fn from_path(parameters: &Parameters) -> Result<Self, Problem> {
        parameters.uuid("operation_id").map(Self)
    }
}

impl FromPath for ServiceTokenId {
    fn from_path(parameters: &Parameters) -> Result<Self, Problem> {
        parameters.uuid("token_id").map(Self)
    }
}

impl FromPath for RecordKey {
    fn from_path(parameters: &Parameters) -> Result<Self, Problem> {
        Self::new(parameters.get("type")?, parameters.get("id")?).map_err(|refusal| {
            Problem::from(refusal).recoded(ErrorCode::InvalidRequest, ErrorCode::InvalidParameter)
        })
    }
}

/// A file and the name of something that belongs to it.
pub struct NamedPart {
    /// The file.
    pub file_id: FileId,
    /// The name.
    pub name: String,
}

impl FromPath for NamedPart {
    fn from_path(parameters: &Parameters) -> Result<Self, Problem> {
        Ok(Self {
            file_id: FileId::from_path(parameters)?,
            name: parameters.get("name")?.to_owned(),
        })
    }
}

/// A file and its own name.
pub struct NamedFile {
    /// The file.
    pub file_id: FileId,
    /// The name.
    pub filename: String,
}

impl FromPath for NamedFile {
    fn from_path(parameters: &Parameters) -> Result<Self, Problem> {
        Ok(Self {
            file_id: FileId::from_path(parameters)?,
            filename: parameters.get("filename")?.to_owned(),
        })
    }
}

/// A name alone.
pub struct Name(pub String);

impl FromPath for Name {
    fn from_path(parameters: &Parameters) -> Result<Self, Problem> {
        Ok(Self(parameters.get("name")?.to_owned()))
    }
}

/// An owner: 1 to 200 bytes without control characters.
pub struct Owner(pub String);

impl FromPath for Owner {
    fn from_path(parameters: &Parameters) -> Result<Self, Problem> {
        let owner = parameters.get("owner")?;
        if owner.is_empty() || owner.len() > 200 || owner.chars().any(char::is_control) {
            return Err(Problem::new(
                ErrorCode::InvalidParameter,
                "The path's `owner` is not 1 to 200 bytes without control characters.",
            )
            .with("parameter", "owner"));
        }
        Ok(Self(owner.to_owned()))
    }
}
