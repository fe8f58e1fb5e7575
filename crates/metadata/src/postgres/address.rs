//! The database's address: `postgres://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=...`, as libpq reads it.
//!
//! | `sslmode` | encrypted | the server's certificate |
//! |---|---|---|
//! | `disable` | no | |
//! | `allow`, `prefer` (when nothing is said) | if the server can | not checked |
//! | `require` | always | not checked, unless there is an `sslrootcert` |
//! | `verify-ca` | always | signed by an authority that is trusted |
//! | `verify-full` | always | and made out for this host |
//!
//! Trusted are the authorities in the PEM file `sslrootcert`, else those of the system (also by `sslrootcert=system`).
//! `ssl=` is another name of `sslmode`, as in SQLAlchemy URLs, and a driver in the scheme (`postgresql+asyncpg`) is
//! passed over.

use std::path::PathBuf;

use percent_encoding::percent_decode_str;
use tokio_postgres::Config;
use tokio_postgres::config::SslMode;

/// How much of the server's certificate is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verification {
    /// Nothing: a passive listener hears nothing, an active one is not noticed.
    None,
    /// Who signed it.
    Authority,
    /// And for which host.
    Host,
}

/// What a URL says.
pub(super) struct Address {
    pub(super) config: Config,
    pub(super) verification: Verification,
    /// A PEM file with authorities; `None` is those of the system.
    pub(super) authorities: Option<PathBuf>,
}

/// The URL is none, or not one for this database. Never says more of it than the name of a parameter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAddress {
    /// It does not begin like one.
    #[error("a database URL begins with postgres:// or postgresql://")]
    Scheme,
    /// It has more than one `@`, so that nobody knows where the password ends.
    #[error(
        "'@', '/', '?' and '#' in the user name and password of a database URL are written as %40, %2F, %3F and %23"
    )]
    Credentials,
    /// A parameter has a value that it cannot have, or is not known.
    #[error("parameter {0:?} of the database URL is not known, or cannot have this value")]
    Parameter(String),
    /// Anything else.
    #[error("the database URL cannot be read: it should be postgres://USER:PASSWORD@HOST:PORT/DATABASE")]
    Malformed,
}

/// Reads a URL.
pub(super) fn parse(url: &str) -> Result<Address, InvalidAddress> {
    let (scheme, rest) = url.split_once("://").ok_or(InvalidAddress::Scheme)?;
    let engine = scheme.split_once('+').map_or(scheme, |(engine, _)| engine);
    if !["postgres", "postgresql"].contains(&engine) {
        return Err(InvalidAddress::Scheme);
    }
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    if place.matches('@').count() > 1 || url.contains('#') {
        return Err(InvalidAddress::Credentials);
    }
    let mut kept = Vec::new();
    let (mut mode, mut authorities) = ("prefer".to_owned(), None);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').ok_or(InvalidAddress::Malformed)?;
        let plain = percent_decode_str(value)
            .decode_utf8()
            .map_err(|_| InvalidAddress::Malformed)?;
        match name {
            "sslmode" | "ssl" => mode = plain.into_owned(),
            "sslrootcert" => authorities = Some(plain.into_owned()),
            // What a parameter is called is no secret; what an unencoded password ends up as may be.
            _ if !name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') => {
                return Err(InvalidAddress::Malformed);
            }
            _ => kept.push(pair),
        }
    }
    let named = authorities.is_some();
    let (ssl_mode, verification) = match mode.as_str() {
        "disable" => (SslMode::Disable, Verification::None),
        "allow" | "prefer" => (SslMode::Prefer, Verification::None),
        "require" if named => (SslMode::Require, Verification::Authority),
        "require" => (SslMode::Require, Verification::None),
        "verify-ca" => (SslMode::Require, Verification::Authority),
        "verify-full" => (SslMode::Require, Verification::Host),
        _ => return Err(InvalidAddress::Parameter("sslmode".to_owned())),
    };
    let plain = format!("postgresql://{place}");
    plain.parse::<Config>().map_err(|_| InvalidAddress::Malformed)?;
    for pair in &kept {
        // One by one, so that the refusal can name it.
        if format!("{plain}?{pair}").parse::<Config>().is_err() {
            let name = pair.split('=').next().unwrap_or_default();
            return Err(InvalidAddress::Parameter(name.to_owned()));
        }
    }
    let mut config: Config = format!("{plain}?{}", kept.join("&"))
        .parse()
        .map_err(|_| InvalidAddress::Malformed)?;
    if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
        return Err(InvalidAddress::Malformed);
    }
    config.ssl_mode(ssl_mode);
    if config.get_application_name().is_none() {
        config.application_name("cloakroom");
    }
    Ok(Address {
        config,
        verification,
        authorities: authorities.filter(|path| path != "system").map(PathBuf::from),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_as_libpq_reads_them() {
        let address = parse(
            "postgresql+asyncpg://ann:p%40ss@db.example:5433/files?sslmode=verify-full&connect_timeout=3",
        )
        .unwrap();
        assert_eq!(address.config.get_user(), Some("ann"));
        assert_eq!(address.config.get_password(), Some(&b"p@ss"[..]));
        assert_eq!(address.config.get_ports(), [5433]);
        assert_eq!(address.config.get_dbname(), Some("files"));
        assert_eq!(address.config.get_application_name(), Some("cloakroom"));
        assert_eq!(
            (address.config.get_ssl_mode(), address.verification),
            (SslMode::Require, Verification::Host)
        );
        for (query, ssl_mode, verification) in [
            ("", SslMode::Prefer, Verification::None),
            ("?sslmode=disable", SslMode::Disable, Verification::None),
            ("?ssl=require", SslMode::Require, Verification::None),
            (
                "?sslmode=require&sslrootcert=/ca.pem",
                SslMode::Require,
                Verification::Authority,
            ),
            ("?sslmode=verify-ca", SslMode::Require, Verification::Authority),
        ] {
            let address = parse(&format!("postgres://db/files{query}")).unwrap();
            assert_eq!(
                (address.config.get_ssl_mode(), address.verification),
                (ssl_mode, verification),
                "{query}"
            );
        }
    }

    #[test]
    fn a_refusal_never_repeats_the_password() {
        for (url, expected) in [
            ("mysql://u:hunter2@h/d", InvalidAddress::Scheme),
            ("hunter2", InvalidAddress::Scheme),
            ("postgres://u:hunt@er2@h/d", InvalidAddress::Credentials),
            ("postgres://u:hunter2#@h/d", InvalidAddress::Credentials),
            ("postgres://u:p?hunter2@h/d", InvalidAddress::Malformed),
            ("postgres://u:p?Hunter2=@h/d", InvalidAddress::Malformed),
            ("postgres://u:hunter2@h:port/d", InvalidAddress::Malformed),
            ("postgres:///d", InvalidAddress::Malformed),
            (
                "postgres://u:hunter2@h/d?sslmode=maybe",
                InvalidAddress::Parameter("sslmode".to_owned()),
            ),
            (
                "postgres://u:hunter2@h/d?sslcert=x",
                InvalidAddress::Parameter("sslcert".to_owned()),
            ),
        ] {
            let Err(error) = parse(url) else { panic!("{url}") };
            assert_eq!(error, expected, "{url}");
            assert!(!error.to_string().to_lowercase().contains("hunter2"), "{error}");
        }
    }
}
