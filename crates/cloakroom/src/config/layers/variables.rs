//! Variables: the environment, and the file `.env`.

use std::collections::BTreeMap;
use std::path::Path;

use super::{Known, Layer, Problem, Said, Source, nearest};
use crate::config::aliases::{COLLECTION_ALIASES, NOT_SETTINGS};
use crate::config::collections::FIELDS;
use crate::config::settings::{DESCRIPTORS, environment_name};
use crate::config::values::Raw;
use crate::config::{processors, stores};

/// Environment variables, as the process has them or as a `.env` file spells them.
pub type Variables = BTreeMap<String, String>;

/// Reads the text of a `.env` file. Of a name that stands there twice, the first counts.
pub fn parse_dotenv(text: &str, path: &Path) -> (Variables, Vec<Problem>) {
    let mut variables = Variables::new();
    let text = text.trim_start_matches('\u{feff}');
    let mut last: Option<String> = None;
    for item in dotenvy::from_read_iter(text.as_bytes()) {
        let Ok((name, value)) = item else {
            // The error quotes the line, which may hold a secret.
            let after = last
                .map(|name| format!(" (the last variable that was read is {name})"))
                .unwrap_or_default();
            let message = format!("{}: a line is not NAME=value{after}", path.display());
            return (variables, vec![Problem(message)]);
        };
        last = Some(name.clone());
        variables.entry(name).or_insert(value);
    }
    (variables, Vec::new())
}

/// Reads settings out of variables. Fields of the tables that are `known` may be named.
/// An empty variable is an absent one: that is how compose files pass on what is not set.
pub fn from_variables(variables: &Variables, known: &Known, source: &dyn Fn(&str) -> Source) -> Layer {
    let mut layer = Layer::default();
    for setting in DESCRIPTORS {
        let own = setting.environment_name();
        let names: Vec<&str> = std::iter::once(own.as_str())
            .chain(setting.aliases.iter().copied())
            .collect();
        let normalise = |text: &str| {
            let shown = if setting.secret {
                None
            } else {
                (setting.check)(&Raw::Text(text.to_owned())).ok()
            };
            shown.unwrap_or_else(|| text.trim().to_owned())
        };
        take(
            &mut layer,
            variables,
            setting.key,
            &names,
            setting.secret,
            &normalise,
            source,
        );
    }
    for (key, secret) in fields_of_tables(known) {
        let own = environment_name(&key);
        let trimmed = |text: &str| text.trim().to_owned();
        take(
            &mut layer,
            variables,
            &key,
            &[own.as_str()],
            secret,
            &trimmed,
            source,
        );
    }
    for collection in &known.collections {
        for field in FIELDS {
            let key = format!("collections.{collection}.{}", field.name);
            let own = environment_name(&key);
            let aliases = COLLECTION_ALIASES
                .iter()
                .filter(|(_, target)| *target == key)
                .map(|(name, _)| *name);
            let names: Vec<&str> = std::iter::once(own.as_str()).chain(aliases).collect();
            take(
                &mut layer,
                variables,
                &key,
                &names,
                false,
                &|text| text.trim().to_owned(),
                source,
            );
        }
    }
    layer.notices.extend(unknown_variables(variables, known));
    layer
}

/// The fields of every store and processor by their keys, and whether each is a secret.
fn fields_of_tables(known: &Known) -> Vec<(String, bool)> {
    let of_stores = known.stores.iter().flat_map(|name| {
        let fields = stores::FIELDS.iter();
        fields.map(move |field| (format!("stores.{name}.{}", field.name), field.secret))
    });
    let of_processors = known.processors.iter().flat_map(|name| {
        let fields = processors::FIELDS.iter();
        fields.map(move |field| (format!("processors.{name}.{}", field.name), field.secret))
    });
    of_stores.chain(of_processors).collect()
}

/// Takes the value of one key from its names. Names that disagree are a problem that names both.
fn take(
    layer: &mut Layer,
    variables: &Variables,
    key: &str,
    names: &[&str],
    secret: bool,
    normalise: &dyn Fn(&str) -> String,
    source: &dyn Fn(&str) -> Source,
) {
    let mut first: Option<(String, String)> = None;
    for name in names {
        let (spelled, value) = match value_of(variables, name, secret) {
            Ok(Some(found)) => found,
            Ok(None) => continue,
            Err(problem) => {
                layer.problems.push(problem);
                continue;
            }
        };
        match &first {
            None => first = Some((spelled, value)),
            Some((earlier, other)) if normalise(other) != normalise(&value) => {
                layer.problems.push(Problem(format!(
                    "{earlier} and {spelled} both mean {key}, and have different values; set one of them"
                )));
            }
            Some(_) => {}
        }
    }
    if let Some((name, value)) = first {
        layer.values.insert(
            key.to_owned(),
            Said {
                raw: Raw::Text(value),
                source: source(&name),
            },
        );
    }
}

/// A variable's name as it was found, and its value; secrets also come from the file that `<NAME>_FILE` names.
fn value_of(variables: &Variables, name: &str, secret: bool) -> Result<Option<(String, String)>, Problem> {
    let plain = variables.get(name).filter(|value| !value.trim().is_empty());
    let file_name = format!("{name}_FILE");
    let path = variables
        .get(&file_name)
        .filter(|value| secret && !value.trim().is_empty());
    match (plain, path) {
        (None, None) => Ok(None),
        (Some(value), None) => Ok(Some((name.to_owned(), value.clone()))),
        (Some(_), Some(_)) => Err(Problem(format!(
            "{name} and {file_name} are both set; set one of them"
        ))),
        (None, Some(path)) => match std::fs::read_to_string(path.trim()) {
            Ok(text) => Ok(Some((file_name, text.trim_end_matches(['\r', '\n']).to_owned()))),
            Err(error) => Err(Problem(format!(
                "{file_name}: cannot read {}: {error}",
                path.trim()
            ))),
        },
    }
}

/// Variables that look like ours and are not. A notice, not a problem: Kubernetes sets `CLOAKROOM_PORT` and more in
/// every pod beside a service of this name.
fn unknown_variables(variables: &Variables, tables: &Known) -> Vec<String> {
    let mut known: Vec<String> = NOT_SETTINGS.iter().map(|name| (*name).to_owned()).collect();
    for setting in DESCRIPTORS {
        known.push(setting.environment_name());
        if setting.secret {
            known.push(format!("{}_FILE", setting.environment_name()));
        }
    }
    for (key, secret) in fields_of_tables(tables) {
        let name = environment_name(&key);
        if secret {
            known.push(format!("{name}_FILE"));
        }
        known.push(name);
    }
    for collection in &tables.collections {
        known.extend(
            FIELDS
                .iter()
                .map(|field| environment_name(&format!("collections.{collection}.{}", field.name))),
        );
    }
    let unknown = variables
        .keys()
        .filter(|name| name.starts_with("CLOAKROOM_") && !known.contains(name));
    let describe = |name: &String| {
        let near = nearest(name, known.iter().cloned());
        let near = near
            .map(|near| format!("; did you mean {near}?"))
            .unwrap_or_default();
        format!("{name} is not a setting and is not used{near}")
    };
    unknown.map(describe).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn variables(pairs: &[(&str, &str)]) -> Variables {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    fn environment(pairs: &[(&str, &str)]) -> Layer {
        let known = Known {
            collections: BTreeSet::from(["reconciliation".to_owned()]),
            stores: BTreeSet::from(["cold-one".to_owned()]),
            processors: BTreeSet::from(["ocr".to_owned()]),
        };
        from_variables(&variables(pairs), &known, &|name| Source::Environment {
            name: name.to_owned(),
        })
    }

    fn problems(layer: &Layer) -> Vec<String> {
        layer.problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn aliases_that_agree_are_one_value() {
        let layer = environment(&[
            ("S3_USE_SSL", "false"),
            ("MINIO_SECURE", "False"),
            ("MINIO_REGION", "eu-1"),
        ]);
        assert_eq!(problems(&layer), [""; 0]);
        assert_eq!(
            layer.values["s3.use_ssl"].source.to_string(),
            "environment S3_USE_SSL"
        );
        assert_eq!(layer.values["s3.region"].raw, Raw::Text("eu-1".into()));
    }

    #[test]
    fn aliases_that_disagree_are_both_named_without_their_values() {
        let layer = environment(&[
            ("S3_SECRET_KEY", "one-secret"),
            ("MINIO_ROOT_PASSWORD", "two-secret"),
        ]);
        assert_eq!(
            problems(&layer),
            [
                "S3_SECRET_KEY and MINIO_ROOT_PASSWORD both mean s3.secret_key, and have different values; set one of them"
            ]
        );
    }

    #[test]
    fn secrets_come_from_files_too() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("secret");
        std::fs::write(&path, "hush-hush\n").expect("written");
        let path = path.to_str().expect("UTF-8");
        let layer = environment(&[("S3_SECRET_KEY_FILE", path)]);
        assert_eq!(layer.values["s3.secret_key"].raw, Raw::Text("hush-hush".into()));
        assert_eq!(
            layer.values["s3.secret_key"].source.to_string(),
            "environment S3_SECRET_KEY_FILE"
        );
        let both = environment(&[("S3_SECRET_KEY_FILE", path), ("S3_SECRET_KEY", "hush-hush")]);
        assert_eq!(
            problems(&both),
            ["S3_SECRET_KEY and S3_SECRET_KEY_FILE are both set; set one of them"]
        );
        let absent = environment(&[("S3_SECRET_KEY_FILE", "/nowhere/secret")]);
        assert!(problems(&absent)[0].starts_with("S3_SECRET_KEY_FILE: cannot read /nowhere/secret"));
        let no_secret = environment(&[("S3_REGION_FILE", path)]);
        assert!(no_secret.values.is_empty());
    }

    #[test]
    fn an_empty_variable_is_an_absent_one() {
        assert!(
            environment(&[("S3_REGION", " "), ("REDIS_URL", "")])
                .values
                .is_empty()
        );
    }

    #[test]
    fn what_has_no_effect_is_reported() {
        let layer = environment(&[("CLOAKROOM_SERVER_LISTN", "x"), ("CLOAKROOM_BIN", "x")]);
        assert_eq!(
            layer.notices,
            [
                "CLOAKROOM_SERVER_LISTN is not a setting and is not used; did you mean CLOAKROOM_SERVER_LISTEN?",
            ]
        );
    }

    #[test]
    fn collections_have_variables_and_aliases() {
        let layer = environment(&[
            ("MINIO_BUCKET_RECONCILIATION", "files-of-mine"),
            ("CLOAKROOM_COLLECTIONS_RECONCILIATION_SIZE_MAX", "5MiB"),
        ]);
        assert_eq!(
            layer.values["collections.reconciliation.bucket"].raw,
            Raw::Text("files-of-mine".into())
        );
        assert_eq!(
            layer.values["collections.reconciliation.size_max"].raw,
            Raw::Text("5MiB".into())
        );
    }

    #[test]
    fn stores_have_variables_and_their_secrets_files() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("secret");
        std::fs::write(&path, "hush-hush\n").expect("written");
        let path = path.to_str().expect("UTF-8");
        let layer = environment(&[
            ("CLOAKROOM_STORES_COLD_ONE_ENDPOINT", "http://cold.test"),
            ("CLOAKROOM_STORES_COLD_ONE_SECRET_KEY_FILE", path),
        ]);
        assert_eq!((problems(&layer), layer.notices.clone()), (vec![], vec![]));
        let value = |key: &str| layer.values[key].raw.clone();
        assert_eq!(
            value("stores.cold-one.endpoint"),
            Raw::Text("http://cold.test".into())
        );
        assert_eq!(value("stores.cold-one.secret_key"), Raw::Text("hush-hush".into()));
    }

    #[test]
    fn processors_have_variables_as_well() {
        let layer = environment(&[
            ("CLOAKROOM_PROCESSORS_OCR_COMMAND", "/bin/ocr,{input}"),
            ("CLOAKROOM_PROCESSORS_OCR_MEMRY", "1GiB"),
        ]);
        assert_eq!(
            layer.values["processors.ocr.command"].raw,
            Raw::Text("/bin/ocr,{input}".into())
        );
        assert_eq!(
            layer.notices,
            [
                "CLOAKROOM_PROCESSORS_OCR_MEMRY is not a setting and is not used; did you mean CLOAKROOM_PROCESSORS_OCR_MEMORY?"
            ]
        );
    }

    #[test]
    fn a_broken_dotenv_is_not_repeated() {
        let (read, problems) = parse_dotenv("A=1\nA=2\nB='x y'\nhush hush\n", Path::new(".env"));
        assert_eq!(read, variables(&[("A", "1"), ("B", "x y")]));
        assert_eq!(problems.len(), 1);
        assert!(!problems[0].0.contains("hush"), "{}", problems[0]);
    }
}
