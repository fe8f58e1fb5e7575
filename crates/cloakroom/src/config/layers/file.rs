//! The configuration file.

use std::path::Path;

use cloakroom_core::storage::MAIN_STORE;
use toml::de::{DeArray, DeTable, DeValue};

use super::{Layer, Problem, Said, Source, nearest};
use crate::config::collections::{FIELDS, is_name};
use crate::config::settings::DESCRIPTORS;
use crate::config::values::Raw;
use crate::config::{processors, stores};

/// Reads the text of a configuration file.
pub fn from_toml(text: &str, path: &Path) -> Layer {
    let mut walk = Walk {
        text,
        path,
        layer: Layer::default(),
        problems: Vec::new(),
    };
    match DeTable::parse(text) {
        Ok(table) => walk.table(table.get_ref(), ""),
        Err(error) => {
            // Only the first line: the parser may go on to quote the text, which may be a secret.
            let message = error.message().lines().next().unwrap_or("not TOML").to_owned();
            walk.problem(error.span().map_or(0, |span| span.start), &message);
        }
    }
    // Tables come in the order of their names; people read from top to bottom.
    walk.problems.sort();
    walk.layer.problems = walk
        .problems
        .into_iter()
        .map(|(_, message)| Problem(message))
        .collect();
    walk.layer
}

struct Walk<'a> {
    text: &'a str,
    path: &'a Path,
    layer: Layer,
    problems: Vec<(usize, String)>,
}

impl Walk<'_> {
    fn line(&self, offset: usize) -> usize {
        1 + self
            .text
            .as_bytes()
            .iter()
            .take(offset)
            .filter(|byte| **byte == b'\n')
            .count()
    }

    fn problem(&mut self, offset: usize, message: &str) {
        let line = self.line(offset);
        self.problems
            .push((line, format!("{}:{line}: {message}", self.path.display())));
    }

    fn table(&mut self, table: &DeTable<'_>, prefix: &str) {
        for (name, value) in table {
            let offset = name.span().start;
            let name = name.get_ref();
            let key = if prefix.is_empty() {
                name.to_string()
            } else {
                format!("{prefix}.{name}")
            };
            match value.get_ref() {
                DeValue::Table(inner) if prefix == "collections" => self.collection(name, inner, offset),
                DeValue::Table(inner) if prefix == "stores" => self.store(name, inner, offset),
                DeValue::Table(inner) if prefix == "processors" => self.processor(name, inner, offset),
                DeValue::Table(inner) if is_section(&key) => self.table(inner, &key),
                value if is_key(&key) => {
                    let source = Source::File {
                        path: self.path.to_owned(),
                        line: self.line(offset),
                    };
                    self.layer.values.insert(
                        key,
                        Said {
                            raw: raw_of(value),
                            source,
                        },
                    );
                }
                _ => self.problem(offset, &format!("unknown key {key:?}{}", suggestion(&key))),
            }
        }
    }

    fn collection(&mut self, name: &str, fields: &DeTable<'_>, offset: usize) {
        if is_name(name) {
            self.layer.collections.insert(name.to_owned());
            self.table(fields, &format!("collections.{name}"));
        } else {
            let message = format!(
                "a collection cannot be named {name:?}; use at most 63 lower-case letters, digits and hyphens"
            );
            self.problem(offset, &message);
        }
    }

    fn store(&mut self, name: &str, fields: &DeTable<'_>, offset: usize) {
        if name == MAIN_STORE {
            let message =
                "the store main is made of [store] and [s3], and its mode is storage.mode; name another one";
            self.problem(offset, message);
        } else if is_name(name) {
            self.layer.stores.insert(name.to_owned());
            self.table(fields, &format!("stores.{name}"));
        } else {
            let message = format!(
                "a store cannot be named {name:?}; use at most 63 lower-case letters, digits and hyphens"
            );
            self.problem(offset, &message);
        }
    }

    fn processor(&mut self, name: &str, fields: &DeTable<'_>, offset: usize) {
        if is_name(name) {
            self.layer.processors.insert(name.to_owned());
            self.table(fields, &format!("processors.{name}"));
        } else {
            let message = format!(
                "a processor cannot be named {name:?}; use at most 63 lower-case letters, digits and hyphens"
            );
            self.problem(offset, &message);
        }
    }
}

fn is_section(key: &str) -> bool {
    key == "collections"
        || key == "processors"
        || key == "stores"
        || DESCRIPTORS.iter().any(|setting| {
            setting
                .key
                .strip_prefix(key)
                .is_some_and(|rest| rest.starts_with('.'))
        })
}

/// Whether a key is a setting, or a field of a collection, a store or a processor.
fn is_key(key: &str) -> bool {
    if let Some((_, field)) = processor_field(key) {
        return processors::FIELDS.iter().any(|known| known.name == field);
    }
    if let Some((_, field)) = store_field(key) {
        return stores::FIELDS.iter().any(|known| known.name == field);
    }
    match collection_field(key) {
        Some((_, field)) => FIELDS.iter().any(|known| known.name == field),
        None => DESCRIPTORS.iter().any(|setting| setting.key == key),
    }
}

/// `collections.photos.bucket` as `photos` and `bucket`.
fn collection_field(key: &str) -> Option<(&str, &str)> {
    key.strip_prefix("collections.")?.split_once('.')
}

/// `stores.archive.mode` as `archive` and `mode`.
fn store_field(key: &str) -> Option<(&str, &str)> {
    key.strip_prefix("stores.")?.split_once('.')
}

/// `processors.ocr.command` as `ocr` and `command`.
fn processor_field(key: &str) -> Option<(&str, &str)> {
    key.strip_prefix("processors.")?.split_once('.')
}

/// `; did you mean "server.listen"?`, when there is something near.
fn suggestion(key: &str) -> String {
    let of_collection = collection_field(key).map(|(name, _)| {
        let fields = FIELDS.iter();
        fields
            .map(|field| format!("collections.{name}.{}", field.name))
            .collect::<Vec<_>>()
    });
    let of_store = store_field(key).map(|(name, _)| {
        let fields = stores::FIELDS.iter();
        fields
            .map(|field| format!("stores.{name}.{}", field.name))
            .collect::<Vec<_>>()
    });
    let of_processor = processor_field(key).map(|(name, _)| {
        let fields = processors::FIELDS.iter();
        fields
            .map(|field| format!("processors.{name}.{}", field.name))
            .collect::<Vec<_>>()
    });
    let fields = of_collection.or(of_store).or(of_processor).unwrap_or_default();
    let known = DESCRIPTORS
        .iter()
        .map(|setting| setting.key.to_owned())
        .chain(fields);
    nearest(key, known)
        .map(|near| format!("; did you mean {near:?}?"))
        .unwrap_or_default()
}

fn raw_of(value: &DeValue<'_>) -> Raw {
    match value {
        DeValue::String(text) => Raw::Text(text.to_string()),
        DeValue::Integer(integer) => match i64::from_str_radix(integer.as_str(), integer.radix()) {
            Ok(integer) => Raw::Integer(integer),
            Err(_) => Raw::Other("an integer beyond 64 bits"),
        },
        DeValue::Float(float) => float
            .as_str()
            .parse()
            .map_or(Raw::Other("a decimal number out of range"), Raw::Float),
        DeValue::Boolean(value) => Raw::Boolean(*value),
        DeValue::Array(items) => list_of(items),
        DeValue::Datetime(_) => Raw::Other("a date"),
        DeValue::Table(_) => Raw::Other("a table"),
    }
}

fn list_of(items: &DeArray<'_>) -> Raw {
    let texts = items.iter().map(|item| match item.get_ref() {
        DeValue::String(text) => Some(text.to_string()),
        _ => None,
    });
    texts
        .collect::<Option<Vec<_>>>()
        .map_or(Raw::Other("a list of other things than texts"), Raw::List)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn toml(text: &str) -> Layer {
        from_toml(text, Path::new("c.toml"))
    }

    fn problems(layer: &Layer) -> Vec<String> {
        layer.problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_file_gives_values_with_their_lines() {
        let layer = toml(
            "data_dir = \"/d\"\n[server]\nlisten = \":1\"\n\n[collections.photos]\nsize_max = \"1MiB\"\n[collections.mine]\n",
        );
        assert_eq!(problems(&layer), [""; 0]);
        let line = |key: &str| match &layer.values[key].source {
            Source::File { line, .. } => *line,
            other => panic!("{other}"),
        };
        assert_eq!(
            [
                line("data_dir"),
                line("server.listen"),
                line("collections.photos.size_max")
            ],
            [1, 3, 6]
        );
        assert_eq!(
            layer.collections,
            BTreeSet::from(["photos".to_owned(), "mine".to_owned()])
        );
    }

    #[test]
    fn every_unknown_key_is_named_with_the_nearest_one() {
        let layer = toml(
            "sever = 1\n[server]\nlistn = \":1\"\n[collections.photos]\nsizemax = 1\n[collections.Bad]\n[a.b.c]\nd = 1\n",
        );
        assert_eq!(
            problems(&layer),
            [
                "c.toml:1: unknown key \"sever\"",
                "c.toml:3: unknown key \"server.listn\"; did you mean \"server.listen\"?",
                "c.toml:5: unknown key \"collections.photos.sizemax\"; did you mean \"collections.photos.size_max\"?",
                "c.toml:6: a collection cannot be named \"Bad\"; use at most 63 lower-case letters, digits and hyphens",
                "c.toml:7: unknown key \"a\"",
            ]
        );
    }

    #[test]
    fn text_that_is_not_toml_is_named_by_its_line_and_not_repeated() {
        let layer = toml("[s3]\nsecret_key = \"hush\n");
        assert_eq!(layer.problems.len(), 1);
        assert!(problems(&layer)[0].starts_with("c.toml:2: ") && !problems(&layer)[0].contains("hush"));
    }
}
