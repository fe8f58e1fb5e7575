//! The fields of a `[processors.NAME]` table: a processor of the operator's own, a program or an endpoint.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use cloakroom_core::ports::processor::ProcessorLimits;
use cloakroom_signing::Secret;
use cloakroom_worker::deliveries::{SigningKeys, Target};
use cloakroom_worker::processors::own::{Call, Command, OwnProcessor};

use super::collections::media_type;
use super::layers::Problem;
use super::settings::Settings;
use super::tables::fields;
use super::values::{Period, Size, Value};
use super::{Config, Origin, Source};

/// A processor of the operator's own, as configured.
#[derive(Clone, Debug)]
pub struct ProcessorTable {
    /// Its name.
    pub name: String,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// What the program may read.
    pub reads: Vec<String>,
    /// Whether the program may open connections.
    pub network: bool,
    /// The endpoint.
    pub url: Option<Secret>,
    /// What requests to the endpoint are signed with.
    pub secret: Option<Secret>,
    /// Whether the endpoint may be a private address.
    pub allow_private: bool,
    /// What it takes.
    pub content_types: Vec<String>,
    /// Time by the clock.
    pub timeout: Period,
    /// Time of processors.
    pub cpu: Period,
    /// Memory.
    pub memory: Size,
    /// Size of what it makes.
    pub output_max: Size,
}

impl ProcessorTable {
    fn new(name: &str, settings: &Settings) -> Self {
        Self {
            name: name.to_owned(),
            command: Vec::new(),
            reads: Vec::new(),
            network: false,
            url: None,
            secret: None,
            allow_private: false,
            content_types: Vec::new(),
            timeout: settings.processing_timeout,
            cpu: settings.processing_cpu,
            memory: settings.processing_memory,
            output_max: settings.processing_output_max,
        }
    }

    /// The processor, or what is wrong: pairs of field name and message.
    pub fn own(&self) -> Result<OwnProcessor, Vec<(&'static str, String)>> {
        let found = self.contradictions();
        if !found.is_empty() {
            return Err(found);
        }
        let call = match (&self.url, &self.secret) {
            (Some(url), Some(secret)) => {
                let target = Target::new(url.expose(), self.allow_private).map_err(|error| {
                    // The words of webhooks, whose setting has a name of its own.
                    let message = error
                        .to_string()
                        .replace("webhooks.allow_private", "allow_private");
                    vec![("url", message)]
                })?;
                let keys = SigningKeys::parse(secret.expose());
                let keys = keys.map_err(|error| vec![("secret", error.to_string())])?;
                Call::Endpoint { target, keys }
            }
            _ => Call::Command(Command {
                argv: self.command.clone(),
                reads: self.reads.iter().map(PathBuf::from).collect(),
                network: self.network,
            }),
        };
        Ok(OwnProcessor {
            name: self.name.clone(),
            content_types: self.content_types.clone(),
            limits: ProcessorLimits {
                wall: self.timeout.std(),
                cpu: self.cpu.std(),
                memory_bytes: self.memory.0,
                output_bytes_max: self.output_max.0,
            },
            call,
        })
    }

    fn contradictions(&self) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        let mut say = |field, message: &str| found.push((field, message.to_owned()));
        match (self.command.first(), &self.url) {
            (None, None) => say(
                "command",
                "is not set, and url is not either: one of them is needed",
            ),
            (Some(_), Some(_)) => say("command", "is set, and url as well: remove one of them"),
            (Some(program), None) if !program.starts_with('/') => {
                say("command", "must begin with the absolute path of a program");
            }
            (None, Some(_)) if self.secret.is_none() => {
                say("secret", "is not set: requests to url are signed with it");
            }
            _ => {}
        }
        let of_commands = [("reads", !self.reads.is_empty()), ("network", self.network)];
        let of_endpoints = [
            ("secret", self.secret.is_some()),
            ("allow_private", self.allow_private),
        ];
        let (others, what) = if self.url.is_some() {
            (of_commands, "is set, and belongs to a command")
        } else {
            (of_endpoints, "is set, and belongs to a url")
        };
        for (field, _) in others.into_iter().filter(|(_, is_set)| *is_set) {
            say(field, what);
        }
        if self.reads.iter().any(|path| !path.starts_with('/')) {
            say("reads", "must hold absolute paths");
        }
        if let Some(bad) = self.content_types.iter().find(|text| media_type(text).is_none()) {
            say("content_types", &format!("holds {bad:?}, which is not one"));
        }
        for (field, period) in [("timeout", self.timeout), ("cpu", self.cpu)] {
            if !(1..=3600).contains(&period.seconds()) {
                say(field, "must be from 1s to 1h");
            }
        }
        found
    }
}

fields! {
    ProcessorTable {
        /// The program by its absolute path, and its arguments; `{input}`, `{output}` and `{request}` in them become paths.
        command: Vec<String>;
        /// Files and directories that the program may read, beside its own directory and the system's programs and libraries.
        reads: Vec<String>;
        /// Whether the program may open connections.
        network: bool;
        /// Address that files are posted to, instead of a program. It may hold a token and is not shown.
        url: Option<Secret>;
        /// What requests to `url` are signed with: `whsec_` and 24 to 64 bytes in Base64.
        secret: Option<Secret>;
        /// Whether `url` may be a private address, and http: for a service in the same network.
        allow_private: bool;
        /// Media types that it takes, such as `image/*`. Empty: every type.
        content_types: Vec<String>;
        /// Longest time of a run by the clock. Empty: `processing.timeout`.
        timeout: Period;
        /// Longest time of processors that the program may use. Empty: `processing.cpu`.
        cpu: Period;
        /// Most memory of the program. Empty: `processing.memory`.
        memory: Size;
        /// Largest size of everything that it makes of a file. Empty: `processing.output_max`.
        output_max: Size;
    }
}

/// The setting that a field has its value from where nobody says anything.
fn inherited(field: &str) -> Source {
    match field {
        "timeout" => Source::Setting("processing.timeout"),
        "cpu" => Source::Setting("processing.cpu"),
        "memory" => Source::Setting("processing.memory"),
        "output_max" => Source::Setting("processing.output_max"),
        _ => Source::Default,
    }
}

impl super::Layers {
    /// The processors that any layer names. `built_in` are those of the program.
    pub(super) fn processors(
        &self,
        settings: &Settings,
        built_in: &[&str],
        origins: &mut Vec<Origin>,
        problems: &mut Vec<Problem>,
    ) -> BTreeMap<String, ProcessorTable> {
        let named = self
            .strongest_first
            .iter()
            .flat_map(|layer| layer.processors.iter());
        let names: BTreeSet<&String> = named.collect();
        let mut all = BTreeMap::new();
        for name in names {
            if built_in.contains(&name.as_str()) {
                problems.push(Problem(format!(
                    "processors.{name} is one of this program; name yours otherwise"
                )));
                continue;
            }
            let mut table = ProcessorTable::new(name, settings);
            let mut good = true;
            for field in FIELDS {
                let key = format!("processors.{name}.{}", field.name);
                let mut source = inherited(field.name);
                // Weakest first, so that the strongest is written last.
                let said: Vec<_> = self.said(&key).collect();
                for said in said.into_iter().rev() {
                    match (field.set)(&mut table, &said.raw) {
                        Ok(()) => source = said.source.clone(),
                        Err(message) => {
                            good = false;
                            problems.push(Problem(format!("{key} {message} ({})", said.source)));
                        }
                    }
                }
                origins.push(Origin {
                    key,
                    value: (field.show)(&table),
                    source,
                });
            }
            let found = table.own().err().filter(|_| good).into_iter().flatten();
            problems.extend(
                found.map(|(field, message)| Problem(format!("processors.{name}.{field} {message}"))),
            );
            all.insert(name.clone(), table);
        }
        all
    }
}

impl Config {
    /// The operator's own processors.
    pub fn own_processors(&self) -> Vec<OwnProcessor> {
        // Configuration has checked them all.
        self.processors
            .values()
            .filter_map(|table| table.own().ok())
            .collect()
    }
}
