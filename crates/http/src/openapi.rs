//! The OpenAPI document, made from the handlers. What every operation of a kind can answer is added here by rule, so
//! that no handler has to remember it.

use std::collections::BTreeMap;

use cloakroom_core::error::ErrorCode;
use utoipa::openapi::path::{Operation, Parameter, ParameterStyle};
use utoipa::openapi::schema::{Schema, SchemaType, Type};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{
    ComponentsBuilder, ContactBuilder, ContentBuilder, Header, InfoBuilder, LicenseBuilder, ObjectBuilder,
    OpenApi, OpenApiBuilder, PathItem, Ref, RefOr, Response, ResponseBuilder, ServerBuilder,
};
use utoipa::{IntoParams, IntoResponses, ToSchema};

use crate::problem::ProblemBody;
use crate::state::HttpSettings;

/// The name of the security scheme.
const BEARER: &str = "bearer";

/// Says in a handler's documentation that it may refuse with this status.
pub struct Refused<const STATUS: u16>;

impl<const STATUS: u16> IntoResponses for Refused<STATUS> {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        BTreeMap::from([(STATUS.to_string(), problem(STATUS).into())])
    }
}

/// The path of a record.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "describes a path that is read as a record key")]
pub struct RecordParameters {
    /// The application's type.
    #[param(min_length = 1, max_length = 64, pattern = "^[a-z][a-z0-9_-]*$")]
    r#type: String,
    /// The id within that type.
    #[param(
        min_length = 1,
        max_length = 200,
        pattern = "^[^\\u0000-\\u001f\\u007f-\\u009f/]+$"
    )]
    id: String,
}

/// The document before any route is in it.
pub fn base(settings: &HttpSettings) -> OpenApi {
    let info = InfoBuilder::new()
        .title("Cloakroom")
        .version(&settings.version)
        .description(Some(
            "Leave your files, keep the ticket. Sign an upload, send the bytes straight to the object store, confirm, \
             and download the verified file.\n\nEvery error is a problem detail (RFC 9457) with a stable \
             `error_code`. Every answer carries `x-request-id`.",
        ))
        .contact(Some(ContactBuilder::new().url(Some("https://cloakroom.dev")).build()))
        .license(Some(LicenseBuilder::new().name("MIT OR Apache-2.0").build()))
        .build();
    let scheme = SecurityScheme::Http({
        let mut scheme = Http::new(HttpAuthScheme::Bearer);
        scheme.bearer_format = Some("JWT".to_owned());
        scheme.description = Some("An access token (JWT) or a service token (`clk_...`).".to_owned());
        scheme
    });
    let events = |scheme: HttpAuthScheme, text: &str| {
        let mut scheme = Http::new(scheme);
        scheme.description = Some(text.to_owned());
        SecurityScheme::Http(scheme)
    };
    let mut components = ComponentsBuilder::new()
        .security_scheme(BEARER, scheme)
        .security_scheme(
            "bucket_events_token",
            events(HttpAuthScheme::Bearer, "The token of the bucket events."),
        )
        .security_scheme(
            "bucket_events_password",
            events(
                HttpAuthScheme::Basic,
                "The token of the bucket events as the password of any user.",
            ),
        );
    let mut schemas = vec![(
        ProblemBody::name().into_owned(),
        <ProblemBody as utoipa::PartialSchema>::schema(),
    )];
    <ProblemBody as ToSchema>::schemas(&mut schemas);
    components = components.schemas_from_iter(schemas);
    let tags = [
        ("uploads", "Bring files in."),
        ("files", "See, change, download and delete files."),
        ("records", "What files hang on."),
        ("me", "The caller."),
        ("collections", "Policies."),
        ("admin", "For administrators."),
        ("operations", "Health, metrics, documentation."),
    ];
    let server = settings.public_url.as_deref().unwrap_or("/");
    OpenApiBuilder::new()
        .info(info)
        .servers(Some([ServerBuilder::new().url(server).build()]))
        .components(Some(components.build()))
        .tags(Some(tags.map(|(name, text)| {
            TagBuilder::new().name(name).description(Some(text)).build()
        })))
        .security(Some([SecurityRequirement::new(BEARER, Vec::<String>::new())]))
        .build()
}

/// Adds what follows from an operation's shape.
pub fn complete(document: &mut OpenApi) {
    for item in document.paths.paths.values_mut() {
        for operation in operations(item) {
            complete_operation(operation);
        }
    }
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [
        &mut item.get,
        &mut item.put,
        &mut item.post,
        &mut item.delete,
        &mut item.patch,
    ]
    .into_iter()
    .flatten()
}

fn complete_operation(operation: &mut Operation) {
    // Open to everybody: one of the ways in asks for nothing.
    let open = operation
        .security
        .iter()
        .flatten()
        .any(|requirement| *requirement == SecurityRequirement::default());
    let mut statuses = vec![];
    if !open {
        // Too many invalid tokens came from the same address.
        statuses.extend([401, 429, 503]);
    }
    let operation_id = operation.operation_id.as_deref().unwrap_or_default();
    if matches!(operation_id, "get_readiness" | "get_metrics") {
        statuses.push(503);
    }
    if operation
        .parameters
        .as_ref()
        .is_some_and(|parameters| !parameters.is_empty())
    {
        statuses.push(400);
    }
    // `x-cloakroom-owner` is read with the credentials, wherever it is sent.
    if operation.security.is_none() {
        statuses.extend([400, 403]);
    }
    if operation.request_body.is_some() {
        statuses.extend([400, 413, 415, 422]);
    }
    for status in statuses {
        operation
            .responses
            .responses
            .entry(status.to_string())
            .or_insert_with(|| problem(status).into());
    }
    for parameter in operation.parameters.iter_mut().flatten() {
        if let RefOr::T(parameter) = parameter {
            complete_parameter(parameter);
        }
    }
    for (status, response) in &mut operation.responses.responses {
        if let RefOr::T(response) = response {
            response
                .headers
                .insert("x-request-id".to_owned(), request_id_header().into());
            let own = match status.as_str() {
                "401" => ("WWW-Authenticate", text_header("How to authenticate.", None)),
                "429" | "503" => (
                    "Retry-After",
                    text_header("Seconds to wait before the next attempt.", Some("^[1-9][0-9]*$")),
                ),
                _ => continue,
            };
            response.headers.insert(own.0.to_owned(), own.1.into());
        }
    }
}

/// An absent parameter is not `null`, and a list is one value with commas.
fn complete_parameter(parameter: &mut Parameter) {
    match &mut parameter.schema {
        Some(RefOr::T(Schema::Object(object))) => {
            if let SchemaType::Array(types) = &mut object.schema_type {
                types.retain(|one| *one != Type::Null);
                if let [only] = types.as_slice() {
                    object.schema_type = SchemaType::Type(only.clone());
                }
            }
        }
        Some(RefOr::T(Schema::Array(_))) => {
            parameter.style = Some(ParameterStyle::Form);
            parameter.explode = Some(false);
        }
        _ => {}
    }
}

fn request_id_header() -> Header {
    text_header("Names the request in the log.", Some("^[A-Za-z0-9._-]{1,128}$"))
}

fn text_header(description: &str, pattern: Option<&str>) -> Header {
    let schema = ObjectBuilder::new().schema_type(Type::String).pattern(pattern);
    let mut header = Header::new(schema);
    header.description = Some(description.to_owned());
    header
}

fn problem(status: u16) -> Response {
    let codes: Vec<String> = ErrorCode::ALL
        .iter()
        .filter(|code| code.status() == status)
        .map(|code| format!("`{code}`"))
        .collect();
    let content = ContentBuilder::new()
        .schema(Some(Ref::from_schema_name("Problem")))
        .build();
    ResponseBuilder::new()
        .description(format!("Refused: {}.", codes.join(", ")))
        .content("application/problem+json", content)
        .build()
}
