//! JSON bodies.

use std::fmt;

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use bytes::Bytes;
use cloakroom_core::error::ErrorCode;
use http::header;
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, Error, MapAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::error::Category;

use crate::limits::{JSON_BODY_BYTES_MAX, JSON_BODY_TIMEOUT};
use crate::problem::Problem;
use crate::state::HttpState;

/// A JSON object as the body.
pub struct Json<T>(pub T);

/// A JSON object as the body, or `null`, or no body at all.
pub struct OptionalJson<T>(pub T);

impl<T: DeserializeOwned> FromRequest<HttpState> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &HttpState) -> Result<Self, Problem> {
        let is_json = is_json(&request);
        let bytes = read(request).await?;
        is_json?;
        Ok(Self(parse(&bytes)?))
    }
}

impl<T: DeserializeOwned + Default> FromRequest<HttpState> for OptionalJson<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &HttpState) -> Result<Self, Problem> {
        let is_json = is_json(&request);
        let bytes = read(request).await?;
        if bytes.is_empty() {
            return Ok(Self(T::default()));
        }
        is_json?;
        if bytes.trim_ascii() == b"null" {
            return Ok(Self(T::default()));
        }
        Ok(Self(parse(&bytes)?))
    }
}

fn is_json(request: &Request) -> Result<(), Problem> {
    let content_type = request
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let essence = content_type
        .unwrap_or_default()
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    let json_suffix = essence.starts_with("application/") && essence.ends_with("+json");
    if essence == "application/json" || json_suffix {
        return Ok(());
    }
    Err(Problem::new(
        ErrorCode::UnsupportedMediaType,
        "Send JSON with `Content-Type: application/json`.",
    )
    .with("content_type", content_type))
}

/// Reads a body of at most [`JSON_BODY_BYTES_MAX`].
pub(crate) async fn read(request: Request) -> Result<Bytes, Problem> {
    let too_large = || {
        Problem::new(
            ErrorCode::BodyTooLarge,
            format!("A JSON body has at most {JSON_BODY_BYTES_MAX} bytes."),
        )
        .with("body_bytes_max", JSON_BODY_BYTES_MAX)
    };
    let announced = request
        .headers()
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse().ok());
    if announced.is_some_and(|bytes: u64| bytes > JSON_BODY_BYTES_MAX as u64) {
        return Err(too_large());
    }
    let body: Body = request.into_body();
    match tokio::time::timeout(JSON_BODY_TIMEOUT, axum::body::to_bytes(body, JSON_BODY_BYTES_MAX)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) if is_length_limit(&error) => Err(too_large()),
        Ok(Err(_)) => Err(Problem::new(
            ErrorCode::MalformedBody,
            "The body ended before it was complete.",
        )),
        Err(_) => Err(Problem::new(
            ErrorCode::MalformedBody,
            format!(
                "The body did not arrive within {} seconds.",
                JSON_BODY_TIMEOUT.as_secs()
            ),
        )),
    }
}

fn is_length_limit(error: &axum::Error) -> bool {
    std::error::Error::source(error)
        .is_some_and(<dyn std::error::Error>::is::<http_body_util::LengthLimitError>)
}

/// Parses a JSON object. Not JSON is 400, JSON that does not fit is 422 and names the field.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let malformed = |message: String| Problem::new(ErrorCode::MalformedBody, message);
    let text = std::str::from_utf8(bytes).map_err(|error| {
        malformed(format!(
            "The body is not UTF-8: byte {} does not fit.",
            error.valid_up_to()
        ))
    })?;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let parsed: Result<Object<T>, _> = serde_path_to_error::deserialize(&mut deserializer);
    let object = parsed.map_err(|error| {
        let path = error.path().to_string();
        let error = error.into_inner();
        let reason = error.to_string();
        match error.classify() {
            // Well-formed JSON, but no number that anybody here can hold.
            Category::Syntax if reason.starts_with("number out of range") => not_fitting(&path, &reason),
            Category::Data => not_fitting(&path, &reason),
            _ => malformed(format!("The body is not JSON: {reason}.")),
        }
    })?;
    deserializer
        .end()
        .map_err(|_| malformed("The body goes on after the JSON object.".to_owned()))?;
    Ok(object.0)
}

fn not_fitting(path: &str, reason: &str) -> Problem {
    let place = if path == "." {
        String::new()
    } else {
        format!("Field `{path}`: ")
    };
    let problem = Problem::new(ErrorCode::InvalidRequest, format!("{place}{reason}."));
    match path {
        "." => problem,
        field => problem.with("field", field),
    }
}

/// A JSON object and nothing else. Derived `Deserialize` also reads a struct from an array of its fields, which no
/// schema says.
pub struct Object<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectVisitor<T>(std::marker::PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }

        deserializer.deserialize_map(ObjectVisitor(std::marker::PhantomData))
    }
}

/// `#[serde(deserialize_with)]` for a nested object that may be `null` or absent.
pub fn optional_object<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    Ok(Option::<Object<T>>::deserialize(deserializer)?.map(|object| object.0))
}

/// `#[serde(deserialize_with)]` for an array of objects.
pub fn objects<'de, T, D>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    Ok(Vec::<Object<T>>::deserialize(deserializer)?
        .into_iter()
        .map(|object| object.0)
        .collect())
}

/// `#[serde(deserialize_with)]` for a field whose absence and whose `null` mean different things.
pub fn nullable<'de, T, D>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    Option::<T>::deserialize(deserializer).map(Some)
}

/// [`nullable`] for a nested object.
pub fn nullable_object<'de, T, D>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    optional_object(deserializer).map(Some)
}

/// A whole number. `5.0` is one too: JSON has one kind of number, and JSON Schema calls that an integer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Whole(pub u64);

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct WholeVisitor;

        impl Visitor<'_> for WholeVisitor {
            type Value = Whole;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number, zero or more")
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Whole, E> {
                Ok(Whole(number))
            }

            fn visit_f64<E: Error>(self, number: f64) -> Result<Whole, E> {
                /// Up to here every whole number has a form of its own.
                const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;
                if number.fract() != 0.0 || !(0.0..=WHOLE_MAX).contains(&number) {
                    return Err(E::invalid_value(Unexpected::Float(number), &self));
                }
                #[expect(clippy::cast_sign_loss, reason = "whole and within 0 to 2^53")]
                Ok(Whole(number as u64))
            }
        }

        deserializer.deserialize_u64(WholeVisitor)
    }
}

impl Whole {
    /// As a smaller number; the largest one where it does not fit, which is beyond every limit.
    pub fn to_u32(self) -> u32 {
        u32::try_from(self.0).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    #[expect(clippy::option_option, reason = "absent and `null` mean different things")]
    struct Body {
        name: String,
        #[serde(default)]
        size: Option<u64>,
        #[serde(default, deserialize_with = "optional_object")]
        inner: Option<Inner>,
        #[serde(default, deserialize_with = "nullable")]
        note: Option<Option<String>>,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        id: String,
    }

    fn refused(body: &[u8]) -> (u16, String) {
        let problem = parse::<Body>(body).expect_err("refused");
        let body = problem.body(&crate::request_id::RequestId::new("r"));
        let body = serde_json::to_value(body).expect("JSON");
        (
            problem.status().as_u16(),
            body["message"].as_str().expect("a message").to_owned(),
        )
    }

    #[test]
    fn absent_and_null_differ_where_they_should() {
        let absent: Body = parse(br#"{"name":"a"}"#).expect("a body");
        assert_eq!(absent.note, None);
        let null: Body = parse(br#"{"name":"a","note":null,"inner":null}"#).expect("a body");
        assert_eq!((null.note, null.inner), (Some(None), None));
    }

    #[test]
    fn whole_numbers() {
        #[derive(Debug, Deserialize)]
        struct Number {
            n: Whole,
        }
        let read = |text: &str| {
            parse::<Number>(format!("{{\"n\":{text}}}").as_bytes())
                .map(|number| number.n.0)
                .ok()
        };
        assert_eq!(read("5"), Some(5));
        assert_eq!(read("5.0"), Some(5));
        assert_eq!(read("5e2"), Some(500));
        assert_eq!(read("18446744073709551615"), Some(u64::MAX));
        for bad in [
            "-1",
            "-1.0",
            "5.5",
            "1e300",
            "1e999",
            "\"5\"",
            "null",
            "18446744073709551616",
            "true",
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn refusals_name_the_place() {
        let table: [(&[u8], u16, &str); 12] = [
            (b"", 400, "EOF"),
            (b"{", 400, "EOF"),
            (b"\xff\xfe", 400, "UTF-8"),
            (br#"{"name":"a"} x"#, 400, "goes on"),
            (br#"["a"]"#, 422, "a JSON object"),
            (b"null", 422, "a JSON object"),
            (br#"{"name":"a","nmae":1}"#, 422, "nmae"),
            (br#"{"name":"a","name":"b"}"#, 422, "duplicate field"),
            (br#"{"name":"a","size":-1}"#, 422, "Field `size`"),
            (br#"{"name":"a","size":1e999}"#, 422, "out of range"),
            (br#"{"name":"a","inner":["x"]}"#, 422, "Field `inner`"),
            (br#"{"name":"a","inner":{"id":1}}"#, 422, "Field `inner.id`"),
        ];
        for (body, status, words) in table {
            let (found, message) = refused(body);
            assert!(
                found == status && message.contains(words),
                "{body:?}: {found} {message}"
            );
        }
    }

    #[test]
    fn deep_nesting_is_refused_and_not_recursed_into() {
        let body = format!("{{\"name\":{}", "[".repeat(100_000));
        assert_eq!(refused(body.as_bytes()).0, 422);
        let body = format!("{{\"name\":\"a\",\"x\":{}", "[".repeat(100_000));
        assert!((400..500).contains(&refused(body.as_bytes()).0));
    }
}
