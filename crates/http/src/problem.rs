//! The one place where errors become answers: RFC 9457 problem details.
//!
//! A handler or an extractor answers with a [`Problem`]; it travels in the response's extensions to the outermost
//! layer ([`crate::observe`]), which knows the request id and renders it. So every error of every layer has the
//! same shape, and its cause is logged exactly once.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use cloakroom_core::JsonObject;
use cloakroom_core::error::{ErrorCode, Refusal};
use cloakroom_service::ServiceError;
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;

use crate::request_id::RequestId;

/// Where the pages about error codes are; `type` of every problem.
const ERROR_PAGES: &str = "https://cloakroom.dev/errors/";
/// Longest message, in characters: it may quote what the client sent.
const MESSAGE_CHARS_MAX: usize = 600;

/// Result of a handler.
pub type Result<T> = std::result::Result<T, Problem>;

/// An error on its way to the client. Boxed, as it is large and rare.
#[derive(Clone, Debug)]
pub struct Problem(Box<Parts>);

#[derive(Clone, Debug)]
struct Parts {
    code: ErrorCode,
    status: StatusCode,
    message: String,
    details: JsonObject,
    headers: HeaderMap,
    cause: Option<String>,
}

impl Problem {
    /// A problem with the code's own status.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self::of(code, message.into(), JsonObject::new())
    }

    /// A defect of ours: the client learns the request id, the log learns the cause.
    pub fn internal(cause: impl Into<String>) -> Self {
        let mut problem = Self::new(
            ErrorCode::Internal,
            "Something went wrong on our side; the request id leads to the log entry.",
        );
        problem.0.cause = Some(cause.into());
        problem
    }

    /// Adds one detail.
    pub fn with(mut self, name: &str, value: impl Into<serde_json::Value>) -> Self {
        self.0.details.insert(name.to_owned(), value.into());
        self
    }

    /// Adds a header to the answer.
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.insert(name, value);
        self
    }

    /// Answers with another code of the same meaning: a refusal about a path parameter is not one about a body.
    pub fn recoded(mut self, from: ErrorCode, to: ErrorCode) -> Self {
        if self.0.code == from {
            self.0.code = to;
            self.0.status = status(to);
        }
        self
    }

    /// Answers with another status than the code's own, for clients whose document names one.
    pub fn with_status_for(mut self, code: ErrorCode, status: StatusCode) -> Self {
        if self.0.code == code {
            self.0.status = status;
        }
        self
    }

    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    /// The stable name.
    pub fn code(&self) -> ErrorCode {
        self.0.code
    }

    /// The body, for the answer as a whole or as one result of a batch. Logs the cause of what is not the
    /// client's doing.
    pub fn body(&self, request_id: &RequestId) -> ProblemBody {
        let parts = &*self.0;
        if let Some(cause) = &parts.cause {
            if parts.code == ErrorCode::Unavailable {
                tracing::warn!(
                    event = "request_unavailable",
                    cause,
                    "a dependency does not answer"
                );
            } else {
                tracing::error!(
                    event = "request_failed",
                    cause,
                    "a request failed through our fault"
                );
            }
        }
        ProblemBody {
            kind: format!("{ERROR_PAGES}{}", parts.code),
            title: parts.status.canonical_reason().unwrap_or("Error").to_owned(),
            status: parts.status.as_u16(),
            detail: parts.message.clone(),
            message: parts.message.clone(),
            error_code: parts.code.as_str().to_owned(),
            details: parts.details.clone(),
            request_id: request_id.as_str().to_owned(),
        }
    }

    /// The whole answer; keeps the headers that the response has already (`Allow`).
    pub fn render(&self, request_id: &RequestId, mut response: Response) -> Response {
        // Strings, numbers and maps with string keys: serialising them cannot fail.
        let body = serde_json::to_vec(&self.body(request_id)).unwrap_or_default();
        *response.status_mut() = self.0.status;
        let headers = response.headers_mut();
        headers.remove(header::CONTENT_LENGTH);
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        *response.body_mut() = Body::from(body);
        response
    }

    fn of(code: ErrorCode, message: String, details: JsonObject) -> Self {
        let mut headers = HeaderMap::new();
        if code.status() == 401 {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if code == ErrorCode::Unavailable {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if let Some(seconds) = details
            .get("retry_after_seconds")
            .and_then(serde_json::Value::as_u64)
        {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        let message = match message.char_indices().nth(MESSAGE_CHARS_MAX) {
            Some((end, _)) => format!("{}…", &message[..end]),
            None => message,
        };
        Self(Box::new(Parts {
            code,
            status: status(code),
            message,
            details,
            headers,
            cause: None,
        }))
    }
}

fn status(code: ErrorCode) -> StatusCode {
    StatusCode::from_u16(code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        Self::of(refusal.code, refusal.message, refusal.details)
    }
}

impl From<ServiceError> for Problem {
    fn from(error: ServiceError) -> Self {
        match error {
            ServiceError::Refused(refusal) => refusal.into(),
            ServiceError::Unavailable(cause) => {
                let mut problem = Self::new(
                    ErrorCode::Unavailable,
                    "The database or the object store does not answer at the moment; try again.",
                );
                problem.0.cause = Some(cause);
                problem
            }
            ServiceError::Internal(cause) => Self::internal(cause),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self.0.status;
        response.headers_mut().extend(self.0.headers.clone());
        response.extensions_mut().insert(self);
        response
    }
}

/// Problem details as they stand on the wire.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemBody {
    /// A page about the error code.
    #[serde(rename = "type")]
    #[schema(format = "uri", example = "https://cloakroom.dev/errors/file_not_found")]
    kind: String,
    /// The reason phrase of the status.
    #[schema(example = "Not Found")]
    title: String,
    /// The HTTP status.
    #[schema(minimum = 400, maximum = 599, example = 404)]
    status: u16,
    /// What was wrong and what to do (RFC 9457); the same as `message`.
    detail: String,
    /// What was wrong and what to do.
    #[schema(example = "There is no such file, or it is not yours.")]
    message: String,
    /// The stable name of the error.
    #[schema(schema_with = error_code_schema)]
    error_code: String,
    /// The same for machines: the offending field, the limit, the value found.
    #[schema(value_type = Object, additional_properties = true)]
    details: JsonObject,
    /// Names the request in the log.
    #[schema(min_length = 1, max_length = 128)]
    request_id: String,
}

fn error_code_schema() -> utoipa::openapi::Object {
    utoipa::openapi::ObjectBuilder::new()
        .schema_type(utoipa::openapi::schema::Type::String)
        .description(Some("The stable name of the error."))
        .enum_values(Some(ErrorCode::ALL.iter().map(|code| code.as_str())))
        .build()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_internal_error_does_not_tell_its_cause() {
        let problem = Problem::from(ServiceError::Internal("table files is gone".to_owned()));
        let body = serde_json::to_value(problem.body(&RequestId::new("r1"))).expect("JSON");
        assert_eq!(
            body,
            json!({
                "type": "https://cloakroom.dev/errors/internal_error",
                "title": "Internal Server Error",
                "status": 500,
                "detail": "Something went wrong on our side; the request id leads to the log entry.",
                "message": "Something went wrong on our side; the request id leads to the log entry.",
                "error_code": "internal_error",
                "details": {},
                "request_id": "r1",
            })
        );
    }

    #[test]
    fn unauthenticated_and_unavailable_bring_their_headers() {
        let response = Problem::new(ErrorCode::InvalidToken, "no").into_response();
        assert_eq!(response.headers()[header::WWW_AUTHENTICATE], "Bearer");
        let response = Problem::from(ServiceError::Unavailable("disk".to_owned())).into_response();
        assert_eq!(
            (response.status(), &response.headers()[header::RETRY_AFTER]),
            (StatusCode::SERVICE_UNAVAILABLE, &HeaderValue::from_static("1"))
        );
    }

    #[test]
    fn a_long_message_is_cut_on_a_character_boundary() {
        let body = Problem::new(ErrorCode::InvalidRequest, "ж".repeat(5_000)).body(&RequestId::new("r"));
        assert_eq!(body.message.chars().count(), MESSAGE_CHARS_MAX + 1);
    }
}
