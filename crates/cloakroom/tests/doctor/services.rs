//! PostgreSQL, Redis, Ceph and moto, as they are and as they should not be.

use cloakroom_testkit::servers;

use crate::home::Home;

const ORIGIN: &str = "https://app.example";

fn with_database(home: Home) -> Home {
    home.with(&[
        ("DATABASE_URL", &servers::postgres_url()),
        ("CLOAKROOM_DATABASE_TABLE_PREFIX", &servers::unique_table_prefix()),
        ("REDIS_URL", &servers::redis_url()),
    ])
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_is_named_and_mended() {
    let home = with_database(Home::ceph());
    let said = home.doctor(&["--json", "--origin", ORIGIN]).await;
    assert_eq!(said.code, 1);
    assert_eq!(said.verdict("bucket_exists"), "fail");
    assert!(said.json()["store"].is_null(), "what is offered is not found out");
    assert!(
        said.line("bucket_exists")["remedy"]
            .as_str()
            .unwrap()
            .contains("--fix")
    );

    let said = home.doctor(&["--json", "--origin", ORIGIN, "--fix"]).await;
    assert_eq!(said.code, 0, "{}", said.text);
    assert_eq!(said.methods(), ["put", "post", "multipart", "stream"]);
    for check in [
        "cors_put",
        "cors_exposes_etag",
        "lifecycle_net",
        "lifecycle_aborts",
        "bucket_exists",
    ] {
        assert_eq!(said.verdict(check), "ok", "{check}");
    }
    // The database of the tests need not survive a power failure, and nobody has migrated it.
    for (check, verdict) in [
        ("reached", "ok"),
        ("fsync", "warn"),
        ("migrations", "warn"),
        ("connections", "ok"),
    ] {
        assert_eq!(said.verdict(check), verdict, "{check}");
    }
    assert_eq!(said.json()["store"]["capabilities"]["conditional_copy"], true);
    assert_eq!(said.json()["store"]["capabilities"]["checksums"], false);

    let again = home.doctor(&["--json", "--origin", ORIGIN, "--fix"]).await;
    let fixes = again.json()["subjects"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|subject| subject["kind"] == "fix")
        .flat_map(|subject| subject["checks"].as_array().unwrap().clone())
        .map(|line| line["title"].as_str().unwrap().to_owned())
        .collect::<Vec<_>>();
    assert!(
        !fixes.is_empty() && fixes.iter().all(|title| title.ends_with(": as it should be")),
        "{fixes:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_no_collection_uses_is_not_to_be_made() {
    for home in [Home::ceph(), Home::new(&[])] {
        let said = home.doctor(&["--json", "--bucket", "mistyped"]).await;
        let line = said.line("bucket_used");
        assert_eq!(line["verdict"], "warn", "{}", said.text);
        let found = line["found"].as_str().unwrap();
        assert!(found.starts_with("no: not mistyped, but "), "{found}");
    }
    let home = Home::ceph();
    let said = home.doctor(&["--json", "--bucket", "mistyped"]).await;
    let remedy = said.line("bucket_exists")["remedy"].as_str().unwrap().to_owned();
    assert!(remedy.starts_with("check the name after --bucket"), "{remedy}");
    let known = home.setting("S3_BUCKET");
    let said = home.doctor(&["--json", "--bucket", &known]).await;
    assert!(!said.text.contains("bucket_used"), "{}", said.text);
    assert!(
        said.line("bucket_exists")["remedy"]
            .as_str()
            .unwrap()
            .contains("--fix")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_enforces_nothing_gets_no_signatures() {
    let home = Home::moto();
    let said = home.doctor(&["--json", "--fix"]).await;
    assert_eq!(said.code, 1);
    assert_eq!(said.methods(), ["stream"]);
    let json = said.json();
    let missing = json["store"]["not_offered"]["put"].as_array().unwrap();
    assert!(
        missing.iter().any(|fact| fact == "put_binds_length"),
        "{missing:?}"
    );
    assert_eq!(json["store"]["collections"]["photos"]["used"], "stream");

    let said = home.doctor(&[]).await;
    assert!(
        said.text.contains("upload methods that are offered: stream\n"),
        "{}",
        said.text
    );
    assert!(
        said.text
            .contains("not put: the store does not pass put_binds_type"),
        "{}",
        said.text
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_of_a_store_counts_more_than_what_is_found() {
    let home = Home::ceph().with(&[("CLOAKROOM_S3_CAPABILITIES", "post_policy=false,part_reads=true")]);
    let said = home.doctor(&["--json", "--fix"]).await;
    assert_eq!(said.methods(), ["put", "multipart", "stream"]);
    assert_eq!(said.json()["store"]["capabilities"]["part_reads"], true);
    assert_eq!(said.json()["store"]["collections"]["attachments"]["used"], "put");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_answer_is_named_at_once() {
    let home = Home::new(&[
        ("DATABASE_URL", "postgres://ann:hunter2-secret@127.0.0.1:9/files"),
        ("REDIS_URL", "redis://:hunter2-secret@127.0.0.1:9"),
        ("S3_ENDPOINT", "http://127.0.0.1:9"),
        ("S3_ACCESS_KEY", "somebody"),
        ("S3_SECRET_KEY", "hunter2-secret"),
    ]);
    let began = std::time::Instant::now();
    let said = home.doctor(&["--json"]).await;
    assert!(
        began.elapsed() < std::time::Duration::from_mins(1),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(said.code, 1);
    assert_eq!(said.verdict("endpoint_reached"), "fail");
    let failed = said.json()["subjects"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|subject| {
            subject["checks"]
                .as_array()
                .unwrap()
                .iter()
                .any(|line| line["verdict"] == "fail")
        })
        .map(|subject| subject["kind"].as_str().unwrap().to_owned())
        .collect::<Vec<_>>();
    assert!(
        failed.starts_with(&["database".to_owned(), "redis".to_owned(), "store".to_owned()]),
        "{failed:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_credentials_are_named() {
    let home = Home::ceph().with(&[("S3_SECRET_KEY", "not-the-secret-of-this-key")]);
    let said = home.doctor(&["--json"]).await;
    assert_eq!(said.code, 1);
    assert!(
        said.line("credentials_accepted")["found"]
            .as_str()
            .unwrap()
            .contains("SignatureDoesNotMatch")
    );
    let text = home.doctor(&[]).await.text;
    let (_, store) = text.split_once("\nstore: ").unwrap();
    assert!(
        store.lines().count() < 20,
        "what follows from it does not hide it: {store}"
    );
    assert!(text.contains("  fail   check s3.access_key"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_mended_is_not_to_be_mended_again() {
    let home = Home::ceph();
    assert_eq!(home.doctor(&["--fix"]).await.code, 0);
    home.deny(&["s3:GetLifecycleConfiguration", "s3:PutBucketCORS"])
        .await;
    let said = home.doctor(&["--json", "--fix", "--origin", ORIGIN]).await;
    assert_eq!(said.code, 1, "{}", said.text);
    assert_eq!(said.verdict("lifecycle_net"), "unknown");
    for check in ["cors_put", "lifecycle_net"] {
        let remedy = said.line(check)["remedy"].as_str().unwrap().to_owned();
        assert!(
            remedy.starts_with("let these credentials read and write"),
            "{check}: {remedy}"
        );
    }
    assert_eq!(said.line("may_write_cors")["found"], "denied: s3:PutBucketCORS");
}
