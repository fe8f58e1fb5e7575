//! The public keys that access tokens are verified with, and where they come from.

use std::fmt;
use std::path::PathBuf;

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, JwkSet, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use sha2::{Digest, Sha256};

/// Where keys come from. Files are read again when they change.
#[derive(Clone)]
pub enum KeySource {
    /// A file with one or several PEM public keys or certificates.
    PemFile {
        /// The file.
        path: PathBuf,
        /// The `kid` of tokens signed with it; without one the key is tried for every token.
        kid: Option<String>,
    },
    /// One or several PEM public keys, given directly.
    Pem {
        /// The text.
        pem: String,
        /// As for a file.
        kid: Option<String>,
    },
    /// A JSON Web Key Set (RFC 7517).
    JwksFile {
        /// The file.
        path: PathBuf,
    },
}

impl fmt::Debug for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PemFile { path, kid } => f
                .debug_struct("PemFile")
                .field("path", path)
                .field("kid", kid)
                .finish(),
            // Somebody may have given the private key by mistake.
            Self::Pem { kid, .. } => f.debug_struct("Pem").field("kid", kid).finish_non_exhaustive(),
            Self::JwksFile { path } => f.debug_struct("JwksFile").field("path", path).finish(),
        }
    }
}

/// Why keys could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// A file that cannot be read.
    #[error("the key file {path} cannot be read: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Text that holds no usable public key.
    #[error("{origin} holds no public key for {allowed}: {reason}")]
    Unusable {
        /// The file, or "the inline key".
        origin: String,
        /// The configured algorithms.
        allowed: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// One key, and the one algorithm that it is used with: never the one that a token asks for.
struct VerificationKey {
    kid: Option<String>,
    algorithm: Algorithm,
    key: DecodingKey,
}

/// All keys in use.
pub(super) struct KeyRing {
    keys: Vec<VerificationKey>,
    /// SHA-256 over the contents of all sources, to see that something changed.
    pub(super) digest: [u8; 32],
    /// Counts reloads; what was verified with an older ring is verified again.
    pub(super) generation: u64,
}

impl KeyRing {
    /// Reads every source. One broken source fails all: half a key set would lock people out silently.
    pub(super) fn load(
        sources: &[KeySource],
        allowed: &[Algorithm],
        generation: u64,
    ) -> Result<Self, KeyError> {
        let mut keys = Vec::new();
        let mut hash = Sha256::new();
        for source in sources {
            let text = read(source)?;
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(&text);
            keys.extend(parse(source, &text, allowed)?);
        }
        Ok(Self {
            keys,
            digest: hash.finalize().into(),
            generation,
        })
    }

    /// SHA-256 over the contents of all sources as they are now.
    pub(super) fn digest_of(sources: &[KeySource]) -> Result<[u8; 32], KeyError> {
        let mut hash = Sha256::new();
        for source in sources {
            let text = read(source)?;
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(&text);
        }
        Ok(hash.finalize().into())
    }

    /// Keys that may have signed a token with this header: those of its `kid` and those without one; every key of
    /// the algorithm when the token names none.
    pub(super) fn candidates<'a>(
        &'a self,
        kid: Option<&'a str>,
        algorithm: Algorithm,
    ) -> impl Iterator<Item = &'a DecodingKey> {
        self.keys
            .iter()
            .filter(move |key| {
                key.algorithm == algorithm
                    && match (kid, key.kid.as_deref()) {
                        (Some(wanted), Some(own)) => wanted == own,
                        _ => true,
                    }
            })
            .map(|key| &key.key)
    }

    /// Whether there are keys at all.
    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

fn read(source: &KeySource) -> Result<Vec<u8>, KeyError> {
    match source {
        KeySource::Pem { pem, .. } => Ok(pem.as_bytes().to_vec()),
        KeySource::PemFile { path, .. } | KeySource::JwksFile { path } => {
            std::fs::read(path).map_err(|source| KeyError::Unreadable {
                path: path.clone(),
                source,
            })
        }
    }
}

fn parse(source: &KeySource, text: &[u8], allowed: &[Algorithm]) -> Result<Vec<VerificationKey>, KeyError> {
    let unusable = |reason: &str| KeyError::Unusable {
        origin: match source {
            KeySource::Pem { .. } => "the inline key".to_owned(),
            KeySource::PemFile { path, .. } | KeySource::JwksFile { path } => path.display().to_string(),
        },
        allowed: allowed
            .iter()
            .map(|algorithm| format!("{algorithm:?}"))
            .collect::<Vec<_>>()
            .join(", "),
        reason: reason.to_owned(),
    };
    let keys = match source {
        KeySource::Pem { kid, .. } | KeySource::PemFile { kid, .. } => {
            pem_keys(text, kid.as_deref(), allowed).map_err(unusable)?
        }
        KeySource::JwksFile { .. } => jwks_keys(text, allowed).map_err(|reason| unusable(&reason))?,
    };
    if keys.is_empty() {
        return Err(unusable("no key of an allowed algorithm in it"));
    }
    Ok(keys)
}

fn pem_keys(
    text: &[u8],
    kid: Option<&str>,
    allowed: &[Algorithm],
) -> Result<Vec<VerificationKey>, &'static str> {
    const BEGIN: &str = "-----BEGIN ";
    let text = std::str::from_utf8(text).map_err(|_| "not text")?;
    if text.contains("PRIVATE KEY-----") {
        return Err("it is a private key; give the public one");
    }
    let starts: Vec<usize> = text.match_indices(BEGIN).map(|(at, _)| at).collect();
    if starts.is_empty() {
        return Err("no PEM block in it");
    }
    let mut keys = Vec::new();
    for (position, &start) in starts.iter().enumerate() {
        let end = starts.get(position + 1).copied().unwrap_or(text.len());
        let (algorithm, key) =
            pem_key(&text.as_bytes()[start..end]).ok_or("a PEM block that is no public key")?;
        if allowed.contains(&algorithm) {
            keys.push(VerificationKey {
                kid: kid.map(str::to_owned),
                algorithm,
                key,
            });
        }
    }
    Ok(keys)
}

fn pem_key(pem: &[u8]) -> Option<(Algorithm, DecodingKey)> {
    let rsa = || {
        DecodingKey::from_rsa_pem(pem)
            .ok()
            .map(|key| (Algorithm::RS256, key))
    };
    let ec = || {
        DecodingKey::from_ec_pem(pem)
            .ok()
            .map(|key| (Algorithm::ES256, key))
    };
    let ed = || {
        DecodingKey::from_ed_pem(pem)
            .ok()
            .map(|key| (Algorithm::EdDSA, key))
    };
    rsa().or_else(ec).or_else(ed)
}

fn jwks_keys(text: &[u8], allowed: &[Algorithm]) -> Result<Vec<VerificationKey>, String> {
    // Position and kind of the mistake, never the text.
    let set: JwkSet = serde_json::from_slice(text).map_err(|error| format!("not a key set: {error}"))?;
    let mut keys = Vec::new();
    for jwk in &set.keys {
        if jwk
            .common
            .public_key_use
            .as_ref()
            .is_some_and(|usage| *usage != PublicKeyUse::Signature)
        {
            continue;
        }
        let by_type = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => Algorithm::RS256,
            AlgorithmParameters::EllipticCurve(curve) if curve.curve == EllipticCurve::P256 => {
                Algorithm::ES256
            }
            AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => {
                Algorithm::EdDSA
            }
            _ => continue,
        };
        let declared = match jwk.common.key_algorithm {
            None => by_type,
            Some(KeyAlgorithm::RS256) => Algorithm::RS256,
            Some(KeyAlgorithm::ES256) => Algorithm::ES256,
            Some(KeyAlgorithm::EdDSA) => Algorithm::EdDSA,
            // RS384 and the like: not for us, and not to be used as something else.
            Some(_) => continue,
        };
        if declared != by_type || !allowed.contains(&by_type) {
            continue;
        }
        let key = DecodingKey::from_jwk(jwk).map_err(|error| format!("a damaged key: {error}"))?;
        keys.push(VerificationKey {
            kid: jwk.common.key_id.clone(),
            algorithm: by_type,
            key,
        });
    }
    Ok(keys)
}
