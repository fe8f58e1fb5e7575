//! What `--dev` makes so that one can start with nothing: a key pair and access tokens signed with it, credentials of
//! the S3 endpoint, and the message that says how to begin. All of it stays in `keys/` of the data directory, readable
//! for its user alone; none of it is ever printed.

use std::path::{Path, PathBuf};

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cloakroom_core::access::Role;
use cloakroom_http::auth::mock_sign_in::TokenIssuer;
use cloakroom_signing::{Credentials, Secret};
use jiff::{SignedDuration, Timestamp};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::config::settings::Settings;
use crate::data_dir::{create_private, write_private};
use crate::runtime::{secret_text, wall_time};

/// `kid` of the development key.
pub const KEY_ID: &str = "cloakroom-dev";
/// `iss` of development tokens, unless configuration demands another one.
const ISSUER: &str = "cloakroom-dev";
/// `aud` of development tokens, unless configuration demands another one.
const AUDIENCE: &str = "cloakroom";
/// How long the two tokens of a start are good.
const TOKEN_LIFE: SignedDuration = SignedDuration::from_hours(24 * 365);

/// Why development keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DevError {
    /// A file cannot be read or written.
    #[error("cannot use {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// There is no development key yet.
    #[error("there is no development key in {}; `cloakroom serve --dev` makes one", .0.display())]
    NoKey(PathBuf),
    /// What is there is not what we wrote.
    #[error("{} is damaged; remove it, and `cloakroom serve --dev` makes a new one", .0.display())]
    Damaged(PathBuf),
    /// The library refused to make a key.
    #[error("cannot make an RSA key pair")]
    Generation,
}

/// Who a development token is for.
#[derive(Clone, Debug)]
pub struct TokenRequest {
    /// `sub` and `preferred_username`.
    pub user: String,
    /// The role.
    pub role: Role,
    /// How long it is good.
    pub life: SignedDuration,
}

impl TokenRequest {
    /// A token as the server makes at every start: named after its role.
    pub fn lasting(role: Role) -> Self {
        Self {
            user: role.as_str().to_owned(),
            role,
            life: TOKEN_LIFE,
        }
    }
}

/// The directory of development keys.
#[derive(Clone, Debug)]
pub struct DevKeys {
    directory: PathBuf,
    issuer: String,
    audience: String,
}

#[derive(Serialize, Deserialize)]
struct StoredCredentials {
    access_key: String,
    secret_key: String,
}

impl DevKeys {
    /// In this directory; tokens say what configuration demands of them.
    pub fn new(directory: PathBuf, settings: &Settings) -> Self {
        Self {
            directory,
            issuer: settings.auth_issuer.clone().unwrap_or_else(|| ISSUER.to_owned()),
            audience: settings
                .auth_audience
                .clone()
                .unwrap_or_else(|| AUDIENCE.to_owned()),
        }
    }

    /// The public key that tokens are checked with.
    pub fn public_key(&self) -> PathBuf {
        self.directory.join("dev-public.pem")
    }

    /// The private key that tokens are signed with.
    pub fn private_key(&self) -> PathBuf {
        self.directory.join("dev-private.pem")
    }

    /// The S3 credentials.
    pub fn credentials_file(&self) -> PathBuf {
        self.directory.join("dev-s3.json")
    }

    /// The token of this role.
    pub fn token_file(&self, role: Role) -> PathBuf {
        self.directory.join(format!("{}.token", role.as_str()))
    }

    /// Makes what is missing: the key pair once, the two tokens at every start, so that they never run out.
    pub fn prepare(&self) -> Result<(), DevError> {
        create_private(&self.directory).map_err(|source| DevError::Io {
            path: self.directory.clone(),
            source,
        })?;
        if !self.private_key().exists() || !self.public_key().exists() {
            let pair = KeyPair::generate(KeySize::Rsa2048).map_err(|_| DevError::Generation)?;
            let private = AsDer::<Pkcs8V1Der<'_>>::as_der(&pair).map_err(|_| DevError::Generation)?;
            let public = AsDer::<PublicKeyX509Der<'_>>::as_der(pair_public(&pair))
                .map_err(|_| DevError::Generation)?;
            // The private key last: while it is missing, the pair is made again.
            write(&self.public_key(), pem("PUBLIC KEY", public.as_ref()).as_bytes())?;
            write(
                &self.private_key(),
                pem("PRIVATE KEY", private.as_ref()).as_bytes(),
            )?;
        }
        for role in [Role::User, Role::Admin] {
            let token = self.mint(&TokenRequest::lasting(role))?;
            write(&self.token_file(role), token.expose().as_bytes())?;
        }
        Ok(())
    }

    /// The credentials of the S3 endpoint, made on the first start.
    pub fn credentials(&self) -> Result<Credentials, DevError> {
        let path = self.credentials_file();
        if let Some(found) = self.stored_credentials()? {
            return Ok(found);
        }
        create_private(&self.directory).map_err(|source| DevError::Io {
            path: self.directory.clone(),
            source,
        })?;
        let made = StoredCredentials {
            access_key: access_key(),
            secret_key: secret_text::<30>(),
        };
        let text = json!(made).to_string();
        write(&path, text.as_bytes())?;
        Ok(Credentials::new(made.access_key, made.secret_key))
    }

    /// The credentials of an earlier start, if there was one.
    pub fn stored_credentials(&self) -> Result<Option<Credentials>, DevError> {
        let path = self.credentials_file();
        match std::fs::read(&path) {
            Ok(text) => {
                let stored: StoredCredentials =
                    serde_json::from_slice(&text).map_err(|_| DevError::Damaged(path))?;
                Ok(Some(Credentials::new(stored.access_key, stored.secret_key)))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(DevError::Io { path, source }),
        }
    }

    /// Signs an access token.
    pub fn mint(&self, request: &TokenRequest) -> Result<Secret, DevError> {
        let path = self.private_key();
        let pem = std::fs::read(&path).map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => DevError::NoKey(self.directory.clone()),
            _ => DevError::Io {
                path: path.clone(),
                source,
            },
        })?;
        let key = EncodingKey::from_rsa_pem(&pem).map_err(|_| DevError::Damaged(path.clone()))?;
        let header = Header {
            kid: Some(KEY_ID.to_owned()),
            ..Header::new(Algorithm::RS256)
        };
        let claims = self.claims(request, wall_time());
        let token = jsonwebtoken::encode(&header, &claims, &key).map_err(|_| DevError::Damaged(path))?;
        Ok(Secret::new(token))
    }

    fn claims(&self, request: &TokenRequest, now: Timestamp) -> serde_json::Value {
        let issued = now.as_second();
        json!({
            "iss": self.issuer,
            "aud": self.audience,
            "sub": request.user,
            "preferred_username": request.user,
            "role": request.role.as_str(),
            "token_type": "access",
            "iat": issued,
            "nbf": issued,
            "exp": issued.saturating_add(request.life.as_secs()),
        })
    }
}

impl TokenIssuer for DevKeys {
    fn issue(&self, user: &str, life: SignedDuration) -> Option<String> {
        let request = TokenRequest {
            user: user.to_owned(),
            role: Role::User,
            life,
        };
        let token = self.mint(&request).inspect_err(|error| {
            tracing::error!(event = "dev_key_unusable", %error, "nobody can sign in");
        });
        Some(token.ok()?.expose().to_owned())
    }
}

fn pair_public(pair: &KeyPair) -> &aws_lc_rs::rsa::PublicKey {
    aws_lc_rs::signature::KeyPair::public_key(pair)
}

/// An access key that looks like one: 20 characters that no tool needs to quote.
fn access_key() -> String {
    let random: String = secret_text::<30>()
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|c| c.to_ascii_uppercase())
        .take(17)
        .collect();
    format!("CLK{random:0<17}")
}

fn write(path: &Path, contents: &[u8]) -> Result<(), DevError> {
    write_private(path, contents).map_err(|source| DevError::Io {
        path: path.to_owned(),
        source,
    })
}

/// RFC 7468 textual encoding.
fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> = text
        .as_bytes()
        .chunks(64)
        .filter_map(|line| std::str::from_utf8(line).ok())
        .collect();
    format!(
        "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
        lines.join("\n")
    )
}

/// What the start-up message says.
#[derive(Clone, Debug)]
pub struct Banner {
    /// Where the API is reached.
    pub api_url: String,
    /// Where the S3 endpoint is reached.
    pub s3_url: String,
    /// Where rows and bytes are kept.
    pub stores: String,
    /// Where the S3 credentials are; `None` where configuration gives them.
    pub credentials_file: Option<PathBuf>,
    /// Where the token of an ordinary user is.
    pub token_file: PathBuf,
}

impl Banner {
    /// The message. Its commands work as they are; they read the token from its file, so that no secret is shown.
    pub fn text(&self) -> String {
        let Self {
            api_url,
            s3_url,
            stores,
            credentials_file,
            token_file,
        } = self;
        let credentials = credentials_file.as_ref().map_or_else(
            || "as configured".to_owned(),
            |path| format!("in {}", path.display()),
        );
        let token_file = shell_quoted(&token_file.display().to_string());
        format!(
            r#"
  Cloakroom is ready. This is a development server: it made its own keys.

    API            {api_url}/api/v1
    Reference      {api_url}/docs
    S3 endpoint    {s3_url}   (credentials {credentials})
    Data           {stores}

  Try it: sign an upload, send the bytes straight to storage, confirm, wait until it is ready, download.

    API={api_url}/api/v1; AUTH="Authorization: Bearer $(cat {token_file})"; JSON='Content-Type: application/json'
    TICKET=$(curl -sS "$API/uploads" -H "$AUTH" -H "$JSON" -d '{{"filename":"hello.txt","content_type":"text/plain"}}')
    FILE=$(printf %s "$TICKET" | sed 's/.*"file_id":"\([^"]*\)".*/\1/'); URL=$(printf %s "$TICKET" | sed 's/.*"upload_url":"\([^"]*\)".*/\1/')
    echo 'Leave your files, keep the ticket.' | curl -sS -X PUT "$URL" -H 'Content-Type: text/plain' --data-binary @-
    curl -sS -X POST "$API/uploads/$FILE/confirm" -H "$AUTH"; echo
    curl -sSN "$API/files/$FILE/status" -H "$AUTH" -H 'Accept: text/event-stream'
    curl -sS "$(curl -sS "$API/files/$FILE/download" -H "$AUTH" | sed 's/.*"download_url":"\([^"]*\)".*/\1/')"

"#
        )
    }
}

/// In single quotes when the shell would read it as anything but one word.
fn shell_quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '-' | '_');
    if text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use jsonwebtoken::{DecodingKey, Validation};

    use super::*;

    fn keys(directory: &Path) -> DevKeys {
        DevKeys {
            directory: directory.join("keys"),
            issuer: ISSUER.into(),
            audience: AUDIENCE.into(),
        }
    }

    #[test]
    fn tokens_verify_with_the_public_key() {
        let home = tempfile::tempdir().expect("a directory");
        let keys = keys(home.path());
        assert!(matches!(
            keys.mint(&TokenRequest::lasting(Role::User)),
            Err(DevError::NoKey(_))
        ));
        keys.prepare().expect("prepared");
        let request = TokenRequest {
            user: "ann".into(),
            role: Role::Operator,
            life: SignedDuration::from_hours(1),
        };
        let token = keys.mint(&request).expect("a token");
        let pem = std::fs::read(keys.public_key()).expect("a key");
        let key = DecodingKey::from_rsa_pem(&pem).expect("a PEM key");
        let mut validation = Validation::new(Algorithm::RS256);
        validation.set_audience(&["cloakroom"]);
        validation.set_issuer(&["cloakroom-dev"]);
        let decoded =
            jsonwebtoken::decode::<serde_json::Value>(token.expose(), &key, &validation).expect("valid");
        assert_eq!(
            (&decoded.claims["sub"], &decoded.claims["role"]),
            (&json!("ann"), &json!("operator"))
        );
        assert_eq!(
            decoded.claims["exp"].as_i64(),
            decoded.claims["iat"].as_i64().map(|iat| iat + 3600)
        );
        assert_eq!(decoded.header.kid.as_deref(), Some(KEY_ID));
    }

    #[test]
    fn a_second_start_keeps_what_the_first_one_made() {
        let home = tempfile::tempdir().expect("a directory");
        let keys = keys(home.path());
        keys.prepare().expect("prepared");
        let made = (
            std::fs::read(keys.private_key()).expect("a key"),
            keys.credentials().expect("made"),
        );
        keys.prepare().expect("prepared again");
        assert_eq!(
            (
                std::fs::read(keys.private_key()).expect("a key"),
                keys.credentials().expect("kept")
            ),
            made
        );
        for entry in std::fs::read_dir(home.path().join("keys")).expect("a directory") {
            let entry = entry.expect("an entry");
            assert_eq!(
                entry.metadata().expect("there").permissions().mode() & 0o777,
                0o600,
                "{entry:?}"
            );
        }
        std::fs::write(keys.credentials_file(), "{").expect("written");
        assert!(matches!(keys.credentials(), Err(DevError::Damaged(_))));
    }

    #[test]
    fn access_keys_need_no_quoting() {
        let key = access_key();
        assert!(
            key.len() == 20 && key.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit()),
            "{key}"
        );
    }

    #[test]
    fn paths_are_quoted_for_the_shell() {
        assert_eq!(shell_quoted("/a/b-c_d.token"), "/a/b-c_d.token");
        assert_eq!(shell_quoted("/a b/it's"), r"'/a b/it'\''s'");
    }
}
