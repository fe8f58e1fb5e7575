//! Addresses of other servers, which may carry a password: only what is none of it is ever shown.

use std::path::PathBuf;

use cloakroom_metadata::postgres::PostgresOptions;

use super::{Raw, Value, text_of};

/// An address with credentials in it. Credentials that hold a character which means something in a URL must be
/// percent-encoded, for else nobody can say where they end.
#[derive(Clone, PartialEq, Eq)]
struct Address {
    text: String,
    shown: String,
}

impl Address {
    /// Reads `scheme://[user[:password]@]host[,host..]..`.
    fn read(text: &str, schemes: &[&str], what: &str) -> Result<Self, String> {
        let expected = || format!("must be {what}");
        let (scheme, rest) = text.split_once("://").ok_or_else(expected)?;
        if !schemes.contains(&scheme.to_ascii_lowercase().as_str()) || rest.is_empty() {
            return Err(expected());
        }
        let mut hosts = rest.split(',');
        let first = hosts.next().unwrap_or_default();
        let authority = first.split(['/', '?']).next().unwrap_or_default();
        // Credentials stand once, at the front; an `@` anywhere else is part of a password that nobody can read.
        let ambiguous = text.contains('#')
            || text.chars().any(char::is_whitespace)
            || text.matches('@').count() > 1
            || text.contains('@') && !authority.contains('@');
        if ambiguous {
            return Err(format!(
                "must be {what}; @ : / ? # and , in a user name or password are written percent-encoded"
            ));
        }
        let hosts: Vec<String> = std::iter::once(first).chain(hosts).map(shown_host).collect();
        Ok(Self {
            text: text.to_owned(),
            shown: format!("{scheme}://{}", hosts.join(",")),
        })
    }
}

/// A host with what comes after it, without the password and without parameters, which may hold one.
fn shown_host(host: &str) -> String {
    let host = host.split('?').next().unwrap_or_default();
    match host.split_once('@') {
        Some((credentials, place)) => {
            let user = credentials.split(':').next().unwrap_or_default();
            // A token stands where a user name would.
            if credentials.contains(':') && !user.is_empty() {
                format!("{user}:********@{place}")
            } else {
                format!("********@{place}")
            }
        }
        None => host.to_owned(),
    }
}

/// Which database.
#[derive(Clone, PartialEq, Eq)]
pub enum DatabaseUrl {
    /// A PostgreSQL server.
    Postgres(PostgresUrl),
    /// An SQLite file.
    Sqlite(PathBuf),
}

impl std::fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.show())
    }
}

impl Value for DatabaseUrl {
    const KIND: &'static str = "postgres://USER:PASSWORD@HOST:PORT/DATABASE or sqlite://PATH";
    const SECRET: bool = true;

    fn read(raw: &Raw) -> Result<Self, String> {
        let text = text_of::<Self>(raw)?;
        if let Some(path) = text.strip_prefix("sqlite://") {
            return if path.is_empty() {
                Err(format!("must be {}", Self::KIND))
            } else {
                Ok(Self::Sqlite(PathBuf::from(path)))
            };
        }
        // What SQLAlchemy calls a driver means nothing here.
        let (scheme, rest) = text.split_once("://").unwrap_or_default();
        let engine = scheme.split('+').next().unwrap_or_default();
        let address = Address::read(
            &format!("{engine}://{rest}"),
            &["postgres", "postgresql"],
            Self::KIND,
        )?;
        PostgresOptions::new(address.text.clone())
            .check()
            .map_err(|error| format!("is not usable: {error}"))?;
        Ok(Self::Postgres(PostgresUrl(address)))
    }

    fn show(&self) -> String {
        match self {
            Self::Postgres(url) => url.0.shown.clone(),
            Self::Sqlite(path) => format!("sqlite://{}", path.display()),
        }
    }
}

/// The address of a PostgreSQL server.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresUrl(Address);

impl std::fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.shown)
    }
}

impl PostgresUrl {
    /// All of it, for whoever connects.
    pub fn expose(&self) -> &str {
        &self.0.text
    }

    /// Without the password.
    pub fn shown(&self) -> &str {
        &self.0.shown
    }
}

/// The address of a Redis.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisUrl(Address);

impl RedisUrl {
    /// All of it, for whoever connects.
    pub fn expose(&self) -> &str {
        &self.0.text
    }
}

impl std::fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.shown)
    }
}

impl Value for RedisUrl {
    const KIND: &'static str = "redis://[USER:PASSWORD@]HOST:PORT[/DATABASE] or rediss://..";
    const SECRET: bool = true;

    fn read(raw: &Raw) -> Result<Self, String> {
        Address::read(text_of::<Self>(raw)?, &["redis", "rediss"], Self::KIND).map(Self)
    }

    fn show(&self) -> String {
        self.0.shown.clone()
    }
}

/// The address of a NATS server, or several of one cluster.
#[derive(Clone, PartialEq, Eq)]
pub struct NatsUrl(Address);

impl NatsUrl {
    /// All of it, for whoever connects.
    pub fn expose(&self) -> &str {
        &self.0.text
    }
}

impl std::fmt::Debug for NatsUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.shown)
    }
}

impl Value for NatsUrl {
    const KIND: &'static str = "nats://[USER:PASSWORD@]HOST:PORT or tls://..";
    const SECRET: bool = true;

    fn read(raw: &Raw) -> Result<Self, String> {
        Address::read(text_of::<Self>(raw)?, &["nats", "tls"], Self::KIND).map(Self)
    }

    fn show(&self) -> String {
        self.0.shown.clone()
    }
}

/// Where the virus scanner listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScannerAddress(pub cloakroom_scanner::Address);

impl Value for ScannerAddress {
    const KIND: &'static str = "HOST:PORT or the path of a Unix socket";

    fn read(raw: &Raw) -> Result<Self, String> {
        text_of::<Self>(raw)?
            .parse()
            .map(Self)
            .map_err(|error: cloakroom_scanner::AddressError| error.to_string())
    }

    fn show(&self) -> String {
        self.0.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text<T: Value>(text: &str) -> Result<T, String> {
        T::read(&Raw::Text(text.to_owned()))
    }

    #[test]
    fn databases_are_shown_without_their_password() {
        for (written, shown) in [
            (
                "postgres://ann:hush@db:5432/files",
                "postgres://ann:********@db:5432/files",
            ),
            (
                "postgresql+asyncpg://ann:hu%40sh@db/files?sslmode=require",
                "postgresql://ann:********@db/files",
            ),
            (
                "postgres://db/files?user=ann&password=hush",
                "postgres://db/files",
            ),
            ("sqlite:///var/lib/x.db", "sqlite:///var/lib/x.db"),
        ] {
            let url = text::<DatabaseUrl>(written).expect(written);
            assert_eq!(url.show(), shown);
            assert!(!format!("{url:?}").contains("hush"));
        }
        let Ok(DatabaseUrl::Postgres(url)) = text("postgresql+asyncpg://ann:hush@db/files") else {
            panic!("PostgreSQL");
        };
        assert_eq!(url.expose(), "postgresql://ann:hush@db/files");
    }

    #[test]
    fn what_is_refused_is_not_repeated() {
        for bad in [
            "hush",
            "mysql://u:hush@h/d",
            "postgres://u:hu@sh@h/d",
            "postgres://u:hush/x@h/d",
            "postgres://u:hush?x@h/d",
            "postgres://u:hush#x@h/d",
            "postgres://u:hush,x@h/d",
            "postgres://u:hush@h:port/d",
            "postgres://u:hush@h/d?sslmode=perhaps",
            "sqlite://",
        ] {
            let error = text::<DatabaseUrl>(bad).expect_err(bad);
            assert!(!error.contains("hush") && !error.contains('\n'), "{error}");
        }
        for bad in ["hush", "http://u:hush@h", "redis://", "redis://:hu sh@h"] {
            let error = text::<RedisUrl>(bad).expect_err(bad);
            assert!(!error.contains("hush"), "{error}");
        }
        assert!(text::<NatsUrl>("amqp://h").is_err());
    }

    #[test]
    fn queues_and_counters_are_shown_without_credentials() {
        let redis = text::<RedisUrl>("rediss://:hush@cache:6379/0").expect("good");
        assert_eq!(redis.show(), "rediss://********@cache:6379/0");
        let refused = text::<NatsUrl>("nats://a:4222,u:hush@b:4222").expect_err("credentials at the front");
        assert!(!refused.contains("hush"), "{refused}");
        assert_eq!(
            text::<NatsUrl>("tls://token@a:4222,b:4222").map(|url| url.show()),
            Ok("tls://********@a:4222,b:4222".into())
        );
    }
}
