//! Opening: many nodes at once, many instances in one database, and what is refused.

use cloakroom_core::ports::clock::Clock as _;
use cloakroom_core::ports::metadata::{FileQuery, Inserted, MetadataStore, Usage};
use cloakroom_metadata::postgres::{MigrationMismatch, OpenError, PostgresOptions, PostgresStore};
use cloakroom_testkit::clock::MockClock;
use cloakroom_testkit::fixtures::{object, sample_new_file};
use cloakroom_testkit::random::SeededRandom;
use cloakroom_testkit::servers::postgres_url;
use futures_util::future::join_all;
use serde_json::json;

use crate::database::{Prefix, client, options, store};

/// The test server's URL with other parts.
fn url_with(user: &str, password: &str, database: &str) -> String {
    let url = postgres_url();
    let (_, place) = url.split_once('@').unwrap();
    let (host, _) = place.split_once('/').unwrap();
    format!("postgres://{user}:{password}@{host}/{database}")
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_nodes_start_at_once_on_an_empty_database() {
    let prefix = Prefix::new();
    let pending = async || {
        PostgresStore::pending_migrations(&options(&prefix))
            .await
            .unwrap()
    };
    assert_eq!(
        pending().await,
        [
            "0001_initial",
            "0002_outbox_and_leases",
            "0003_administration",
            "0004_processing"
        ]
    );
    let nodes = join_all((0..10).map(|_| PostgresStore::connect(options(&prefix)))).await;
    let nodes: Vec<PostgresStore> = nodes.into_iter().map(|node| node.unwrap()).collect();
    let new = sample_new_file(&SeededRandom::default(), MockClock::new().now());
    assert_eq!(nodes[0].insert(new.clone()).await.unwrap(), Inserted::New);
    for node in &nodes {
        assert_eq!(node.file(new.file.id).await.unwrap(), Some(new.file.clone()));
    }
    let sql = format!("SELECT count(*) FROM {}_migrations", prefix.0);
    let steps: i64 = client().await.query_one(&sql, &[]).await.unwrap().get(0);
    assert_eq!(steps, 4);
    assert!(pending().await.is_empty());
    for node in nodes {
        node.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_prefixes_in_one_database_do_not_see_each_other() {
    let ((one, one_prefix), (two, two_prefix)) = (store().await, store().await);
    let new = sample_new_file(&SeededRandom::default(), MockClock::new().now());
    assert_eq!(one.insert(new.clone()).await.unwrap(), Inserted::New);
    let mode = object(json!({ "mode": "rw" }));
    one.put_setting("mode", &mode).await.unwrap();

    assert_eq!(two.file(new.file.id).await.unwrap(), None);
    assert_eq!(two.setting("mode").await.unwrap(), None);
    assert_eq!(two.usage(&new.file.owner).await.unwrap(), Usage::default());
    assert_eq!(two.insert(new.clone()).await.unwrap(), Inserted::New);
    let any = FileQuery {
        limit: 10,
        ..FileQuery::default()
    };
    assert_eq!(one.files(&any).await.unwrap().items, [new.file]);

    let client = client().await;
    let sql = "SELECT count(*) FROM pg_class WHERE starts_with(relname, $1)";
    let mut counts = Vec::new();
    for prefix in [&one_prefix, &two_prefix] {
        let row = client.query_one(sql, &[&format!("{}_", prefix.0)]).await.unwrap();
        counts.push(row.get::<_, i64>(0));
    }
    assert!(counts[0] > 30 && counts[0] == counts[1], "{counts:?}");
}

async fn refusal(options: PostgresOptions) -> OpenError {
    match PostgresStore::connect(options).await {
        Ok(_) => panic!("it was opened"),
        Err(error) => error,
    }
}

#[tokio::test]
async fn a_newer_database_and_a_changed_migration_are_refused() {
    let (store, prefix) = store().await;
    store.close().await.unwrap();
    let client = client().await;
    let newer = format!(
        "INSERT INTO {}_migrations VALUES (5, 'of_the_future', 'x', now())",
        prefix.0
    );
    client.batch_execute(&newer).await.unwrap();
    let error = refusal(options(&prefix)).await;
    let wanted = MigrationMismatch::Newer { found: 5, known: 4 };
    assert!(
        matches!(&error, OpenError::Schema(found) if *found == wanted),
        "{error}"
    );
    assert!(error.to_string().contains("newer program"), "{error}");

    let changed = format!(
        "DELETE FROM {0}_migrations WHERE version = 5; UPDATE {0}_migrations SET checksum = 'y' WHERE version = 1",
        prefix.0
    );
    client.batch_execute(&changed).await.unwrap();
    let error = refusal(options(&prefix)).await;
    assert!(
        error.to_string().contains("migration 0001_initial differs"),
        "{error}"
    );
}

#[tokio::test]
async fn a_table_that_is_gone_is_named() {
    let (store, prefix) = store().await;
    store.close().await.unwrap();
    let drop_it = format!("DROP TABLE {}_files CASCADE", prefix.0);
    client().await.batch_execute(&drop_it).await.unwrap();
    let error = refusal(options(&prefix)).await.to_string();
    let wanted = format!("table {}_files is missing", prefix.0);
    assert!(
        error.contains(&wanted) && error.contains("cloakroom rebuild"),
        "{error}"
    );
}

/// A step that fails leaves nothing, and says which it was.
#[tokio::test]
async fn a_failed_migration_is_rolled_back_and_named() {
    let prefix = Prefix::new();
    let client = client().await;
    // Something of somebody else stands where the last table of the first step should.
    let squatter = format!("CREATE TABLE {}_settings (x int)", prefix.0);
    client.batch_execute(&squatter).await.unwrap();
    let error = refusal(options(&prefix)).await;
    assert!(
        matches!(&error, OpenError::Migration { version: 1, .. }),
        "{error}"
    );
    assert!(error.to_string().contains("0001_initial failed"), "{error}");
    let sql = "SELECT to_regclass($1) IS NULL";
    let row = client
        .query_one(sql, &[&format!("{}_files", prefix.0)])
        .await
        .unwrap();
    assert!(row.get::<_, bool>(0), "nothing of the step is left");
    client
        .batch_execute(&format!("DROP TABLE {}_settings", prefix.0))
        .await
        .unwrap();
    PostgresStore::connect(options(&prefix)).await.unwrap();
}

/// Whatever is wrong with the address, the answer names it, and never the password.
#[tokio::test]
async fn a_refusal_names_the_reason_and_not_the_password() {
    let prefix = Prefix::new();
    // Nobody listens there, and nobody is given it.
    let closed = "127.0.0.1:1";
    let good = postgres_url();
    let (credentials, _) = good.split_once('@').unwrap();
    let password = credentials.rsplit(':').next().unwrap();
    let (user, _) = credentials["postgres://".len()..].split_once(':').unwrap();
    let cases = [
        (url_with("nobody_here", "hunter2", "postgres"), "SQLSTATE 28"),
        (
            url_with(user, password, "no_such_database_hunter2"),
            "SQLSTATE 3D000",
        ),
        (format!("postgres://u:hunter2@{closed}/d"), "refused"),
        ("postgres://u:hunter2@name.invalid/d".to_owned(), "lookup"),
        (
            format!("{good}?sslmode=verify-full&sslrootcert=/nowhere.pem"),
            "/nowhere.pem",
        ),
        ("mysql://u:hunter2@h/d".to_owned(), "postgres://"),
    ];
    for (url, reason) in cases {
        let error = refusal(PostgresOptions {
            url,
            ..options(&prefix)
        })
        .await;
        let shown = format!("{error} {error:?}");
        assert!(shown.contains(reason), "{shown} says {reason}");
        let without_name = shown.replace("no_such_database_hunter2", "");
        assert!(!without_name.contains("hunter2"), "{shown}");
        assert!(!shown.contains(&format!(":{password}@")), "{shown}");
    }
}

/// A database that cannot hold every name is refused at once, not when the first name comes.
#[tokio::test]
async fn a_database_of_another_encoding_is_refused() {
    let prefix = Prefix::new();
    let admin = client().await;
    let name = format!("latin_{}", prefix.0);
    admin
        .batch_execute(&format!(
            "CREATE DATABASE {name} TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'"
        ))
        .await
        .unwrap();
    let url = postgres_url();
    let (server, _) = url.rsplit_once('/').unwrap();
    let error = refusal(PostgresOptions {
        url: format!("{server}/{name}"),
        ..options(&prefix)
    })
    .await;
    assert!(
        matches!(error, OpenError::Unsuitable(_)) && error.to_string().contains("LATIN1"),
        "{error}"
    );
    let drop = format!("DROP DATABASE {name} WITH (FORCE)");
    admin.batch_execute(&drop).await.unwrap();
}

/// The schema was made by an administrator: who serves needs no right to make tables.
#[tokio::test]
async fn a_role_that_may_not_create_tables_works_on_a_schema_that_is_there() {
    let (made, prefix) = store().await;
    made.close().await.unwrap();
    let admin = client().await;
    let role = format!("plain_{}", prefix.0);
    admin
        .batch_execute(&format!("CREATE ROLE {role} LOGIN PASSWORD 'hunter2'"))
        .await
        .unwrap();
    let tables = "SELECT string_agg(format('%I', relname), ', ') FROM pg_class WHERE relkind = 'r' AND starts_with(relname, $1)";
    let row = admin
        .query_one(tables, &[&format!("{}_", prefix.0)])
        .await
        .unwrap();
    let tables: String = row.get(0);
    admin
        .batch_execute(&format!("GRANT ALL ON {tables} TO {role}"))
        .await
        .unwrap();
    let url = postgres_url();
    let database = url.rsplit('/').next().unwrap();
    let database = database.split('?').next().unwrap();
    let opened = PostgresStore::connect(PostgresOptions {
        url: url_with(&role, "hunter2", database),
        ..options(&prefix)
    })
    .await;
    let answer = match &opened {
        Ok(store) => store.ping().await.map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    drop(opened);
    admin
        .batch_execute(&format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{role}'; DROP OWNED BY {role}; DROP ROLE {role}"
        ))
        .await
        .unwrap();
    answer.unwrap();
}
