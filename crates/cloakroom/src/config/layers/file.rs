//! The configuration file, in TOML or YAML: both are read into the same tree, so that a key means the same in either.

mod toml;
mod yaml;

use std::path::Path;

use cloakroom_core::storage::MAIN_STORE;

use super::{Layer, Problem, Said, Source, nearest};
use crate::config::collections::{FIELDS, is_name};
use crate::config::settings::DESCRIPTORS;
use crate::config::values::Raw;
use crate::config::{processors, stores};

/// What stands at a name of a file.
enum Node {
    /// Names below it.
    Table(Table),
    /// A value.
    Value(Raw),
    /// Nothing, which YAML can write: no names, or the empty value.
    Nothing,
}

/// Names with the lines on which they stand, from 1.
type Table = Vec<(String, usize, Node)>;

/// A text that cannot be read: the line, and why. Never the text itself, which may be a secret.
struct Unreadable(usize, String);

/// Reads the text of a configuration file: YAML where its name says so, else TOML.
pub fn from_file(text: &str, path: &Path) -> Layer {
    let extension = path.extension().and_then(|extension| extension.to_str());
    let is_yaml = extension.is_some_and(|extension| {
        let extension = extension.to_ascii_lowercase();
        extension == "yaml" || extension == "yml"
    });
    let read = if is_yaml { yaml::read } else { toml::read };
    let mut walk = Walk {
        path,
        layer: Layer::default(),
        problems: Vec::new(),
    };
    match read(text) {
        Ok(table) => walk.table(table, ""),
        Err(Unreadable(line, message)) => walk.problem(line, &message),
    }
    // Tables of TOML come in the order of their names; people read from top to bottom.
    walk.problems.sort();
    walk.layer.problems = walk
        .problems
        .into_iter()
        .map(|(_, message)| Problem(message))
        .collect();
    walk.layer
}

struct Walk<'a> {
    path: &'a Path,
    layer: Layer,
    problems: Vec<(usize, String)>,
}

impl Walk<'_> {
    fn problem(&mut self, line: usize, message: &str) {
        self.problems
            .push((line, format!("{}:{line}: {message}", self.path.display())));
    }

    fn table(&mut self, table: Table, prefix: &str) {
        for (name, line, node) in table {
            let key = if prefix.is_empty() {
                name.clone()
            } else {
                format!("{prefix}.{name}")
            };
            let is_table = |prefix: &str| matches!(prefix, "collections" | "stores" | "processors");
            let node = match node {
                Node::Nothing if is_table(prefix) || is_section(&key) => Node::Table(Table::new()),
                Node::Nothing => Node::Value(Raw::Text(String::new())),
                node => node,
            };
            match node {
                Node::Table(inner) if prefix == "collections" => self.collection(&name, inner, line),
                Node::Table(inner) if prefix == "stores" => self.store(&name, inner, line),
                Node::Table(inner) if prefix == "processors" => self.processor(&name, inner, line),
                Node::Table(inner) if is_section(&key) => self.table(inner, &key),
                node if is_key(&key) => {
                    let source = Source::File {
                        path: self.path.to_owned(),
                        line,
                    };
                    let raw = match node {
                        Node::Value(raw) => raw,
                        Node::Table(_) | Node::Nothing => Raw::Other("a table"),
                    };
                    self.layer.values.insert(key, Said { raw, source });
                }
                _ => self.problem(line, &format!("unknown key {key:?}{}", suggestion(&key))),
            }
        }
    }

    fn collection(&mut self, name: &str, fields: Table, line: usize) {
        if is_name(name) {
            self.layer.collections.insert(name.to_owned());
            self.table(fields, &format!("collections.{name}"));
        } else {
            let message = format!(
                "a collection cannot be named {name:?}; use at most 63 lower-case letters, digits and hyphens"
            );
            self.problem(line, &message);
        }
    }

    fn store(&mut self, name: &str, fields: Table, line: usize) {
        if name == MAIN_STORE {
            let message =
                "the store main is made of [store] and [s3], and its mode is storage.mode; name another one";
            self.problem(line, message);
        } else if is_name(name) {
            self.layer.stores.insert(name.to_owned());
            self.table(fields, &format!("stores.{name}"));
        } else {
            let message = format!(
                "a store cannot be named {name:?}; use at most 63 lower-case letters, digits and hyphens"
            );
            self.problem(line, &message);
        }
    }

    fn processor(&mut self, name: &str, fields: Table, line: usize) {
        if is_name(name) {
            self.layer.processors.insert(name.to_owned());
            self.table(fields, &format!("processors.{name}"));
        } else {
            let message = format!(
                "a processor cannot be named {name:?}; use at most 63 lower-case letters, digits and hyphens"
            );
            self.problem(line, &message);
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn toml(text: &str) -> Layer {
        from_file(text, Path::new("c.toml"))
    }

    fn yaml(text: &str) -> Layer {
        from_file(text, Path::new("c.yaml"))
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

    #[test]
    fn yaml_means_the_same_as_toml() {
        let layer = yaml(
            "# a comment\ndata_dir: /d\nserver:\n  listen: ':1'\n  cors_origins: [\"https://a.example\", b]\n\
             metrics:\n  enabled: false\nretry: {max_attempts: 0x10, exponential_base: 1.5}\nlog:\ncollections:\n  photos:\n    \
             size_max: 1MiB\n  mine:\n",
        );
        assert_eq!(problems(&layer), [""; 0]);
        let said = |key: &str| {
            let said = &layer.values[key];
            (said.raw.clone(), said.source.to_string())
        };
        let text = |text: &str| Raw::Text(text.to_owned());
        let expected = [
            ("data_dir", text("/d"), 2),
            ("server.listen", text(":1"), 4),
            (
                "server.cors_origins",
                Raw::List(vec!["https://a.example".into(), "b".into()]),
                5,
            ),
            ("metrics.enabled", Raw::Boolean(false), 7),
            ("retry.max_attempts", Raw::Integer(16), 8),
            ("retry.exponential_base", Raw::Float(1.5), 8),
            ("collections.photos.size_max", text("1MiB"), 12),
        ];
        for (key, raw, line) in expected {
            assert_eq!(said(key), (raw, format!("c.yaml:{line}")), "{key}");
        }
        assert_eq!(layer.values.len(), 7);
        assert_eq!(
            layer.collections,
            BTreeSet::from(["photos".to_owned(), "mine".to_owned()])
        );
    }

    #[test]
    fn yaml_that_is_not_plain_is_refused_by_its_line() {
        for (text, start) in [
            (
                "server:\n  listn: ':1'\n",
                "c.yaml:2: unknown key \"server.listn\"; did you mean",
            ),
            ("a: &x 1\nb: *x\n", "c.yaml:1: anchors, aliases"),
            ("data_dir: !!str /d\n", "c.yaml:1: anchors, aliases"),
            (
                "data_dir: /a\ndata_dir: /b\n",
                "c.yaml:2: the name \"data_dir\" stands twice",
            ),
            ("data_dir: /a\n---\ndata_dir: /b\n", "c.yaml:"),
            ("- a\n", "c.yaml:1: a configuration file is a mapping"),
            ("[a]: b\n", "c.yaml:1: a name is a text"),
            ("s3:\n  secret_key: \"hush\n", "c.yaml:"),
            ("s3: [hush\n", "c.yaml:"),
        ] {
            let found = problems(&yaml(text));
            assert_eq!(found.len(), 1, "{text}: {found:?}");
            assert!(
                found[0].starts_with(start) && !found[0].contains("hush"),
                "{found:?}"
            );
        }
        for empty in ["", "# nothing\n", "---\n", "~\n"] {
            assert_eq!(problems(&yaml(empty)), [""; 0], "{empty:?}");
        }
        let deep = "a:\n".to_owned() + &(1..40).map(|n| " ".repeat(n) + "a:\n").collect::<String>();
        assert!(problems(&yaml(&deep))[0].contains("deeper"));
    }
}
