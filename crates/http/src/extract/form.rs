//! `multipart/form-data` with text fields before one file, which is streamed (I10).

use axum::extract::{FromRequest, Request};
use cloakroom_core::error::ErrorCode;
use cloakroom_core::ports::objects::{BodyError, ByteStream};
use futures_util::{StreamExt, stream};
use http::header;
use multer::{Field, Multipart};

use crate::limits::{FORM_FIELD_BYTES_MAX, STREAM_PAUSE_MAX};
use crate::problem::Problem;
use crate::state::HttpState;

/// The part that carries the file.
const FILE_FIELD: &str = "file";
/// Most parts of a form: more than there are fields.
const FIELDS_MAX: usize = 32;

/// A form up to the point where its file begins.
pub struct FileForm {
    fields: Vec<(String, String)>,
    /// The name that the file part carries.
    pub file_name: Option<String>,
    /// The content type that the file part carries.
    pub file_content_type: Option<String>,
    /// The file's bytes; an error at the end when something follows them.
    pub file: ByteStream,
}

impl FileForm {
    /// Takes a text field.
    pub fn take(&mut self, name: &str) -> Option<String> {
        let position = self.fields.iter().position(|(known, _)| known == name)?;
        Some(self.fields.swap_remove(position).1)
    }

    /// Refuses fields that nobody has taken.
    pub fn finish_fields(&self) -> Result<(), Problem> {
        match self.fields.first() {
            None => Ok(()),
            Some((name, _)) => Err(Problem::new(
                ErrorCode::InvalidRequest,
                format!("The form has an unknown field `{name}`."),
            )
            .with("field", name.as_str())),
        }
    }
}

impl FromRequest<HttpState> for FileForm {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &HttpState) -> Result<Self, Problem> {
        let content_type = request
            .headers()
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok());
        let boundary = boundary(content_type)?;
        let mut multipart = Multipart::new(request.into_body().into_data_stream(), boundary);
        let mut fields: Vec<(String, String)> = Vec::new();
        loop {
            let field = within_pause(multipart.next_field()).await?;
            let Some(field) = field.map_err(malformed)? else {
                return Err(
                    Problem::new(ErrorCode::InvalidRequest, "The form has no part named `file`.")
                        .with("field", FILE_FIELD),
                );
            };
            let name = field.name().unwrap_or_default().to_owned();
            if name == FILE_FIELD {
                return Ok(Self {
                    fields,
                    file_name: field.file_name().map(str::to_owned),
                    file_content_type: field.content_type().map(ToString::to_string),
                    file: file_stream(multipart, field),
                });
            }
            if fields.len() >= FIELDS_MAX || fields.iter().any(|(known, _)| *known == name) {
                return Err(Problem::new(
                    ErrorCode::InvalidRequest,
                    format!("The form's field `{name}` is one too many."),
                )
                .with("field", name));
            }
            let text = text(&name, field).await?;
            fields.push((name, text));
        }
    }
}

fn boundary(content_type: Option<&str>) -> Result<String, Problem> {
    let unsupported = || {
        Problem::new(
            ErrorCode::UnsupportedMediaType,
            "Send a form with `Content-Type: multipart/form-data`.",
        )
    };
    let content_type = content_type.ok_or_else(unsupported)?;
    multer::parse_boundary(content_type).map_err(|error| match error {
        multer::Error::NoBoundary => Problem::new(
            ErrorCode::MalformedBody,
            "The Content-Type of the form has no boundary.",
        ),
        _ => unsupported().with("content_type", content_type),
    })
}

async fn text(name: &str, mut field: Field<'static>) -> Result<String, Problem> {
    let mut bytes = Vec::new();
    while let Some(piece) = within_pause(field.chunk()).await?.map_err(malformed)? {
        if bytes.len() + piece.len() > FORM_FIELD_BYTES_MAX {
            return Err(Problem::new(
                ErrorCode::BodyTooLarge,
                format!("The form's field `{name}` has more than {FORM_FIELD_BYTES_MAX} bytes."),
            )
            .with("field", name));
        }
        bytes.extend_from_slice(&piece);
    }
    String::from_utf8(bytes).map_err(|_| {
        Problem::new(
            ErrorCode::MalformedBody,
            format!("The form's field `{name}` is not UTF-8."),
        )
        .with("field", name)
    })
}

/// The file's pieces. When they are through, the form must be at its end: a field that comes later would have been
/// ignored, so it fails the body and nothing is kept.
fn file_stream(multipart: Multipart<'static>, field: Field<'static>) -> ByteStream {
    let pieces = stream::unfold(Some((multipart, field)), |state| async {
        let (mut multipart, mut field) = state?;
        let piece = match tokio::time::timeout(STREAM_PAUSE_MAX, field.chunk()).await {
            Err(_) => Err(body_error("IncompleteBody", "The body paused for too long.")),
            Ok(Err(error)) => Err(body_error(
                "IncompleteBody",
                &format!("The form is damaged: {error}."),
            )),
            Ok(Ok(Some(piece))) => return Some((Ok(piece), Some((multipart, field)))),
            Ok(Ok(None)) => {
                drop(field);
                match tokio::time::timeout(STREAM_PAUSE_MAX, multipart.next_field()).await {
                    Ok(Ok(None)) => return None,
                    Ok(Ok(Some(_))) => Err(body_error(
                        "MalformedForm",
                        "The form goes on after the file; `file` must be its last part.",
                    )),
                    Ok(Err(error)) => Err(body_error(
                        "IncompleteBody",
                        &format!("The form is damaged: {error}."),
                    )),
                    Err(_) => Err(body_error("IncompleteBody", "The body paused for too long.")),
                }
            }
        };
        Some((piece, None))
    });
    pieces.boxed()
}

fn body_error(code: &'static str, message: &str) -> BodyError {
    BodyError {
        code,
        message: message.to_owned(),
    }
}

async fn within_pause<T>(read: impl Future<Output = T>) -> Result<T, Problem> {
    tokio::time::timeout(STREAM_PAUSE_MAX, read)
        .await
        .map_err(|_| Problem::new(ErrorCode::MalformedBody, "The body paused for too long."))
}

fn malformed(error: multer::Error) -> Problem {
    Problem::new(ErrorCode::MalformedBody, format!("The form is damaged: {error}."))
}
