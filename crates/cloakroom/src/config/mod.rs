//! Configuration: defaults < file < `.env` < environment < flags, checked as a whole before anything is touched.
//!
//! The only place of the program that reads the environment. All problems are reported at once, each in one line
//! that names the key or the variable at fault, and never a secret.

pub mod adapters;
pub mod aliases;
pub mod aws;
pub mod checks;
pub mod cloudfront;
pub mod collections;
pub mod layers;
pub mod presets;
pub mod processors;
pub mod programs;
pub mod settings;
pub mod show;
pub mod stores;
pub mod tables;
pub mod values;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use cloakroom_core::collection::Collection;
use cloakroom_worker::processors::BUILT_IN;

use self::aws::AwsVariables;
use self::layers::{Known, Layer, Problem, Said, Source, Variables, from_file, from_variables, parse_dotenv};
use self::processors::ProcessorTable;
use self::settings::{DESCRIPTORS, Descriptor, Settings};
use self::stores::StoreTable;
use self::values::Raw;

/// The files that are read when nothing names another one. There may be one of them.
const FILE_NAMES: [&str; 3] = ["cloakroom.toml", "cloakroom.yaml", "cloakroom.yml"];
/// Everything that configuration is read from.
#[derive(Clone, Debug, Default)]
pub struct Inputs {
    /// The file that a flag names.
    pub config_file: Option<PathBuf>,
    /// The variables of the process.
    pub environment: Variables,
    /// Where `.env` and `cloakroom.toml` or `.yaml` are looked for.
    pub directory: PathBuf,
    /// Keys, values and names of flags.
    pub flags: Vec<(&'static str, String, &'static str)>,
    /// Development: other defaults, known credentials allowed.
    pub dev: bool,
}

impl Inputs {
    /// The real environment and working directory.
    pub fn from_process() -> Self {
        let text = |value: std::ffi::OsString| value.to_string_lossy().into_owned();
        Self {
            environment: std::env::vars_os()
                .map(|(name, value)| (text(name), text(value)))
                .collect(),
            directory: PathBuf::from("."),
            ..Self::default()
        }
    }
}

/// A value with its key and its source, as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The key.
    pub key: String,
    /// The value as one would write it; a secret is masked.
    pub value: String,
    /// Who said so.
    pub source: Source,
}

/// The whole configuration, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// Settings.
    pub settings: Settings,
    /// Collections by name.
    pub collections: BTreeMap<String, Collection>,
    /// Stores beside the main one, by name.
    pub stores: BTreeMap<String, StoreTable>,
    /// The operator's own processors, by name.
    pub processors: BTreeMap<String, ProcessorTable>,
    /// The buckets of all stores.
    pub buckets: BTreeSet<String>,
    /// Every value and where it comes from, in the order of the documentation.
    pub origins: Vec<Origin>,
    /// What is set and has no effect.
    pub notices: Vec<String>,
    /// Where a platform says how to get credentials.
    pub aws: AwsVariables,
}

impl Config {
    /// Which log lines are written.
    pub fn log_filter(&self) -> &str {
        match (&self.settings.log_level, self.settings.debug) {
            (Some(filter), _) => &filter.0,
            (None, true) => "debug",
            (None, false) => "info",
        }
    }
}

/// Reads and checks everything, or gives every problem.
pub fn load(inputs: &Inputs) -> Result<Config, Vec<Problem>> {
    let mut layers = Layers::read(inputs);
    let (settings, mut origins) = layers.settings();
    let mut problems = std::mem::take(&mut layers.problems);
    let settings = match settings {
        Ok(settings) => settings,
        Err((key, message)) => {
            // A value that fails here failed its descriptor's check, and is in the list already.
            if problems.is_empty() {
                problems.push(Problem(format!("{key} {message}")));
            }
            return Err(problems);
        }
    };
    problems.extend(checks::contradictions(&settings, inputs.dev));
    let stores = layers.stores(&settings, &mut origins, &mut problems);
    let processors = layers.processors(&settings, BUILT_IN, &mut origins, &mut problems);
    let known = BUILT_IN
        .iter()
        .copied()
        .chain(processors.keys().map(String::as_str));
    let known: Vec<&str> = known.collect();
    let collections = layers.collections(&settings, &known, &stores, &mut origins, &mut problems);
    problems.extend(cloudfront::cloudfront(&settings, &collections).err());
    problems.extend(cloudfront::service_token_scope(&settings, &collections).err());
    if !problems.is_empty() {
        return Err(problems);
    }
    let mut notices = std::mem::take(&mut layers.notices);
    notices.extend(checks::notices(&settings));
    notices.extend(layers.dropped_archives(&settings));
    let mut config = Config {
        settings,
        collections,
        stores,
        processors,
        buckets: BTreeSet::new(),
        origins,
        notices,
        aws: AwsVariables::of(inputs),
    };
    let names: Vec<String> = config.store_names().map(str::to_owned).collect();
    for name in names {
        let buckets: Vec<String> = config.buckets_of(&name).into_iter().map(str::to_owned).collect();
        config.buckets.extend(buckets);
    }
    Ok(config)
}

/// The layers above the defaults, strongest first.
struct Layers {
    strongest_first: Vec<Layer>,
    dev: bool,
    problems: Vec<Problem>,
    notices: Vec<String>,
}

impl Layers {
    fn read(inputs: &Inputs) -> Self {
        let mut problems = Vec::new();
        let dotenv_path = inputs.directory.join(".env");
        let dotenv = match std::fs::read_to_string(&dotenv_path) {
            Ok(text) => {
                let (variables, found) = parse_dotenv(&text, &dotenv_path);
                problems.extend(found);
                variables
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Variables::new(),
            Err(error) => {
                problems.push(Problem(format!("cannot read {}: {error}", dotenv_path.display())));
                Variables::new()
            }
        };
        let file = file_layer(inputs, &dotenv);
        let mut known = Known {
            collections: file.collections.clone(),
            stores: file.stores.clone(),
            processors: file.processors.clone(),
        };
        let shipped = presets::presets().into_iter().map(|preset| preset.name);
        known.collections.extend(shipped);
        let environment = from_variables(&inputs.environment, &known, &|name| Source::Environment {
            name: name.to_owned(),
        });
        let dotenv = from_variables(&dotenv, &known, &|name| Source::DotEnv {
            name: name.to_owned(),
        });
        let mut flags = Layer::default();
        for (key, value, flag) in &inputs.flags {
            let said = Said {
                raw: Raw::Text(value.clone()),
                source: Source::Flag(flag),
            };
            flags.values.insert((*key).to_owned(), said);
        }
        let mut layers = Self {
            strongest_first: vec![flags, environment, dotenv, file],
            dev: inputs.dev,
            problems,
            notices: Vec::new(),
        };
        for layer in &mut layers.strongest_first {
            layers.problems.append(&mut layer.problems);
            layers.notices.append(&mut layer.notices);
        }
        layers.notices.sort();
        layers.notices.dedup();
        layers
    }

    fn said(&self, key: &str) -> impl Iterator<Item = &Said> {
        self.strongest_first
            .iter()
            .filter_map(move |layer| layer.values.get(key))
    }

    /// Settles every setting. What every layer says is checked, also where a stronger one says something else:
    /// otherwise a mistake would wait for the day on which the stronger one goes.
    fn settings(&mut self) -> (Result<Settings, (&'static str, String)>, Vec<Origin>) {
        let mut problems = Vec::new();
        let mut origins = Vec::new();
        let mut winners: BTreeMap<&str, Raw> = BTreeMap::new();
        for setting in DESCRIPTORS {
            for said in self.said(setting.key) {
                if let Err(message) = (setting.check)(&said.raw) {
                    problems.push(Problem(format!("{} {message} ({})", setting.key, said.source)));
                }
            }
            let winner = self
                .said(setting.key)
                .next()
                .cloned()
                .unwrap_or_else(|| self.default_of(setting));
            let value = (setting.check)(&winner.raw).unwrap_or_default();
            origins.push(Origin {
                key: setting.key.to_owned(),
                value,
                source: winner.source,
            });
            winners.insert(setting.key, winner.raw);
        }
        self.problems.extend(problems);
        (
            Settings::read(|key| winners.remove(key).unwrap_or_else(|| Raw::Text(String::new()))),
            origins,
        )
    }

    fn default_of(&self, setting: &Descriptor) -> Said {
        let text = |text: &str| Raw::Text(text.to_owned());
        match setting.dev_default.filter(|_| self.dev) {
            Some(value) => Said {
                raw: text(value),
                source: Source::Dev,
            },
            None => Said {
                raw: text(setting.default),
                source: Source::Default,
            },
        }
    }

    /// Presets whose archive went because `s3.bucket` names the one bucket that there is, and nobody speaks of archives.
    fn dropped_archives(&self, settings: &Settings) -> Vec<String> {
        let dropped = |preset: Collection| {
            let archive = preset
                .retention
                .archive_bucket
                .filter(|_| settings.s3_bucket.is_some())?;
            let name = preset.name;
            let fields =
                ["archive_bucket", "archive_after"].map(|field| format!("collections.{name}.{field}"));
            if fields.iter().any(|key| self.said(key).next().is_some()) {
                return None;
            }
            Some(format!(
                "s3.bucket (S3_BUCKET) names the bucket of every collection, so that files of {name} do not move to the bucket \
                 {archive} of its preset: set {} if they are to",
                fields.join(" and ")
            ))
        };
        presets::presets().into_iter().filter_map(dropped).collect()
    }

    fn collections(
        &self,
        settings: &Settings,
        known_processors: &[&str],
        tables: &BTreeMap<String, StoreTable>,
        origins: &mut Vec<Origin>,
        problems: &mut Vec<Problem>,
    ) -> BTreeMap<String, Collection> {
        let shipped: BTreeSet<String> = presets::presets().into_iter().map(|preset| preset.name).collect();
        let configured = self
            .strongest_first
            .iter()
            .flat_map(|layer| layer.collections.iter().cloned());
        let names: BTreeSet<String> = shipped.iter().cloned().chain(configured).collect();
        let mut all = BTreeMap::new();
        let mut known_sources = Vec::new();
        for name in names {
            let mut collection = presets::inherited(&name);
            let base = if shipped.contains(&name) {
                Source::Preset
            } else {
                Source::Default
            };
            let mut sources: BTreeMap<&str, Source> = BTreeMap::new();
            if let Some(bucket) = &settings.s3_bucket {
                collection.bucket.clone_from(&bucket.0);
                // Whoever names the one bucket that there is has none for an archive; a notice says so.
                collection.retention.archive_seconds = None;
                collection.retention.archive_bucket = None;
                sources.insert("bucket", Source::Setting("s3.bucket"));
            }
            // Its range was checked with the setting: at most seven days.
            if let Some(seconds) = settings
                .uploads_expires
                .and_then(|period| u32::try_from(period.seconds()).ok())
            {
                collection.upload_expires_seconds = seconds;
                sources.insert("upload_expires", Source::Setting("uploads.expires"));
            }
            if settings.scan_address.is_some() {
                collection.scan.required = true;
                sources.insert("scan", Source::Setting("scan.address"));
            }
            for field in collections::FIELDS {
                let key = format!("collections.{name}.{}", field.name);
                // Weakest first, so that the strongest is written last.
                let said: Vec<&Said> = self.said(&key).collect();
                for said in said.into_iter().rev() {
                    match (field.set)(&mut collection, &said.raw) {
                        Ok(()) => drop(sources.insert(field.name, said.source.clone())),
                        Err(message) => problems.push(Problem(format!("{key} {message} ({})", said.source))),
                    }
                }
            }
            if collection.scan.required && settings.scan_address.is_none() {
                problems.push(Problem(format!(
                    "collections.{name}.scan is required, and scan.address names no scanner"
                )));
            }
            for (field, message) in collections::contradictions(&collection, known_processors) {
                problems.push(Problem(format!("collections.{name}.{field} {message}")));
            }
            known_sources.push((name.clone(), base, sources));
            all.insert(name, collection);
        }
        let says = |name: &str, field: &str| {
            let key = format!("collections.{name}.{field}");
            self.said(&key).next().is_some()
        };
        stores::assign(&mut all, tables, says, problems);
        for (name, base, sources) in known_sources {
            for field in collections::FIELDS {
                origins.push(Origin {
                    key: format!("collections.{name}.{}", field.name),
                    value: (field.show)(&all[&name]),
                    source: sources.get(field.name).unwrap_or(&base).clone(),
                });
            }
        }
        all
    }
}

/// The configuration file: the one that is named, or the one of [`FILE_NAMES`] that there is.
fn file_layer(inputs: &Inputs, dotenv: &Variables) -> Layer {
    let variable = |variables: &Variables| {
        variables
            .get("CLOAKROOM_CONFIG")
            .filter(|path| !path.trim().is_empty())
            .map(PathBuf::from)
    };
    let named = inputs
        .config_file
        .clone()
        .or_else(|| variable(&inputs.environment))
        .or_else(|| variable(dotenv));
    let must_exist = named.is_some();
    let named = match named {
        Some(named) => named,
        None => match usual_file(inputs) {
            Ok(Some(name)) => PathBuf::from(name),
            Ok(None) => return Layer::default(),
            Err(problem) => {
                return Layer {
                    problems: vec![problem],
                    ..Layer::default()
                };
            }
        },
    };
    let shown: &Path = &named;
    match std::fs::read_to_string(inputs.directory.join(&named)) {
        Ok(text) => from_file(&text, shown),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !must_exist => Layer::default(),
        Err(error) => Layer {
            problems: vec![Problem(format!(
                "cannot read the configuration file {}: {error}",
                shown.display()
            ))],
            ..Layer::default()
        },
    }
}

/// The one of [`FILE_NAMES`] that there is.
fn usual_file(inputs: &Inputs) -> Result<Option<&'static str>, Problem> {
    let is_there = |name: &&str| inputs.directory.join(name).exists();
    let mut found = FILE_NAMES.into_iter().filter(is_there);
    match (found.next(), found.next()) {
        (Some(one), Some(other)) => Err(Problem(format!(
            "there are {one} and {other}; remove one of them, or name one with --config"
        ))),
        (one, _) => Ok(one),
    }
}

#[cfg(test)]
mod tests;
