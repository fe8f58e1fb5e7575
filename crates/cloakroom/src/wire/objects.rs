//! The object stores without a database, for commands that look at bytes alone.

use std::collections::BTreeMap;
use std::sync::Arc;

use cloakroom_core::ports::objects::ObjectStore;
use cloakroom_signing::Secret;

use super::stores::{Preparation, buckets, open_objects_of};
use crate::commands::Failure;
use crate::config::Config;
use crate::config::adapters::Store;
use crate::config::settings::Settings;
use crate::config::values::{BaseUrl, Raw, StoreKind, Value as _};
use crate::data_dir::{DataDir, DataDirError, keys_of, occupant};
use crate::dev::DevKeys;

/// The object stores of an instance.
pub struct OpenObjects {
    /// All of them, as one.
    pub objects: Arc<dyn ObjectStore>,
    /// Their buckets.
    pub buckets: Vec<String>,
    _data_dir: Option<DataDir>,
}

/// Opens the object stores that are configured: local files through the S3 endpoint of the instance that works with them, if
/// one does.
///
/// # Errors
/// A store that is not there, or local files that another process has and does not give out.
pub async fn open_objects(config: &Config, preparation: Preparation) -> Result<OpenObjects, Failure> {
    let buckets = buckets(config).into_iter().map(str::to_owned).collect();
    let is_local = config
        .store_names()
        .any(|name| config.of_store(name).settings.store() == Store::Local);
    let data_dir = match is_local
        .then(|| DataDir::open(&config.settings.data_dir))
        .transpose()
    {
        Ok(data_dir) => data_dir,
        Err(error @ DataDirError::InUse { .. }) if preparation == Preparation::None => {
            let served = served(config).ok_or_else(|| Failure::new(&error))?;
            return Ok(OpenObjects {
                objects: open_objects_of(&served, None, preparation).await?,
                buckets,
                _data_dir: None,
            });
        }
        Err(error) => return Err(Failure::new(error)),
    };
    Ok(OpenObjects {
        objects: open_objects_of(config, data_dir.as_ref(), preparation).await?,
        buckets,
        _data_dir: data_dir,
    })
}

/// The configuration as if local files were an S3 service: the endpoint of the process that has them. Only where all stores
/// are such.
fn served(config: &Config) -> Option<Config> {
    let settings = &config.settings;
    if config
        .store_names()
        .any(|name| config.of_store(name).settings.store() != Store::Local)
    {
        return None;
    }
    let url = BaseUrl::read(&Raw::Text(occupant(&settings.data_dir).s3_url?)).ok()?;
    let configured = settings.s3_access_key.clone().zip(settings.s3_secret_key.clone());
    let keys = DevKeys::new(keys_of(&settings.data_dir), settings);
    let made = || {
        let made = keys.stored_credentials().ok()??;
        Some((Secret::new(made.access_key_id), made.secret_access_key))
    };
    let (access_key, secret_key) = configured.or_else(made)?;
    Some(Config {
        settings: Settings {
            store_kind: StoreKind::S3,
            s3_endpoint: Some(url),
            s3_public_url: None,
            s3_access_key: Some(access_key),
            s3_secret_key: Some(secret_key),
            ..settings.clone()
        },
        stores: BTreeMap::new(),
        ..config.clone()
    })
}
