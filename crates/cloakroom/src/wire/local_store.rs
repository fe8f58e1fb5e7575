//! A local store beside a database that others reach, too: the rows tell of files that are in one directory alone, so a
//! second process with another directory would lose half of them. The database remembers which directory it is.

use cloakroom_core::JsonObject;
use cloakroom_core::ports::metadata::MetadataStore;

use crate::commands::Failure;
use crate::data_dir::{DataDir, write_private};
use crate::runtime::secret_text;

/// Name of the setting, and of the file in the data directory.
const SETTING: &str = "local_store";
const FILE: &str = "store-id";

/// Refuses a directory that is not the database's own; one of a database that has none yet becomes it.
pub(super) async fn check(metadata: &dyn MetadataStore, data_dir: &DataDir) -> Result<(), Failure> {
    let here = identity(data_dir)?;
    if known(metadata).await?.is_none() {
        let mut value = JsonObject::new();
        value.insert("id".to_owned(), here.clone().into());
        metadata
            .put_setting(SETTING, &value)
            .await
            .map_err(Failure::new)?;
    }
    // Read again: of two that start at the same time, the second one's word stands.
    if known(metadata).await?.as_deref() == Some(here.as_str()) {
        return Ok(());
    }
    Err(Failure::new(format!(
        "the database belongs to a store in another directory than {}: several processes need PostgreSQL and S3: set DATABASE_URL and S3_ENDPOINT (or another database.table_prefix for a service of its own)",
        data_dir.path().display()
    )))
}

async fn known(metadata: &dyn MetadataStore) -> Result<Option<String>, Failure> {
    let setting = metadata.setting(SETTING).await.map_err(Failure::new)?;
    let id = setting.and_then(|value| value.get("id")?.as_str().map(str::to_owned));
    Ok(id)
}

/// The directory's own name, made when it has none.
fn identity(data_dir: &DataDir) -> Result<String, Failure> {
    let path = data_dir.path().join(FILE);
    let failed = |error: std::io::Error| Failure::new(format!("cannot use {}: {error}", path.display()));
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(text.trim().to_owned()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let made = secret_text::<16>();
            write_private(&path, made.as_bytes()).map_err(failed)?;
            Ok(made)
        }
        Err(error) => Err(failed(error)),
    }
}
