//! Stores beside the main one, and what is said of connections that there are not.

use cloakroom_core::storage::StorageMode;

use super::super::adapters::Store;
use super::super::checks::{missing_for_serving, missing_for_working};
use super::*;

const TWO: &str = "\
[stores.archive]
endpoint = \"https://cold.test\"
access_key = \"AK\"
secret_key = \"hush-hush-hush\"
buckets = [\"archive\"]
mode = \"ar\"
capacity = \"5TiB\"

[collections.papers]
store = \"archive\"

[collections.scans]
bucket = \"archive\"

[collections.notes]
archive_bucket = \"notes-archive\"
";

#[test]
fn a_collection_is_in_the_store_that_it_names_or_that_has_its_bucket() {
    let config = fixture().file("cloakroom.toml", TWO).load();
    let place = |name: &str| {
        let collection = &config.collections[name];
        (collection.store.as_str(), collection.bucket.as_str())
    };
    assert_eq!(place("papers"), ("archive", "archive"));
    assert_eq!(place("scans"), ("archive", "archive"));
    assert_eq!(place("files"), ("main", "cloakroom"));
    let buckets = |name: &str| config.buckets_of(name).into_iter().collect::<Vec<_>>();
    assert_eq!(buckets("archive"), ["archive"]);
    assert!(buckets("main").contains(&"cloakroom") && buckets("main").contains(&"notes-archive"));
    assert!(!buckets("main").contains(&"archive"));
    let archive = config.of_store("archive");
    assert_eq!(
        archive.settings.store(),
        Store::S3("https://cold.test".to_owned())
    );
    assert_eq!(archive.settings.storage_mode, Some(StorageMode::Ar));
    assert_eq!(archive.settings.store_capacity.map(|size| size.0), Some(5 << 40));
    assert_eq!(
        archive.collections.keys().collect::<Vec<_>>(),
        ["papers", "scans"]
    );
    assert_eq!(config.of_store("main").settings.store(), Store::Local);
    assert_eq!(
        value_and_source(&config, "stores.archive.mode"),
        ("ar".into(), "cloakroom.toml:6".into())
    );
    assert_eq!(
        value_and_source(&config, "stores.archive.secret_key").0,
        "********"
    );
    assert_eq!(value_and_source(&config, "collections.scans.store").0, "archive");
}

#[test]
fn the_main_store_has_its_mode_under_its_own_names() {
    let mode = |fixture: Fixture| fixture.load().settings.storage_mode;
    assert_eq!(mode(fixture()), None);
    assert_eq!(
        mode(fixture().environment("STORAGE_MODE", "RO")),
        Some(StorageMode::Ro)
    );
    assert_eq!(
        mode(fixture().file("cloakroom.toml", "[storage]\nmode = \"rw\"\n")),
        Some(StorageMode::Rw)
    );
    assert_eq!(
        fixture().environment("STORAGE_MODE", "open").problems(),
        ["storage.mode must be edit, rw, ro or ar, not \"open\" (environment STORAGE_MODE)"]
    );
}

#[test]
fn every_contradiction_names_its_key() {
    let table = [
        (
            "[stores.main]\nmode = \"rw\"\n",
            "cloakroom.toml:1: the store main is made of [store] and [s3], and its mode is storage.mode; name another one",
        ),
        (
            "[stores.Cold]\n",
            "cloakroom.toml:1: a store cannot be named \"Cold\"; use at most 63 lower-case letters, digits and hyphens",
        ),
        (
            "[stores.cold]\nendpont = \"http://a\"\n",
            "cloakroom.toml:2: unknown key \"stores.cold.endpont\"; did you mean \"stores.cold.endpoint\"?",
        ),
        (
            "[stores.cold]\nmode = \"wo\"\n",
            "stores.cold.mode must be edit, rw, ro or ar, not \"wo\" (cloakroom.toml:2)",
        ),
        (
            "[stores.cold]\nkind = \"local\"\nendpoint = \"http://a.test\"\n",
            "stores.cold.endpoint is set, and the store is local: remove it, or set kind to s3",
        ),
        (
            "[stores.cold]\ndirectory = \"x\"\nendpoint = \"http://a.test\"\n",
            "stores.cold.directory is set, and the store is an S3 service: remove it, or remove endpoint",
        ),
        (
            "[stores.cold]\nstorage_class = \"GLACIER_IR\"\n",
            "stores.cold.storage_class is set, and a local store has none: remove it, or set endpoint",
        ),
        (
            "[stores.cold]\nendpoint = \"http://a.test\"\naccess_key = \"x\"\n",
            "stores.cold.access_key is set and secret_key is not",
        ),
        (
            "[collections.papers]\nstore = \"cellar\"\n",
            "collections.papers.store names \"cellar\"; there are main",
        ),
        (
            "[stores.a]\nbuckets = [\"one\"]\n[stores.b]\nbuckets = [\"one\"]\n",
            "stores.b.buckets and stores.a.buckets both name the bucket one, which can be in one store alone",
        ),
        (
            "[stores.a]\nbuckets = [\"one\"]\n[collections.papers]\nstore = \"main\"\nbucket = \"one\"\n",
            "collections.papers.bucket is one, in the store main, and stores.a.buckets has the same bucket in the store a: a bucket can be in one store alone",
        ),
        (
            "[stores.a]\n[collections.papers]\nstore = \"a\"\nbucket = \"cloakroom\"\n",
            "collections.papers.bucket is cloakroom, in the store a, and collections.files.bucket has the same bucket in the store main: a bucket can be in one store alone",
        ),
    ];
    for (text, expected) in table {
        let problems = fixture().file("cloakroom.toml", text).problems();
        assert_eq!(problems, [expected], "{text}");
    }
}

#[test]
fn what_a_store_lacks_is_named() {
    let missing = |config: &Config| -> Vec<String> {
        let missing = missing_for_serving(config, true);
        missing.into_iter().map(|problem| problem.0).collect()
    };
    let without_keys = fixture().file(
        "cloakroom.toml",
        "[stores.cold]\nendpoint = \"http://cold.test\"\n",
    );
    assert_eq!(
        missing(&without_keys.load()),
        [
            "no credentials for the S3 service at http://cold.test: set stores.cold.access_key and stores.cold.secret_key"
        ]
    );
    // Several processes share no directory.
    let shared = fixture()
        .environment("DATABASE_URL", "postgres://a@db/x")
        .environment("S3_ENDPOINT", "http://s3.test")
        .environment("S3_ACCESS_KEY", "access-key-7")
        .environment("S3_SECRET_KEY", "secret-key-7")
        .file("cloakroom.toml", "[stores.disk]\ndirectory = \"/x\"\n");
    let config = shared.load();
    assert!(!config.is_shared() && config.has_local_store() && config.needs_data_dir(false));
    let working = missing_for_working(&config);
    assert!(working[0].0.starts_with("stores.disk is local"), "{working:?}");
    let serving = missing_for_serving(&config, false);
    let keys = "no credentials for the S3 endpoint of the local store disk";
    assert!(
        serving.iter().any(|problem| problem.0.starts_with(keys)),
        "{serving:?}"
    );
}

#[test]
fn encryption_of_no_connection_is_a_problem() {
    for name in ["S3_USE_SSL", "MINIO_SECURE"] {
        let [problem] = &fixture().environment(name, "true").problems()[..] else {
            panic!("one problem")
        };
        assert!(
            problem.starts_with("s3.use_ssl is true, and there is no S3 address"),
            "{problem}"
        );
        assert_eq!(fixture().environment(name, "false").problems(), [""; 0]);
    }
    let behind_a_proxy = fixture()
        .environment("S3_USE_SSL", "true")
        .environment("CLOAKROOM_S3_PUBLIC_URL", "files.example");
    assert_eq!(
        behind_a_proxy.load().settings.s3_public_address().as_deref(),
        Some("https://files.example")
    );
    let aws = fixture()
        .environment("S3_USE_SSL", "true")
        .environment("CLOAKROOM_STORE_KIND", "s3");
    assert_eq!(aws.problems(), [""; 0]);
}
