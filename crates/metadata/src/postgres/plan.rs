//! How the database runs the statements: none walks through a large table, and lists come from an index in its order.

use cloakroom_core::file::FileState;
use cloakroom_core::id::FileId;
use cloakroom_core::ports::archive::Section;
use cloakroom_core::ports::metadata::{Cursor, FileQuery};
use cloakroom_core::record::RecordKey;
use cloakroom_testkit::servers::{postgres_url, unique_table_prefix};
use jiff::Timestamp;
use serde_json::json;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, NoTls};

use super::list::select;
use super::statements::Statements;
use super::{PostgresOptions, open};
use crate::prefix::TablePrefix;

/// A schema whose tables go with its session: they are dropped in the end, whatever the test found.
struct Schema {
    client: Client,
    prefix: TablePrefix,
}

impl Schema {
    async fn new() -> Self {
        let prefix: TablePrefix = unique_table_prefix().parse().unwrap();
        let options = PostgresOptions {
            table_prefix: prefix.clone(),
            ..PostgresOptions::new(postgres_url())
        };
        let connector = open::connector(&options).unwrap();
        open::prepare(&connector, &prefix).await.unwrap();
        let (client, connection) = tokio_postgres::connect(&postgres_url(), NoTls).await.unwrap();
        tokio::spawn(connection);
        Self { client, prefix }
    }

    async fn steps(&self, explain: &str, parameters: &[(&(dyn ToSql + Sync), Type)]) -> Vec<String> {
        let rows = self.client.query_typed(explain, parameters).await.unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    }

    /// The plan for whatever values.
    async fn generic(&self, name: &str, sql: &str) -> Vec<String> {
        let prepared = self.client.prepare(sql).await.unwrap();
        let nulls = vec!["NULL"; prepared.params().len()].join(", ");
        let arguments = if nulls.is_empty() {
            nulls
        } else {
            format!("({nulls})")
        };
        let text = format!("PREPARE {name} AS {sql}");
        self.client.batch_execute(&text).await.unwrap();
        self.steps(&format!("EXPLAIN EXECUTE {name} {arguments}"), &[])
            .await
    }

    async fn drop(self) {
        let sql = "SELECT string_agg(format('%I', relname), ', ') FROM pg_class
            WHERE relkind = 'r' AND starts_with(relname, $1)";
        let prefix = format!("{}_", self.prefix);
        let tables: String = self.client.query_one(sql, &[&prefix]).await.unwrap().get(0);
        self.client
            .batch_execute(&format!("DROP TABLE {tables} CASCADE"))
            .await
            .unwrap();
    }
}

/// Counts walk through what they count, and the few service tokens and stores are read whole.
const WALKS: &[&str] = &[
    "count_settled_files",
    "count_open_files",
    "count_jobs",
    "stored_bytes",
    "tokens",
    "totals",
    "stores",
];

/// Pages of what may be very long.
const ORDERED: &[&str] = &[
    "all_files",
    "all_records",
    "retained_files",
    "retained_unlinked_files",
    "operations",
    "claim_operation",
    "findings",
    "garbage",
    "garbage_in_state",
    "audit",
];

#[tokio::test]
async fn every_fixed_statement_compiles_and_uses_an_index() {
    let schema = Schema::new().await;
    let statements = Statements::new(&schema.prefix);
    assert!(statements.all().len() > 60);
    // Tables are empty here: what could use an index is to use it.
    schema
        .client
        .batch_execute("SET enable_seqscan = off; SET plan_cache_mode = force_generic_plan")
        .await
        .unwrap();
    let mut wrong = Vec::new();
    for (name, statement) in statements.all() {
        let steps = schema.generic(name, &statement.text).await;
        let walks = steps.iter().any(|step| step.contains("Seq Scan"));
        // What is sorted at the end is at most a page, the rows of one file, or the children of one record.
        if walks && !WALKS.contains(&name) {
            wrong.push(format!("{name}: {steps:#?}"));
        }
    }
    // What an operator looks for in the log by hand.
    for (condition, index) in [
        ("status = 'FAILED' ORDER BY started_at", "wal_status"),
        ("file_id = gen_random_uuid() ORDER BY started_at", "wal_file"),
        ("data::jsonb @> '{\"key\": \"k\"}'", "wal_data"),
    ] {
        let sql = format!("EXPLAIN SELECT * FROM {{p}}_wal WHERE {condition}");
        let steps = schema.steps(&schema.prefix.render(&sql), &[]).await;
        let name = format!("{}_{index}", schema.prefix);
        if !steps.iter().any(|step| step.contains(&name)) {
            wrong.push(format!("{condition}: {steps:#?}"));
        }
    }
    // A portion begins in the index of its key, which has the order.
    schema
        .client
        .batch_execute("SET enable_sort = off; SET enable_bitmapscan = off")
        .await
        .unwrap();
    for section in Section::ALL {
        for from_the_start in [true, false] {
            let sql = super::archive::export_sql(*section, from_the_start, 10);
            let name = format!("{section:?}_{from_the_start}");
            let steps = schema.generic(&name, &schema.prefix.render(&sql)).await;
            let bad = |step: &String| step.contains("Seq Scan") || step.contains("Sort");
            if steps.iter().any(bad) {
                wrong.push(format!("{section:?}: {steps:#?}"));
            }
        }
    }
    for (name, statement) in statements.all() {
        if ORDERED.contains(&name) {
            let steps = schema.generic(&format!("{name}_ordered"), &statement.text).await;
            if steps.iter().any(|step| step.contains("Sort")) {
                wrong.push(format!("{name}: {steps:#?}"));
            }
        }
    }
    schema.drop().await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Thirty thousand files of thirty owners; one in a thousand is about gold, and belongs to a project of its own.
const ROWS: &str = "INSERT INTO {p}_files (id, open, owner, created_by_username, collection, bucket, state, version, epoch,
    record_kind, record_id, filename, metadata, declared_content_type, key, facts, created_at, updated_at, trash_from,
    purge_at, upload_method, upload_staging_key, upload_expires_at, upload_reserved_bytes, words)
    SELECT ('00000000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, n % 10 = 0, 'owner-' || n % 30, 'u',
    CASE WHEN n % 701 = 0 THEN 'rare' ELSE 'common' END, 'b', CASE WHEN n % 10 = 0 THEN 'pending' WHEN n % 997 = 0 THEN 'failed'
    WHEN n % 499 = 0 THEN 'trashed' ELSE 'ready' END, 1, 0, CASE WHEN n % 3 = 0 THEN 'message' END,
    CASE WHEN n % 3 = 0 THEN (n % 1000)::text END, 'file.pdf',
    json_build_object('project', CASE WHEN n % 1001 = 0 THEN 'gold' ELSE 'north' END), 'application/pdf', 'k', '{}',
    timestamptz '2026-01-01' + n * interval '1 second', now(), CASE WHEN n % 499 = 0 THEN 'ready' END,
    CASE WHEN n % 499 = 0 THEN now() END, 'put', 's', now() + n * interval '1 second', 1,
    CASE WHEN n % 10 > 0 THEN array_to_tsvector(ARRAY['file', 'pdf', CASE WHEN n % 1001 = 0 THEN 'gold' ELSE 'lead' || n % 300 END]) END
    FROM generate_series(1, 30000) AS n";

struct Shape {
    what: &'static str,
    query: FileQuery,
    /// Indexes that answer it, without the prefix; of these the plan has all.
    indexes: &'static [&'static str],
    /// Whether matches are few and sorted, rather than met in order.
    sorts: bool,
}

#[expect(clippy::too_many_lines, reason = "a table of queries and their indexes")]
fn shapes() -> Vec<Shape> {
    let any = || FileQuery {
        limit: 50,
        after: Some(Cursor {
            created_at: "2026-01-01T05:00:00Z".parse::<Timestamp>().unwrap(),
            id: FileId(uuid::Uuid::nil()),
        }),
        ..FileQuery::default()
    };
    let owner = || Some("owner-7".to_owned());
    let word = |word: &str| vec![word.to_owned()];
    let project = |name: &str| vec![("project".to_owned(), json!(name))];
    let shape = |what, query, indexes, sorts| Shape {
        what,
        query,
        indexes,
        sorts,
    };
    vec![
        shape("any", any(), &["files_open_created", "files_created"], false),
        shape(
            "owner",
            FileQuery {
                owner: owner(),
                ..any()
            },
            &["files_open_owner", "files_owner"],
            false,
        ),
        shape(
            "collection",
            FileQuery {
                collections: Some(vec!["rare".to_owned()]),
                states: vec![FileState::Ready],
                ..any()
            },
            &["files_collection"],
            false,
        ),
        shape(
            "rare state",
            FileQuery {
                states: vec![FileState::Failed],
                ..any()
            },
            &["files_state"],
            false,
        ),
        shape(
            "open state",
            FileQuery {
                states: vec![FileState::Pending],
                ..any()
            },
            &["files_open_created"],
            false,
        ),
        shape(
            "record",
            FileQuery {
                record: RecordKey::new("message", "999").ok(),
                ..any()
            },
            &["files_record"],
            false,
        ),
        shape(
            "times",
            FileQuery {
                created_from: Some("2026-01-01T04:00:00Z".parse().unwrap()),
                states: vec![FileState::Ready],
                ..any()
            },
            &["files_"],
            false,
        ),
        shape(
            "rare word",
            FileQuery {
                words: word("gold"),
                ..any()
            },
            &["files_words"],
            true,
        ),
        shape(
            "common word",
            FileQuery {
                words: word("pdf"),
                ..any()
            },
            &["files_created"],
            false,
        ),
        shape(
            "common word of an owner",
            FileQuery {
                owner: owner(),
                words: word("pdf"),
                ..any()
            },
            &["files_owner"],
            false,
        ),
        shape(
            "rare value",
            FileQuery {
                metadata: project("gold"),
                ..any()
            },
            &["files_metadata"],
            true,
        ),
        shape(
            "common value",
            FileQuery {
                metadata: project("north"),
                ..any()
            },
            &["files_created"],
            false,
        ),
        shape(
            "common value of an owner",
            FileQuery {
                owner: owner(),
                metadata: project("north"),
                ..any()
            },
            &["files_owner"],
            false,
        ),
    ]
}

#[tokio::test]
async fn every_shape_of_list_walks_an_index() {
    let schema = Schema::new().await;
    schema
        .client
        .batch_execute(&schema.prefix.render(ROWS))
        .await
        .unwrap();
    schema
        .client
        .batch_execute(&schema.prefix.render("VACUUM ANALYZE {p}_files"))
        .await
        .unwrap();
    let mut wrong = Vec::new();
    for Shape {
        what,
        query,
        indexes,
        sorts,
    } in shapes()
    {
        let select = select(&query).unwrap().unwrap();
        let sql = format!("EXPLAIN {}", schema.prefix.render(&select.sql));
        let steps = schema.steps(&sql, &select.parameters()).await;
        let uses = |index: &str| {
            let name = format!("{}_{index}", schema.prefix);
            steps.iter().any(|step| step.contains(&name))
        };
        let sorted = steps.iter().any(|step| step.contains("Sort  "));
        let walked = steps.iter().any(|step| step.contains("Seq Scan"));
        if walked || sorted != sorts || !indexes.iter().all(|index| uses(index)) {
            wrong.push(format!("{what}: {steps:#?}"));
        }
    }
    // What the sweeper asks for, oldest first.
    let statements = Statements::new(&schema.prefix);
    for (statement, index) in [
        (&statements.expired_uploads, "files_open_expiry"),
        (&statements.purgeable_files, "files_purge"),
        (&statements.linked_file, "files_record"),
    ] {
        let text = statement.text.replace("LIMIT $2", "LIMIT 100");
        let text = text
            .replace("record_kind = $1", "record_kind = 'message'")
            .replace("record_id = $2", "record_id = '3'");
        let text = text.replace("$1", "now()");
        let steps = schema.steps(&format!("EXPLAIN {text}"), &[]).await;
        let name = format!("{}_{index}", schema.prefix);
        if !steps.iter().any(|step| step.contains(&name)) {
            wrong.push(format!("{index}: {steps:#?}"));
        }
    }
    // What retention asks for, in the middle of a collection.
    for (statement, index) in [
        (&statements.retained_files, "files_retained"),
        (&statements.retained_unlinked_files, "files_unlinked"),
    ] {
        let mut text = statement.text.clone();
        for (mark, value) in [
            ("$1", "'common'"),
            ("$2", "timestamptz '2026-01-01 07:00Z'"),
            ("$3", "timestamptz '2026-01-01 02:00Z'"),
            ("$4", "'00000000-0000-7000-8000-000000000000'"),
            ("$5", "100"),
        ] {
            text = text.replace(mark, value);
        }
        let steps = schema.steps(&format!("EXPLAIN {text}"), &[]).await;
        let name = format!("{}_{index}", schema.prefix);
        let sorted = steps.iter().any(|step| step.contains("Sort"));
        if sorted || !steps.iter().any(|step| step.contains(&name)) {
            wrong.push(format!("{index}: {steps:#?}"));
        }
    }
    schema.drop().await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
