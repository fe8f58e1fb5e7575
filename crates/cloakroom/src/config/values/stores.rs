//! Which object store, and how it is spoken to.

use cloakroom_core::ports::objects::Capabilities;
use cloakroom_core::storage::StorageMode;

use super::{Raw, Value, expected, text_of};

/// Where bytes live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreKind {
    /// In S3 where an endpoint is set, else local.
    Auto,
    /// In files of the data directory, behind the embedded S3 endpoint.
    Local,
    /// In an S3 service.
    S3,
}

impl Value for StoreKind {
    const KIND: &'static str = "auto, local or s3";

    fn read(raw: &Raw) -> Result<Self, String> {
        match text_of::<Self>(raw)?.to_ascii_lowercase().as_str() {
            "auto" => Ok(Self::Auto),
            "local" => Ok(Self::Local),
            "s3" => Ok(Self::S3),
            _ => Err(expected::<Self>(raw)),
        }
    }

    fn show(&self) -> String {
        match self {
            Self::Auto => "auto",
            Self::Local => "local",
            Self::S3 => "s3",
        }
        .to_owned()
    }
}

impl Value for StorageMode {
    const KIND: &'static str = "edit, rw, ro or ar";

    fn read(raw: &Raw) -> Result<Self, String> {
        // The enum of the S3-seed writes `EDIT`.
        Self::parse(&text_of::<Self>(raw)?.to_ascii_lowercase()).ok_or_else(|| expected::<Self>(raw))
    }

    fn show(&self) -> String {
        self.as_str().to_owned()
    }
}

/// Where the bucket's name goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BucketAddressing {
    /// As AWS wants it at AWS, else in the path.
    Auto,
    /// `https://host/bucket/key`.
    Path,
    /// `https://bucket.host/key`.
    Virtual,
}

impl Value for BucketAddressing {
    const KIND: &'static str = "auto, path or virtual";

    fn read(raw: &Raw) -> Result<Self, String> {
        match text_of::<Self>(raw)?.to_ascii_lowercase().as_str() {
            "auto" => Ok(Self::Auto),
            "path" => Ok(Self::Path),
            "virtual" => Ok(Self::Virtual),
            _ => Err(expected::<Self>(raw)),
        }
    }

    fn show(&self) -> String {
        match self {
            Self::Auto => "auto",
            Self::Path => "path",
            Self::Virtual => "virtual",
        }
        .to_owned()
    }
}

/// How the store encrypts objects (S3 user guide, "Protecting data with encryption").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerSideEncryption {
    /// SSE-S3.
    Aes256,
    /// SSE-KMS.
    Kms,
}

impl Value for ServerSideEncryption {
    const KIND: &'static str = "AES256 or aws:kms";

    fn read(raw: &Raw) -> Result<Self, String> {
        match text_of::<Self>(raw)?.to_ascii_lowercase().as_str() {
            "aes256" => Ok(Self::Aes256),
            "aws:kms" => Ok(Self::Kms),
            _ => Err(expected::<Self>(raw)),
        }
    }

    fn show(&self) -> String {
        match self {
            Self::Aes256 => "AES256",
            Self::Kms => "aws:kms",
        }
        .to_owned()
    }
}

type Field = fn(&mut Capabilities) -> &mut bool;

/// Capabilities of a store that can be said instead of assumed. Not `generations`, which only our own store has: with
/// it, bytes would be served that nobody has looked at.
const FIELDS: &[(&str, Field)] = &[
    ("post_policy", |c| &mut c.post_policy),
    ("conditional_put", |c| &mut c.conditional_put),
    ("conditional_copy", |c| &mut c.conditional_copy),
    ("conditional_copy_target", |c| &mut c.conditional_copy_target),
    ("conditional_completion", |c| &mut c.conditional_completion),
    ("checksums", |c| &mut c.checksums),
    ("uneven_parts", |c| &mut c.uneven_parts),
    ("part_reads", |c| &mut c.part_reads),
];

/// What is said of the store's capabilities, each by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CapabilityOverrides(Vec<(&'static str, bool)>);

impl CapabilityOverrides {
    /// The capabilities with what is said of them.
    pub fn apply(&self, mut capabilities: Capabilities) -> Capabilities {
        for (name, value) in &self.0 {
            if let Some((_, field)) = FIELDS.iter().find(|(known, _)| known == name) {
                *field(&mut capabilities) = *value;
            }
        }
        capabilities
    }
}

impl Value for CapabilityOverrides {
    const KIND: &'static str =
        "a list such as post_policy=false,conditional_copy=true; names as `cloakroom doctor` prints them";

    fn read(raw: &Raw) -> Result<Self, String> {
        let read = |text: &String| {
            let (name, value) = text
                .split_once('=')
                .ok_or_else(|| format!("must be {}, not {text:?}", Self::KIND))?;
            let value = bool::read(&Raw::Text(value.to_owned()))?;
            let name = name.trim();
            let (name, _) = FIELDS.iter().find(|(known, _)| *known == name).ok_or_else(|| {
                let known: Vec<&str> = FIELDS.iter().map(|(name, _)| *name).collect();
                format!("names no capability {name:?}; there are {}", known.join(", "))
            })?;
            Ok((*name, value))
        };
        Vec::<String>::read(raw)?
            .iter()
            .map(read)
            .collect::<Result<_, String>>()
            .map(Self)
    }

    fn show(&self) -> String {
        self.0
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect::<Vec<_>>()
            .join(",")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text<T: Value>(text: &str) -> Result<T, String> {
        T::read(&Raw::Text(text.to_owned()))
    }

    #[test]
    fn choices() {
        assert_eq!(text::<StoreKind>("S3"), Ok(StoreKind::S3));
        assert_eq!(text::<BucketAddressing>("virtual"), Ok(BucketAddressing::Virtual));
        assert_eq!(
            text::<ServerSideEncryption>("aes256").map(|e| e.show()),
            Ok("AES256".into())
        );
        assert_eq!(text::<StorageMode>("RW"), Ok(StorageMode::Rw));
        assert!(text::<StorageMode>("wo").is_err());
        assert!(text::<StoreKind>("minio").is_err() && text::<BucketAddressing>("dns").is_err());
        assert!(text::<ServerSideEncryption>("rot13").is_err());
    }

    #[test]
    fn capabilities_are_said_one_by_one() {
        let said = text::<CapabilityOverrides>("post_policy=false, conditional_copy=true").expect("good");
        assert_eq!(said.show(), "post_policy=false,conditional_copy=true");
        let base = Capabilities {
            post_policy: true,
            conditional_put: true,
            ..cloakroom_objects::s3::USUAL_CAPABILITIES
        };
        let applied = said.apply(base);
        assert!(!applied.post_policy && applied.conditional_copy && applied.conditional_put);
        for bad in ["post_policy", "generations=true", "post_policy=perhaps"] {
            assert!(text::<CapabilityOverrides>(bad).is_err(), "{bad}");
        }
    }
}
