//! Configuration for reading: `config show`, `docs/configuration.md` and `.env.example`, all made from the tables.

use std::fmt::Write as _;

use serde_json::json;

use super::aliases::COLLECTION_ALIASES;
use super::collections::FIELDS;
use super::presets::{DEFAULT_BUCKET, presets};
use super::settings::{DESCRIPTORS, Descriptor, environment_name};
use super::{Config, Origin};

/// Every value with its source, in columns.
pub fn table(config: &Config) -> String {
    let width = |of: fn(&Origin) -> usize| config.origins.iter().map(of).max().unwrap_or_default();
    let key_width = width(|origin| origin.key.len());
    let value_width = width(|origin| origin.value.chars().count()).min(40);
    let mut out = String::new();
    for Origin { key, value, source } in &config.origins {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{key:key_width$}  {value:value_width$}  {source}");
    }
    out
}

/// The same for machines: `{key: {value, source}}`.
pub fn json(config: &Config) -> serde_json::Value {
    let entry = |origin: &Origin| {
        (
            origin.key.clone(),
            json!({"value": origin.value, "source": origin.source.to_string()}),
        )
    };
    serde_json::Value::Object(config.origins.iter().map(entry).collect())
}

const INTRODUCTION: &str = "\
# Configuration

<!-- Made from the table in crates/cloakroom/src/config by `cloakroom config show --docs`. A test compares them. -->

Everything has a default: `cloakroom serve --dev` needs no configuration. Values come from five places, each stronger
than the one before:

1. the defaults below,
2. a file: the one that `--config` or `CLOAKROOM_CONFIG` names, else `cloakroom.toml`, `cloakroom.yaml` or `cloakroom.yml` in the working directory,
3. a file `.env` in the working directory,
4. the environment,
5. flags of the command line.

`cloakroom config check` says whether a configuration is good: every problem in a line that names the key or variable
at fault, and exit code 2 if there is one. `cloakroom config show` prints every value and where it comes from, secrets
masked; `--json` is for machines.

In the file, `server.listen` is `listen` in the table `[server]`, or in YAML below `server:`. In the environment it is `CLOAKROOM_SERVER_LISTEN`;
the other names in the tables are those of earlier systems and mean the same. Two names of one setting that are both
set must agree. An empty variable counts as absent. A secret may also come from a file: `S3_SECRET_KEY_FILE=/run/secrets/s3`
instead of `S3_SECRET_KEY`; a line feed at its end is dropped.

Durations are written `30s`, `15m`, `24h`, `7d`, `1h30m` or as seconds; sizes as bytes, `100MiB` or `5GiB` (powers of
1024) or `100MB` (powers of 1000); lists as TOML arrays, and in the environment separated by commas.

Outside `--dev` the server refuses to start with credentials that everybody knows (`minioadmin` and the like), and
without keys to check access tokens with.

## Database and store

Addresses alone choose: with nothing set, rows are in SQLite and bytes in files of `data_dir`, behind an S3 endpoint of our
own. `DATABASE_URL` puts the rows into PostgreSQL, `S3_ENDPOINT` the bytes into that S3 service; every pair works.
Several processes need both, for they share nothing else: see [Scaling out](guides/scaling.md). `REDIS_URL` lets them count
together. `cloakroom config check` says what is chosen.
";

/// `docs/configuration.md`.
pub fn markdown() -> String {
    let mut out = INTRODUCTION.to_owned();
    let mut section = None;
    for setting in DESCRIPTORS {
        let here = setting.key.split_once('.').map(|(table, _)| table);
        if here != section || section.is_none() && !out.contains("## General") {
            let title = here.map_or_else(|| "General".to_owned(), |table| format!("`[{table}]`"));
            let _ = write!(
                out,
                "\n## {title}\n\n| key | default | in the environment | |\n|---|---|---|---|\n"
            );
            section = here;
        }
        let _ = writeln!(
            out,
            "| `{}` | {} | {} | {} |",
            setting.key,
            defaults(setting),
            names(setting),
            explanation(setting)
        );
    }
    out.push_str(&stores());
    out.push_str(&collections());
    out.push_str(&processors());
    out
}

fn defaults(setting: &Descriptor) -> String {
    let written = |value: &str| {
        if value.is_empty() {
            String::new()
        } else {
            format!("`{value}`")
        }
    };
    match setting.dev_default {
        Some(dev) => format!("{} (`{dev}` under `--dev`)", written(setting.default))
            .trim_start()
            .to_owned(),
        None => written(setting.default),
    }
}

fn names(setting: &Descriptor) -> String {
    let own = setting.environment_name();
    let all = std::iter::once(own.as_str()).chain(setting.aliases.iter().copied());
    all.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" ")
}

fn explanation(setting: &Descriptor) -> String {
    let range = setting
        .range
        .map(|(least, most)| format!(" From {least} to {most}."))
        .unwrap_or_default();
    let secret = if setting.secret { " Secret." } else { "" };
    format!(
        "{} *{}.*{range}{secret}",
        setting.doc.trim(),
        capitalised(setting.kind)
    )
}

fn capitalised(text: &str) -> String {
    let mut characters = text.chars();
    characters
        .next()
        .map(|first| first.to_uppercase().chain(characters).collect())
        .unwrap_or_default()
}

fn stores() -> String {
    let mut out = "
## `[stores.NAME]`

The main store is made of `[store]`, `[s3]` and `[storage]`. A table `[stores.archive]` makes another one beside it, and a
collection that says `store = \"archive\"`, or has one of its buckets, keeps its files there. A bucket is in one store alone. In the
environment a field of a store that the file names is `CLOAKROOM_STORES_ARCHIVE_ENDPOINT`.
See [Stores and modes](guides/stores-and-modes.md).

| field | |
|---|---|
"
    .to_owned();
    for field in super::stores::FIELDS {
        let secret = if field.secret { " Secret." } else { "" };
        let _ = writeln!(
            out,
            "| `{}` | {} *{}.*{secret} |",
            field.name,
            field.doc.trim(),
            capitalised(field.kind)
        );
    }
    out
}

fn collections() -> String {
    let mut out = "
## `[collections.NAME]`

A collection is a named policy for files. Those in the second table are there without any configuration; a table
`[collections.photos]` changes the fields that it names and inherits the others, and any other name makes a new
collection, with the defaults. In the environment a field is
`CLOAKROOM_COLLECTIONS_PHOTOS_SIZE_MAX` (hyphens in names become underscores).

| field | default | |
|---|---|---|
"
    .to_owned();
    let plain = cloakroom_core::collection::Collection::new("NAME", DEFAULT_BUCKET);
    for field in FIELDS {
        let default = (field.show)(&plain);
        let default = if default.is_empty() {
            default
        } else {
            format!("`{default}`")
        };
        let _ = writeln!(
            out,
            "| `{}` | {default} | {} *{}.* |",
            field.name,
            field.doc,
            capitalised(field.kind)
        );
    }
    out.push_str("\n| collection | what differs from the defaults |\n|---|---|\n");
    for preset in presets() {
        let differs = FIELDS
            .iter()
            .filter(|field| (field.show)(&preset) != (field.show)(&plain));
        let listed: Vec<String> = differs
            .map(|field| format!("{} `{}`", field.name, (field.show)(&preset)))
            .collect();
        let _ = writeln!(out, "| `{}` | {} |", preset.name, listed.join("; "));
    }
    let _ = write!(out, "\nOther names in the environment:");
    for (name, key) in COLLECTION_ALIASES {
        let _ = write!(
            out,
            " `{name}` is `{}`, in the file `{key}`.",
            environment_name(key)
        );
    }
    out.push('\n');
    out
}

fn processors() -> String {
    let mut out = "
## `[processors.NAME]`

A processor of your own: a program of this machine or an HTTP endpoint, which collections then name in `processors`. In the
environment a field of a processor that the file names is `CLOAKROOM_PROCESSORS_OCR_TIMEOUT`.
See [Own processors](guides/own-processors.md).

| field | |
|---|---|
"
    .to_owned();
    for field in super::processors::FIELDS {
        let secret = if field.secret { " Secret." } else { "" };
        let _ = writeln!(
            out,
            "| `{}` | {} *{}.*{secret} |",
            field.name,
            field.doc.trim(),
            capitalised(field.kind)
        );
    }
    out
}

/// `.env.example`: every variable, commented out.
pub fn dotenv_example() -> String {
    let mut out = "\
# Copy to .env and take the # away where you want another value than the default. docs/configuration.md explains all.
# Made from the table in crates/cloakroom/src/config; a test compares them.
"
    .to_owned();
    let configuration_file =
        "The configuration file. Empty: cloakroom.toml or cloakroom.yaml, if there is one.";
    variable(&mut out, configuration_file, "CLOAKROOM_CONFIG", "");
    for setting in DESCRIPTORS {
        let aliases = match setting.aliases {
            [] => String::new(),
            names => format!(" Also {}.", names.join(", ")),
        };
        let doc = format!("{}{aliases}", setting.doc.trim());
        variable(&mut out, &doc, &setting.environment_name(), setting.default);
    }
    variables_of_tables(&mut out);
    out
}

fn variable(out: &mut String, doc: &str, name: &str, value: &str) {
    let doc = doc.trim().replace('\n', " ");
    // Writing to a String cannot fail.
    let _ = write!(out, "\n# {doc}\n# {name}={value}\n");
}

/// The fields of tables, by an example of each kind of table.
fn variables_of_tables(out: &mut String) {
    out.push_str("\n# Fields of collections. Another collection has its own name in place of FILES: PHOTOS, DOCUMENTS, ...\n");
    let files = presets().into_iter().find(|preset| preset.name == "files");
    for field in FIELDS {
        let key = format!("collections.files.{}", field.name);
        let value = files.as_ref().map(field.show).unwrap_or_default();
        variable(out, field.doc, &environment_name(&key), &value);
    }
    for (name, key) in COLLECTION_ALIASES {
        variable(out, &format!("Also {}.", environment_name(key)), name, "");
    }
    out.push_str("\n# Fields of stores beside the main one. They count for a table [stores.archive] of the configuration file.\n");
    for field in super::stores::FIELDS {
        let key = format!("stores.archive.{}", field.name);
        variable(out, field.doc, &environment_name(&key), "");
    }
    out.push_str(
        "\n# Fields of own processors. They count for a table [processors.ocr] of the configuration file.\n",
    );
    for field in super::processors::FIELDS {
        let key = format!("processors.ocr.{}", field.name);
        variable(out, field.doc, &environment_name(&key), "");
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn assert_current(path: &str, made: &str) {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let there = std::fs::read_to_string(root.join(path)).unwrap_or_default();
        assert!(
            there == made,
            "{path} is not what the table says; run `cloakroom config show --docs` (or `--env-example`)"
        );
    }

    #[test]
    fn the_documentation_is_current() {
        assert_current("docs/configuration.md", &markdown());
        assert_current(".env.example", &dotenv_example());
    }

    #[test]
    fn the_example_environment_names_everything() {
        let text = dotenv_example();
        let collections = FIELDS
            .iter()
            .map(|field| format!("collections.files.{}", field.name));
        let stores = crate::config::stores::FIELDS
            .iter()
            .map(|field| format!("stores.archive.{}", field.name));
        let processors = crate::config::processors::FIELDS
            .iter()
            .map(|field| format!("processors.ocr.{}", field.name));
        let names = collections
            .chain(stores)
            .chain(processors)
            .map(|key| environment_name(&key));
        let settings = DESCRIPTORS.iter().map(Descriptor::environment_name);
        let others = ["MINIO_BUCKET_RECONCILIATION", "CLOAKROOM_CONFIG"].map(str::to_owned);
        for name in names.chain(settings).chain(others) {
            assert!(text.contains(&format!("\n# {name}=")), "{name}");
        }
    }

    #[test]
    fn the_documentation_names_everything() {
        let text = markdown();
        for setting in DESCRIPTORS {
            assert!(text.contains(&format!("`{}`", setting.key)), "{}", setting.key);
            for alias in setting.aliases {
                assert!(text.contains(&format!("`{alias}`")), "{alias}");
            }
        }
        for field in FIELDS {
            assert!(text.contains(&format!("| `{}` |", field.name)), "{}", field.name);
        }
        for field in crate::config::stores::FIELDS {
            assert!(text.contains(&format!("| `{}` |", field.name)), "{}", field.name);
        }
        for field in crate::config::processors::FIELDS {
            assert!(text.contains(&format!("| `{}` |", field.name)), "{}", field.name);
        }
        assert!(text.matches("## General").count() == 1 && text.matches("## `[s3]`").count() == 1);
    }
}
