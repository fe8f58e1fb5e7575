//! Query strings. An unknown parameter, one given twice or one that does not parse is refused: a typo in a filter
//! must not answer with everything.

use std::str::FromStr;

use axum::extract::FromRequestParts;
use cloakroom_core::error::ErrorCode;
use http::request::Parts;
use percent_encoding::percent_decode;

use crate::problem::Problem;
use crate::state::HttpState;

/// The query string, read.
pub struct Query<T>(pub T);

/// What can be read from a query string.
pub trait FromQuery: Sized {
    /// Takes its parameters; what is left is refused.
    fn from_query(parameters: &mut Parameters) -> Result<Self, Problem>;
}

impl<T: FromQuery> FromRequestParts<HttpState> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &HttpState) -> Result<Self, Problem> {
        let mut parameters = Parameters::parse(parts.uri.query().unwrap_or_default())?;
        let value = T::from_query(&mut parameters)?;
        parameters.finish()?;
        Ok(Self(value))
    }
}

/// Parameters that nobody has taken yet.
pub struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// Decodes `application/x-www-form-urlencoded` pairs.
    pub fn parse(query: &str) -> Result<Self, Problem> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (decode(name)?, decode(value)?);
            if pairs.iter().any(|(known, _)| *known == name) {
                return Err(invalid(&name, "is given twice"));
            }
            pairs.push((name, value));
        }
        Ok(Self(pairs))
    }

    /// The parameter's text.
    pub fn text(&mut self, name: &str) -> Option<String> {
        let position = self.0.iter().position(|(known, _)| known == name)?;
        Some(self.0.swap_remove(position).1)
    }

    /// The parameter, parsed; `expected` says what it should have been.
    pub fn parsed<T: FromStr>(&mut self, name: &str, expected: &str) -> Result<Option<T>, Problem> {
        self.text(name)
            .map(|text| {
                text.parse()
                    .map_err(|_| invalid(name, &format!("is not {expected}")))
            })
            .transpose()
    }

    /// A switch: `1` or `true`, `0` or `false`; absent is off.
    pub fn flag(&mut self, name: &str) -> Result<bool, Problem> {
        match self.text(name).as_deref() {
            None | Some("0" | "false") => Ok(false),
            Some("1" | "true") => Ok(true),
            Some(_) => Err(invalid(name, "is not 1 or 0")),
        }
    }

    /// How many items a page has: 1 to 1,000, by default 50.
    pub fn limit(&mut self) -> Result<u32, Problem> {
        let limit = self
            .parsed("limit", "a whole number from 1 to 1000")?
            .unwrap_or(50);
        if (1..=1_000).contains(&limit) {
            Ok(limit)
        } else {
            Err(invalid("limit", "is not 1 to 1000"))
        }
    }

    /// Every parameter whose name begins so, without that beginning.
    pub fn prefixed(&mut self, prefix: &str) -> Vec<(String, String)> {
        let (taken, left) = std::mem::take(&mut self.0)
            .into_iter()
            .partition(|(name, _)| name.starts_with(prefix));
        self.0 = left;
        let taken: Vec<(String, String)> = taken;
        taken
            .into_iter()
            .map(|(name, value)| (name[prefix.len()..].to_owned(), value))
            .collect()
    }

    fn finish(self) -> Result<(), Problem> {
        match self.0.first() {
            None => Ok(()),
            Some((name, _)) => Err(invalid(name, "is not known here")),
        }
    }
}

/// The refusal of one parameter.
pub fn invalid(name: &str, what: &str) -> Problem {
    Problem::new(
        ErrorCode::InvalidParameter,
        format!("The query parameter `{name}` {what}."),
    )
    .with("parameter", name)
}

fn decode(text: &str) -> Result<String, Problem> {
    let spaced = text.replace('+', " ");
    let decoded = percent_decode(spaced.as_bytes()).decode_utf8();
    let decoded =
        decoded.map_err(|_| Problem::new(ErrorCode::InvalidParameter, "The query string is not UTF-8."))?;
    if decoded.contains('\0') {
        return Err(Problem::new(
            ErrorCode::InvalidParameter,
            "The query string has a NUL character in it.",
        ));
    }
    Ok(decoded.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters(query: &str) -> Parameters {
        Parameters::parse(query).map_err(|p| p.code()).expect("a query")
    }

    #[test]
    fn pairs_are_decoded_and_taken() {
        let mut query = parameters("q=%D0%B0+b&limit=7&&metadata.a=1&metadata.b=2&flag");
        assert_eq!(query.text("q").as_deref(), Some("а b"));
        assert_eq!(query.limit().ok(), Some(7));
        assert_eq!(query.prefixed("metadata.").len(), 2);
        assert_eq!(query.text("flag").as_deref(), Some(""));
        assert!(query.finish().is_ok());
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        for query in ["a=1&a=2", "a=%ff", "a=%00"] {
            assert!(Parameters::parse(query).is_err(), "{query}");
        }
        for limit in ["0", "1001", "-1", "x", "", "1.0", "99999999999999999999"] {
            assert!(parameters(&format!("limit={limit}")).limit().is_err(), "{limit}");
        }
        assert!(parameters("inline=yes").flag("inline").is_err());
        assert!(parameters("typo=1").finish().is_err());
    }
}
