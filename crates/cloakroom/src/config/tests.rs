use std::path::Path;

use cloakroom_signing::Addressing;
use proptest::prelude::*;

use super::adapters::{Database, Store};
use super::checks::{missing_for_serving, missing_for_working};
use super::*;

mod processors;
mod scanning;
mod stores;

struct Fixture {
    directory: tempfile::TempDir,
    inputs: Inputs,
}

fn fixture() -> Fixture {
    let directory = tempfile::tempdir().expect("a directory");
    let inputs = Inputs {
        directory: directory.path().to_owned(),
        ..Inputs::default()
    };
    Fixture { directory, inputs }
}

impl Fixture {
    fn file(self, name: &str, text: &str) -> Self {
        std::fs::write(self.directory.path().join(name), text).expect("written");
        self
    }

    fn environment(mut self, name: &str, value: &str) -> Self {
        self.inputs.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    fn flag(mut self, key: &'static str, value: &str, flag: &'static str) -> Self {
        self.inputs.flags.push((key, value.to_owned(), flag));
        self
    }

    fn dev(mut self) -> Self {
        self.inputs.dev = true;
        self
    }

    fn load(&self) -> Config {
        load(&self.inputs).unwrap_or_else(|problems| panic!("{problems:?}"))
    }

    fn problems(&self) -> Vec<String> {
        load(&self.inputs)
            .err()
            .unwrap_or_default()
            .iter()
            .map(ToString::to_string)
            .collect()
    }
}

fn value_and_source(config: &Config, key: &str) -> (String, String) {
    let origin = config
        .origins
        .iter()
        .find(|origin| origin.key == key)
        .expect("a key");
    (origin.value.clone(), origin.source.to_string())
}

#[test]
fn each_layer_is_stronger_than_the_one_before() {
    let key = "s3.region";
    let fixture = fixture();
    assert_eq!(
        value_and_source(&fixture.load(), key),
        ("us-east-1".into(), "default".into())
    );
    let fixture = fixture.file("cloakroom.toml", "[s3]\nregion = \"from-file\"\n");
    assert_eq!(
        value_and_source(&fixture.load(), key),
        ("from-file".into(), "cloakroom.toml:2".into())
    );
    let fixture = fixture.file(".env", "S3_REGION=from-dotenv\n");
    assert_eq!(
        value_and_source(&fixture.load(), key),
        ("from-dotenv".into(), ".env S3_REGION".into())
    );
    // Another name of the same setting: the environment still wins, and this is no disagreement.
    let fixture = fixture.environment("MINIO_REGION", "from-environment");
    assert_eq!(
        value_and_source(&fixture.load(), key),
        ("from-environment".into(), "environment MINIO_REGION".into())
    );
    let fixture = fixture.flag(key, "from-flag", "--region");
    assert_eq!(
        value_and_source(&fixture.load(), key),
        ("from-flag".into(), "--region".into())
    );
    assert_eq!(fixture.load().settings.s3_region.as_str(), "from-flag");
}

#[test]
fn a_named_file_must_be_there() {
    let named = fixture().environment("CLOAKROOM_CONFIG", "other.toml");
    assert!(named.problems()[0].starts_with("cannot read the configuration file other.toml: "));
    let named = named.file("other.toml", "debug = true\n");
    assert!(named.load().settings.debug);
    let mut by_flag = named.file("third.toml", "debug = false\n");
    by_flag.inputs.config_file = Some("third.toml".into());
    assert!(!by_flag.load().settings.debug);
}

#[test]
fn all_problems_are_reported_at_once_with_their_place() {
    let text = "[server]\nlisten = 8000\n[worker]\nconcurrency = 0\ncolour = \"red\"\n[collections.photos]\nsize_max = \"9TiB\"\n";
    let fixture = fixture()
        .file("cloakroom.toml", text)
        .environment("S3_REGION", "a")
        .environment("MINIO_REGION", "b");
    assert_eq!(
        fixture.problems(),
        [
            "S3_REGION and MINIO_REGION both mean s3.region, and have different values; set one of them",
            "cloakroom.toml:5: unknown key \"worker.colour\"",
            "server.listen must be an address and port such as 127.0.0.1:8000 or [::]:8000, not an integer (cloakroom.toml:2)",
            "worker.concurrency must be from 1 to 256, not 0 (cloakroom.toml:4)",
        ]
    );
    let fixture =
        super::tests::fixture().file("cloakroom.toml", "[collections.photos]\nsize_max = \"9TiB\"\n");
    assert_eq!(
        fixture.problems(),
        ["collections.photos.size_max must be at most 5TiB, the largest object of S3 (cloakroom.toml:2)"]
    );
}

#[test]
fn a_mistake_is_reported_even_where_a_stronger_layer_hides_it() {
    let fixture = fixture()
        .file("cloakroom.toml", "[worker]\nlease = \"soon\"\n")
        .environment("CLOAKROOM_WORKER_LEASE", "1m");
    assert_eq!(
        fixture.problems(),
        ["worker.lease must be a duration such as 30s, 15m, 24h or 7d, not \"soon\" (cloakroom.toml:2)"]
    );
}

#[test]
fn secrets_are_masked_everywhere() {
    let fixture = fixture()
        .environment("S3_ACCESS_KEY", "AKHUSH")
        .environment("S3_SECRET_KEY", "hush-hush-hush");
    let config = fixture.load();
    let shown = format!("{}{}{config:?}", show::table(&config), show::json(&config));
    assert!(
        !shown.contains("hush-hush") && !shown.contains("AKHUSH"),
        "{shown}"
    );
    assert_eq!(
        value_and_source(&config, "s3.secret_key"),
        ("********".into(), "environment S3_SECRET_KEY".into())
    );
    let short = super::tests::fixture()
        .environment("S3_ACCESS_KEY", "AKHUSH")
        .environment("S3_SECRET_KEY", "hushhu");
    assert_eq!(
        short.problems(),
        ["s3.secret_key must have at least 8 characters"]
    );
}

#[test]
fn credentials_that_everybody_knows_are_for_development_only() {
    let known = fixture()
        .environment("MINIO_ROOT_USER", "minioadmin")
        .environment("MINIO_ROOT_PASSWORD", "minioadmin");
    assert_eq!(known.problems().len(), 1);
    assert!(
        known.problems()[0].contains("a default that everybody knows"),
        "{:?}",
        known.problems()
    );
    assert!(known.dev().load().settings.s3_secret_key.is_some());
}

#[test]
fn half_of_a_pair_is_a_problem() {
    let half = fixture().environment("S3_ACCESS_KEY", "AK1234567");
    assert_eq!(half.problems(), ["s3.access_key is set and s3.secret_key is not"]);
}

#[test]
fn the_scheme_of_an_address_and_use_ssl_agree() {
    let secure = fixture()
        .environment("MINIO_ENDPOINT", "minio:9000")
        .environment("MINIO_SECURE", "true");
    assert_eq!(
        secure.load().settings.s3_public_address().as_deref(),
        Some("https://minio:9000")
    );
    let plain = fixture()
        .environment("S3_ENDPOINT", "http://a:1")
        .environment("S3_PRESIGN_ENDPOINT", "http://b:2/");
    let settings = plain.load().settings;
    assert_eq!(settings.s3_public_address().as_deref(), Some("http://b:2"));
    assert_eq!(settings.store(), Store::S3("http://a:1".into()));
    let contradiction = plain.environment("S3_USE_SSL", "true");
    assert_eq!(
        contradiction.problems(),
        [
            "s3.public_url is an http address, and s3.use_ssl is true",
            "s3.endpoint is an http address, and s3.use_ssl is true"
        ]
    );
}

#[test]
fn both_endpoints_on_one_port_is_a_problem() {
    let same = fixture().environment("CLOAKROOM_SERVER_LISTEN", ":9000");
    assert_eq!(
        same.problems(),
        ["server.listen and s3.listen are both port 9000"]
    );
    let free = fixture().flag("server.listen", "127.0.0.1:0", "--listen").flag(
        "s3.listen",
        "127.0.0.1:0",
        "--s3-listen",
    );
    assert_eq!(free.problems(), [""; 0]);
    // An S3 service listens elsewhere.
    let elsewhere = super::tests::fixture()
        .environment("CLOAKROOM_SERVER_LISTEN", ":9000")
        .environment("S3_ENDPOINT", "http://minio:9000");
    assert_eq!(elsewhere.problems(), [""; 0]);
}

#[test]
fn collections_inherit_and_are_overridden() {
    let text = "[collections.photos]\nsize_max = \"1MiB\"\n[collections.mine]\ndescription = \"Mine.\"\nextensions = [\"TXT\"]\n";
    let config = fixture().file("cloakroom.toml", text).load();
    let photos = &config.collections["photos"];
    assert_eq!(
        (photos.size_bytes_max, photos.upload_expires_seconds),
        (1 << 20, 300)
    );
    assert_eq!(config.collections["mine"].extensions, ["txt"]);
    assert_eq!(config.collections["mine"].bucket, "cloakroom");
    assert_eq!(config.collections.len(), presets::presets().len() + 1);
    assert_eq!(
        value_and_source(&config, "collections.photos.size_max"),
        ("1MiB".into(), "cloakroom.toml:2".into())
    );
    assert_eq!(value_and_source(&config, "collections.photos.bucket").1, "preset");
    assert_eq!(value_and_source(&config, "collections.mine.bucket").1, "default");
}

#[test]
fn settings_for_all_collections_yield_to_their_own() {
    let fixture = fixture()
        .file(
            "cloakroom.toml",
            "[collections.documents]\nbucket = \"archive\"\nupload_expires = \"1h\"\n",
        )
        .environment("S3_BUCKET", "prod-files")
        .environment("MINIO_BUCKET_RECONCILIATION", "recon")
        .environment("S3_PRESIGN_EXPIRY_SECONDS_UPLOAD", "120");
    let config = fixture.load();
    let bucket = |name: &str| config.collections[name].bucket.as_str();
    assert_eq!(
        [bucket("photos"), bucket("documents"), bucket("reconciliation")],
        ["prod-files", "archive", "recon"]
    );
    // One bucket is one bucket: no preset brings another for its archive.
    assert_eq!(
        config.collections["reconciliation"].retention.archive_bucket,
        None
    );
    assert!(!config.buckets.contains("reconciliation-archive"));
    let [notice] = config.notices.as_slice() else {
        panic!("{:?}", config.notices)
    };
    let key = "collections.reconciliation.archive_bucket";
    assert!(
        notice.starts_with("s3.bucket (S3_BUCKET)") && notice.contains(key),
        "{notice}"
    );
    let expires = |name: &str| config.collections[name].upload_expires_seconds;
    assert_eq!([expires("photos"), expires("documents")], [120, 3600]);
    assert_eq!(
        value_and_source(&config, "collections.photos.upload_expires").1,
        "uploads.expires"
    );
}

#[test]
fn debug_raises_the_log_level_unless_one_is_set() {
    assert_eq!(fixture().load().log_filter(), "info");
    let debug = fixture().environment("DEBUG", "1");
    assert_eq!(debug.load().log_filter(), "debug");
    assert_eq!(debug.environment("RUST_LOG", "warn").load().log_filter(), "warn");
}

#[test]
fn development_has_other_defaults() {
    assert_eq!(fixture().dev().load().settings.s3_cors_origins, ["*"]);
    assert!(fixture().load().settings.s3_cors_origins.is_empty());
}

#[test]
fn a_server_needs_keys_and_credentials() {
    let bare = fixture().load();
    assert_eq!(missing_for_serving(&bare, false).len(), 2);
    assert_eq!(missing_for_serving(&bare, true), []);
    let ready = fixture()
        .environment("CLOAKROOM_AUTH_JWKS_FILE", "keys.json")
        .environment("S3_ACCESS_KEY", "AK1234567")
        .environment("S3_SECRET_KEY", "a-secret-of-mine")
        .load();
    assert_eq!(missing_for_serving(&ready, false), []);
}

#[test]
fn addresses_alone_choose_the_adapters() {
    let embedded = fixture().load().settings;
    assert_eq!(
        (embedded.database(), embedded.store()),
        (Database::Sqlite(None), Store::Local)
    );
    assert!(embedded.needs_data_dir(false) && !embedded.is_shared());
    let grown = fixture()
        .environment("DATABASE_URL", "postgresql+asyncpg://ann:hush@db/files")
        .environment("S3_ENDPOINT_URL", "http://ceph:8080")
        .environment("REDIS_URL", "redis://:hush@cache:6379/0");
    let config = grown.load();
    let settings = &config.settings;
    assert_eq!(settings.store(), Store::S3("http://ceph:8080".into()));
    assert_eq!(
        settings.database_description().to_string(),
        "PostgreSQL at postgresql://ann:********@db/files"
    );
    assert!(settings.is_shared() && !settings.needs_data_dir(false) && settings.needs_data_dir(true));
    let shown = format!("{}{}{config:?}", show::table(&config), show::json(&config));
    assert!(!shown.contains("hush"), "{shown}");
    let half = fixture()
        .environment("DATABASE_URL", "postgres://db/files")
        .load()
        .settings;
    assert!(half.needs_data_dir(false) && !half.is_shared());
    let file = fixture()
        .environment("DATABASE_URL", "sqlite:///var/lib/files.db")
        .environment("S3_ENDPOINT", "http://ceph")
        .load();
    assert_eq!(
        file.settings.database(),
        Database::Sqlite(Some("/var/lib/files.db".into()))
    );
    assert!(!file.settings.needs_data_dir(false) && !file.settings.is_shared());
}

#[test]
fn aws_needs_no_address() {
    let aws = fixture()
        .file("cloakroom.toml", "[store]\nkind = \"s3\"\n")
        .environment("S3_REGION", "eu-west-1");
    let settings = aws.load().settings;
    let url = "https://s3.eu-west-1.amazonaws.com";
    assert_eq!(settings.store(), Store::S3(url.into()));
    let addressing =
        |settings: &Settings, url: &str| settings.endpoint(url).expect("an endpoint").addressing();
    assert_eq!(addressing(&settings, url), Addressing::VirtualHost);
    assert_eq!(addressing(&settings, "http://ceph:8080"), Addressing::Path);
    let said = aws.environment("CLOAKROOM_S3_ADDRESSING", "path").load().settings;
    assert_eq!(addressing(&said, url), Addressing::Path);
}

#[test]
fn what_contradicts_itself_is_refused() {
    for (name, value, part) in [
        (
            "CLOAKROOM_STORE_KIND",
            "local",
            "store.kind is local, and s3.endpoint",
        ),
        ("CLOAKROOM_S3_KMS_KEY_ID", "a-key", "s3.encryption is not aws:kms"),
        (
            "CLOAKROOM_S3_UPLOAD_ACCESS_KEY",
            "AKUP",
            "s3.upload_secret_key is not",
        ),
        (
            "CLOAKROOM_S3_CONNECT_TIMEOUT",
            "1m",
            "s3.connect_timeout must be at most",
        ),
        ("CLOAKROOM_BUCKET_EVENTS_TOKEN", "hush", "at least 16 characters"),
        (
            "CLOAKROOM_BUCKET_EVENTS_SQS_ENDPOINT",
            "http://sqs",
            "sqs_queue_url is not",
        ),
    ] {
        let problems = fixture()
            .environment("S3_ENDPOINT", "http://ceph")
            .environment(name, value)
            .problems();
        assert!(
            problems.len() == 1 && problems[0].contains(part),
            "{name}: {problems:?}"
        );
        assert!(!problems[0].contains("hush"));
    }
    let problems = fixture()
        .environment("CLOAKROOM_S3_ENCRYPTION", "AES256")
        .problems();
    assert!(
        problems.len() == 1 && problems[0].contains("S3_ENDPOINT"),
        "{problems:?}"
    );
}

#[test]
fn an_s3_service_needs_credentials_of_its_own() {
    let none = fixture().environment("S3_ENDPOINT", "http://ceph").dev().load();
    let missing = missing_for_serving(&none, true);
    assert_eq!(missing.len(), 1);
    assert!(
        missing[0].0.contains("S3_ACCESS_KEY") && missing[0].0.contains("http://ceph"),
        "{missing:?}"
    );
    let known = fixture()
        .environment("S3_ENDPOINT", "http://minio:9000")
        .environment("S3_ACCESS_KEY", "minioadmin")
        .environment("S3_SECRET_KEY", "minioadmin");
    assert!(known.problems()[0].contains("a default that everybody knows"));
    assert_eq!(known.dev().problems(), [""; 0]);
}

#[test]
fn at_aws_the_platform_gives_credentials_out() {
    let aws = fixture().environment("CLOAKROOM_STORE_KIND", "s3").load();
    assert_eq!(missing_for_serving(&aws, true), []);
    let elsewhere = fixture().environment("S3_ENDPOINT", "http://ceph");
    assert_eq!(missing_for_serving(&elsewhere.load(), true).len(), 1);
    let named = elsewhere
        .environment("AWS_ACCESS_KEY_ID", "AKHUSH")
        .environment("AWS_SECRET_ACCESS_KEY", "hush-hush-hush")
        .load();
    assert_eq!(missing_for_serving(&named, true), []);
    assert_eq!(named.aws.get("AWS_ACCESS_KEY_ID").as_deref(), Some("AKHUSH"));
    assert!(!format!("{named:?}").contains("hush"));
}

#[test]
fn several_processes_need_what_they_share() {
    let embedded = fixture().load();
    let missing = missing_for_working(&embedded);
    assert_eq!(missing.len(), 1);
    assert!(
        missing[0]
            .0
            .starts_with("several processes need PostgreSQL and S3: set DATABASE_URL and S3_ENDPOINT")
    );
    let shared = fixture()
        .environment("DATABASE_URL", "postgres://db/files")
        .environment("S3_ENDPOINT", "http://ceph")
        .environment("S3_ACCESS_KEY", "AK1234567")
        .environment("S3_SECRET_KEY", "a-secret-of-mine")
        .load();
    assert_eq!(missing_for_working(&shared), []);
}

#[test]
fn a_yaml_file_is_weaker_than_the_environment_and_there_is_one_file() {
    let yaml = "s3:\n  region: from-yaml\nlog:\n  format: json\n";
    let loaded = fixture()
        .file("cloakroom.yaml", yaml)
        .environment("S3_REGION", "from-env")
        .load();
    assert_eq!(
        value_and_source(&loaded, "log.format"),
        ("json".into(), "cloakroom.yaml:4".into())
    );
    assert_eq!(value_and_source(&loaded, "s3.region").0, "from-env");
    let mut named = fixture().file("config.yaml", yaml);
    named.inputs.config_file = Some("config.yaml".into());
    assert_eq!(
        value_and_source(&named.load(), "s3.region"),
        ("from-yaml".into(), "config.yaml:2".into())
    );
    let both = fixture().file("cloakroom.yaml", yaml).file("cloakroom.toml", "");
    assert_eq!(
        both.problems(),
        ["there are cloakroom.toml and cloakroom.yaml; remove one of them, or name one with --config"]
    );
}

#[test]
fn the_example_environment_is_valid() {
    let fixture = fixture().file(
        ".env",
        &show::dotenv_example().replace("\n# CLOAKROOM_", "\nCLOAKROOM_"),
    );
    assert_eq!(fixture.problems(), [""; 0]);
}

proptest! {
    #[test]
    fn no_text_panics(text in any::<String>()) {
        let _ = from_file(&text, Path::new("x"));
        let _ = from_file(&text, Path::new("x.yaml"));
        let _ = parse_dotenv(&text, Path::new("x"));
    }

    #[test]
    fn no_value_of_a_known_key_panics(
        index in 0..DESCRIPTORS.len(),
        value in prop_oneof![
            any::<i64>().prop_map(|v| v.to_string()),
            any::<f64>().prop_map(|v| format!("{v:?}")),
            any::<bool>().prop_map(|v| v.to_string()),
            any::<String>().prop_map(|v| format!("{v:?}")),
            Just("[1, \"a\"]".to_owned()),
            Just("{ a = 1 }".to_owned()),
            Just("2026-11-20".to_owned()),
        ],
    ) {
        let fixture = fixture().file("cloakroom.toml", &format!("{} = {value}\n", DESCRIPTORS[index].key));
        // Either a configuration, or problems that say what is wrong.
        if let Err(problems) = load(&fixture.inputs) {
            prop_assert!(!problems.is_empty() && problems.iter().all(|problem| !problem.0.contains('\n')));
        }
    }
}
