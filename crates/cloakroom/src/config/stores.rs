//! The fields of a `[stores.NAME]` table: a store beside the main one, which is made of `[store]`, `[s3]` and `[storage]`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use cloakroom_core::collection::Collection;
use cloakroom_core::storage::{MAIN_STORE, StorageMode};
use cloakroom_signing::{Region, Secret};

use super::adapters::{Store, is_aws};
use super::layers::Problem;
use super::settings::Settings;
use super::tables::fields;
use super::values::{
    BaseUrl, BucketAddressing, BucketName, Raw, ServerSideEncryption, Size, StoreKind, Value,
};
use super::{Config, Origin, Source};

/// A store beside the main one, as configured.
#[derive(Clone, Debug)]
pub struct StoreTable {
    /// Its name.
    pub name: String,
    /// What it is made of.
    pub kind: StoreKind,
    /// Where the files of a local one are.
    pub directory: Option<PathBuf>,
    /// Address of its S3 service.
    pub endpoint: Option<BaseUrl>,
    /// Address under which clients reach it.
    pub public_url: Option<BaseUrl>,
    /// Region of its S3 service.
    pub region: Region,
    /// Where the name of a bucket stands in addresses.
    pub addressing: BucketAddressing,
    /// Access key.
    pub access_key: Option<Secret>,
    /// Secret key that belongs to it.
    pub secret_key: Option<Secret>,
    /// How it encrypts.
    pub encryption: Option<ServerSideEncryption>,
    /// Key for that.
    pub kms_key_id: Option<String>,
    /// Storage class of its objects.
    pub storage_class: Option<String>,
    /// Its buckets, beside those of its collections.
    pub buckets: Vec<String>,
    /// Its mode; `None` as the database says.
    pub mode: Option<StorageMode>,
    /// What it is meant to hold.
    pub capacity: Option<Size>,
}

impl StoreTable {
    fn new(name: &str, settings: &Settings) -> Self {
        Self {
            name: name.to_owned(),
            kind: StoreKind::Auto,
            directory: None,
            endpoint: None,
            public_url: None,
            region: settings.s3_region.clone(),
            addressing: BucketAddressing::Auto,
            access_key: None,
            secret_key: None,
            encryption: None,
            kms_key_id: None,
            storage_class: None,
            buckets: Vec::new(),
            mode: None,
            capacity: None,
        }
    }

    /// Whether its bytes are in files.
    pub fn is_local(&self) -> bool {
        self.kind == StoreKind::Local || self.kind == StoreKind::Auto && self.endpoint.is_none()
    }

    /// Where the files of a local store are; below the data directory unless something else is said.
    pub fn local_directory(&self, data_dir: &Path) -> PathBuf {
        self.directory
            .clone()
            .unwrap_or_else(|| data_dir.join("stores").join(&self.name))
    }

    /// The settings as if this were the main store.
    pub fn as_main(&self, settings: &Settings) -> Settings {
        Settings {
            store_kind: if self.is_local() {
                StoreKind::Local
            } else {
                StoreKind::S3
            },
            s3_endpoint: self.endpoint.clone(),
            s3_public_url: self.public_url.clone(),
            s3_use_ssl: None,
            s3_addressing: self.addressing,
            s3_region: self.region.clone(),
            s3_access_key: self.access_key.clone(),
            s3_secret_key: self.secret_key.clone(),
            s3_upload_access_key: None,
            s3_upload_secret_key: None,
            s3_notify: None,
            s3_encryption: self.encryption,
            s3_kms_key_id: self.kms_key_id.clone(),
            s3_storage_class: self.storage_class.clone(),
            storage_mode: self.mode,
            store_capacity: self.capacity,
            ..settings.clone()
        }
    }
}

fields! {
    StoreTable {
        /// What it is made of: `local` files, an `s3` service; `auto`: S3 where an endpoint is set, else local.
        kind: StoreKind;
        /// Where the files of a local store are. Empty: in `stores/NAME` of the data directory.
        directory: Option<PathBuf>;
        /// Address of the S3 service, as this process reaches it. Empty with `kind` `s3`: AWS, in `region`.
        endpoint: Option<BaseUrl>;
        /// Address under which clients reach it. Empty: `endpoint`, and for a local store the embedded S3 endpoint.
        public_url: Option<BaseUrl>;
        /// Region that signatures are made for.
        region: Region;
        /// Where the name of a bucket stands in addresses.
        addressing: BucketAddressing;
        /// Access key of the S3 service. Of a local store beside an S3 service as the main store: that of the embedded endpoint.
        access_key: Option<Secret>;
        /// Secret key that belongs to it.
        secret_key: Option<Secret>;
        /// How the S3 service encrypts objects. Empty: as its bucket says.
        encryption: Option<ServerSideEncryption>;
        /// Id of the key for `aws:kms`.
        kms_key_id: Option<String>;
        /// Storage class of its objects, such as `GLACIER_IR`. Empty: the default of the service.
        storage_class: Option<String>;
        /// Its buckets, beside those of the collections that name the store. A collection that names the store and no bucket has
        /// the first of them.
        buckets: Vec<String>;
        /// How far it is open: `edit`, `rw`, `ro` or `ar`. Empty: as the database says, `edit` in a new instance.
        mode: Option<StorageMode>;
        /// How much it is meant to hold; shown to administrators.
        capacity: Option<Size>;
    }
}

impl super::Layers {
    /// The stores that any layer names.
    pub(super) fn stores(
        &self,
        settings: &Settings,
        origins: &mut Vec<Origin>,
        problems: &mut Vec<Problem>,
    ) -> BTreeMap<String, StoreTable> {
        let named = self.strongest_first.iter().flat_map(|layer| layer.stores.iter());
        let names: BTreeSet<&String> = named.collect();
        let mut all = BTreeMap::new();
        for name in names {
            let mut table = StoreTable::new(name, settings);
            let mut sources: BTreeMap<&str, Source> =
                BTreeMap::from([("region", Source::Setting("s3.region"))]);
            for field in FIELDS {
                let key = format!("stores.{name}.{}", field.name);
                // Weakest first, so that the strongest is written last.
                let said: Vec<_> = self.said(&key).collect();
                for said in said.into_iter().rev() {
                    match (field.set)(&mut table, &said.raw) {
                        Ok(()) => drop(sources.insert(field.name, said.source.clone())),
                        Err(message) => problems.push(Problem(format!("{key} {message} ({})", said.source))),
                    }
                }
                origins.push(Origin {
                    key,
                    value: (field.show)(&table),
                    source: sources.get(field.name).unwrap_or(&Source::Default).clone(),
                });
            }
            let found = contradictions(&table).into_iter();
            problems
                .extend(found.map(|(field, message)| Problem(format!("stores.{name}.{field} {message}"))));
            all.insert(name.clone(), table);
        }
        all
    }
}

/// What must hold between the fields of a store: pairs of field name and message.
fn contradictions(table: &StoreTable) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    let mut say = |field, message: &str| found.push((field, message.to_owned()));
    if table.is_local() {
        if table.endpoint.is_some() {
            say(
                "endpoint",
                "is set, and the store is local: remove it, or set kind to s3",
            );
        }
        for (field, set) in [
            ("encryption", table.encryption.is_some()),
            ("storage_class", table.storage_class.is_some()),
        ] {
            if set {
                say(
                    field,
                    "is set, and a local store has none: remove it, or set endpoint",
                );
            }
        }
    } else if table.directory.is_some() {
        say(
            "directory",
            "is set, and the store is an S3 service: remove it, or remove endpoint",
        );
    }
    if table.kms_key_id.is_some() && table.encryption != Some(ServerSideEncryption::Kms) {
        say("kms_key_id", "is set, and encryption is not aws:kms");
    }
    match (&table.access_key, &table.secret_key) {
        (Some(_), None) => say("access_key", "is set and secret_key is not"),
        (None, Some(_)) => say("secret_key", "is set and access_key is not"),
        _ => {}
    }
    for bucket in &table.buckets {
        if let Err(message) = BucketName::read(&Raw::Text(bucket.clone())) {
            say("buckets", &message);
        }
    }
    found
}

/// Gives each collection its store: the one that it names, or the one that its bucket is in. `says` tells whether somebody set a
/// field of a collection.
pub(super) fn assign(
    collections: &mut BTreeMap<String, Collection>,
    stores: &BTreeMap<String, StoreTable>,
    says: impl Fn(&str, &str) -> bool,
    problems: &mut Vec<Problem>,
) {
    // Which store each bucket is in, and who says so.
    let mut holders: BTreeMap<String, (String, String)> = BTreeMap::new();
    for table in stores.values() {
        for bucket in &table.buckets {
            let key = format!("stores.{}.buckets", table.name);
            if let Some((_, other)) = holders.insert(bucket.clone(), (table.name.clone(), key.clone())) {
                problems.push(Problem(format!(
                    "{key} and {other} both name the bucket {bucket}, which can be in one store alone"
                )));
            }
        }
    }
    for collection in collections.values_mut() {
        let name = &collection.name;
        let names_store = says(name, "store");
        if collection.store != MAIN_STORE && !stores.contains_key(&collection.store) {
            let known: Vec<&str> = std::iter::once(MAIN_STORE)
                .chain(stores.keys().map(String::as_str))
                .collect();
            problems.push(Problem(format!(
                "collections.{name}.store names {:?}; there are {}",
                collection.store,
                known.join(", ")
            )));
            continue;
        }
        if names_store
            && !says(name, "bucket")
            && let Some(first) = stores
                .get(&collection.store)
                .and_then(|table| table.buckets.first())
        {
            collection.bucket.clone_from(first);
        }
        if !names_store && let Some((holder, _)) = holders.get(&collection.bucket) {
            collection.store.clone_from(holder);
        }
        let key = format!("collections.{name}.bucket");
        let (holder, said_by) = holders
            .entry(collection.bucket.clone())
            .or_insert_with(|| (collection.store.clone(), key.clone()));
        if *holder != collection.store {
            problems.push(Problem(format!(
                "{key} is {}, in the store {}, and {said_by} has the same bucket in the store {holder}: a bucket can be in one store alone",
                collection.bucket, collection.store
            )));
        }
    }
}

impl Config {
    /// The names of all stores, the main one first.
    pub fn store_names(&self) -> impl Iterator<Item = &str> {
        std::iter::once(MAIN_STORE).chain(self.stores.keys().map(String::as_str))
    }

    /// The buckets of a store: those of its collections, others that it names, and of the main one the archives that no other
    /// has.
    pub fn buckets_of(&self, store: &str) -> BTreeSet<&str> {
        let archives = self.collections.values();
        let archives = archives.filter_map(|collection| collection.retention.archive_bucket.as_deref());
        let collections = self.collections.values();
        let named = self.stores.values().flat_map(|table| table.buckets.iter());
        collections
            .map(|collection| collection.bucket.as_str())
            .chain(named.map(String::as_str))
            .chain(archives)
            .filter(|bucket| self.holder_of(bucket) == store)
            .collect()
    }

    /// The store that a bucket is in.
    fn holder_of(&self, bucket: &str) -> &str {
        let tables = self.stores.values();
        let named = tables.filter(|table| table.buckets.iter().any(|name| name == bucket));
        let collections = self.collections.values();
        let used = collections.filter(|collection| collection.bucket == bucket);
        named
            .map(|table| table.name.as_str())
            .chain(used.map(|collection| collection.store.as_str()))
            .next()
            .unwrap_or(MAIN_STORE)
    }

    /// The local stores beside the main one.
    pub fn local_tables(&self) -> impl Iterator<Item = &StoreTable> {
        self.stores.values().filter(|table| table.is_local())
    }

    /// Whether some store is local, so that there is an S3 endpoint of our own.
    pub fn has_local_store(&self) -> bool {
        self.settings.store() == Store::Local || self.local_tables().next().is_some()
    }

    /// Whether several processes can work together: what they share is on no disk of one machine.
    pub fn is_shared(&self) -> bool {
        self.settings.is_shared() && self.local_tables().next().is_none()
    }

    /// Whether something is kept in the data directory.
    pub fn needs_data_dir(&self, dev: bool) -> bool {
        // Also with directories of their own: a database that others reach remembers which data directory is the right one.
        self.local_tables().next().is_some() || self.settings.needs_data_dir(dev)
    }

    /// The configuration as if this store were the only one, and the main one.
    pub fn of_store(&self, name: &str) -> Self {
        let settings = match self.stores.get(name) {
            Some(table) => table.as_main(&self.settings),
            None => self.settings.clone(),
        };
        let ours = self
            .collections
            .iter()
            .filter(|(_, collection)| collection.store == name);
        Self {
            settings,
            collections: ours
                .map(|(name, collection)| (name.clone(), collection.clone()))
                .collect(),
            stores: BTreeMap::new(),
            processors: self.processors.clone(),
            buckets: self.buckets_of(name).into_iter().map(str::to_owned).collect(),
            origins: Vec::new(),
            notices: Vec::new(),
            aws: self.aws.clone(),
        }
    }

    /// The key and secret key of the embedded endpoint, where they are configured: those of the main store if that is local,
    /// else those of the first local store that has some.
    pub fn embedded_keys(&self) -> Option<(&Secret, &Secret)> {
        if self.settings.store() == Store::Local {
            return self
                .settings
                .s3_access_key
                .as_ref()
                .zip(self.settings.s3_secret_key.as_ref());
        }
        self.local_tables()
            .find_map(|table| table.access_key.as_ref().zip(table.secret_key.as_ref()))
    }
}

/// What the stores beside the main one need for serving: credentials of each S3 service, and of the embedded endpoint.
pub fn missing_for_stores(config: &Config, dev: bool) -> Vec<Problem> {
    let mut missing = Vec::new();
    for table in config.stores.values().filter(|table| !table.is_local()) {
        let Store::S3(url) = table.as_main(&config.settings).store() else {
            continue;
        };
        let given_out = is_aws(&url) || config.aws.name_a_source();
        if table.access_key.is_none() && !given_out {
            let name = &table.name;
            missing.push(Problem(format!(
                "no credentials for the S3 service at {url}: set stores.{name}.access_key and stores.{name}.secret_key"
            )));
        }
    }
    if config.settings.store() != Store::Local
        && !dev
        && config.embedded_keys().is_none()
        && let Some(table) = config.local_tables().next()
    {
        let name = &table.name;
        missing.push(Problem(format!(
            "no credentials for the S3 endpoint of the local store {name}: set stores.{name}.access_key and stores.{name}.secret_key, or start with --dev to try things out"
        )));
    }
    missing
}
