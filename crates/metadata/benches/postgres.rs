//! Durable inserts per second on PostgreSQL: what grouping across requests is worth.
//!
//! ```text
//! scripts/test-servers run cargo bench -p cloakroom-metadata --bench postgres [-- SECONDS]
//! ```
//!
//! Every insert is durable when it is counted, as far as the server is: its settings are printed. Each writes a file with
//! its upload, its event and the owner's usage, under a quota. Beside it, on the same server in the same run: plain
//! clients, each with a connection of its own, that insert one small row for each transaction with a prepared statement,
//! as pgbench does. Times of the first second are not counted; the CPU time is that of this process, without the
//! server's.

mod measure;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cloakroom_metadata::postgres::{PostgresOptions, PostgresStore};
use cloakroom_testkit::clock::MockClock;
use cloakroom_testkit::random::SeededRandom;
use cloakroom_testkit::servers::{postgres_url, unique_table_prefix};
use tokio_postgres::{Client, NoTls};

use self::measure::{Measured, WARM_UP, callers, cpu_seconds, new_file};

async fn client() -> Client {
    let (client, connection) = tokio_postgres::connect(&postgres_url(), NoTls)
        .await
        .expect("connect");
    tokio::spawn(connection);
    client
}

async fn plain(prefix: &str, count: usize, duration: Duration) -> Measured {
    let sql = format!(
        "CREATE TABLE IF NOT EXISTS {prefix}_plain (id uuid PRIMARY KEY, owner text, collection text, key text,
            metadata text, created_at timestamptz);
         CREATE INDEX IF NOT EXISTS {prefix}_plain_owner ON {prefix}_plain (owner, created_at)"
    );
    client().await.batch_execute(&sql).await.expect("schema");
    let (counting, stop) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (clock, random) = (Arc::new(MockClock::new()), Arc::new(SeededRandom::default()));
    let mut tasks = Vec::new();
    for _ in 0..count {
        let client = client().await;
        let sql = format!("INSERT INTO {prefix}_plain VALUES ($1, $2, $3, $4, $5, now())");
        let insert = client.prepare(&sql).await.expect("prepare");
        let (counting, stop) = (Arc::clone(&counting), Arc::clone(&stop));
        let (clock, random) = (Arc::clone(&clock), Arc::clone(&random));
        tasks.push(tokio::spawn(async move {
            let mut latencies = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let file = new_file(&clock, &random).file;
                // Ids of another run may be there.
                let id = uuid::Uuid::now_v7();
                let begun = Instant::now();
                client
                    .execute(
                        &insert,
                        &[
                            &id,
                            &file.owner,
                            &file.collection,
                            &file.key,
                            &"{\"project\":\"north\"}",
                        ],
                    )
                    .await
                    .expect("insert");
                if counting.load(Ordering::Relaxed) {
                    latencies.push(begun.elapsed());
                }
            }
            latencies
        }));
    }
    tokio::time::sleep(WARM_UP).await;
    let (begun, cpu) = (Instant::now(), cpu_seconds());
    counting.store(true, Ordering::Relaxed);
    tokio::time::sleep(duration).await;
    stop.store(true, Ordering::Relaxed);
    let (seconds, cpu_seconds) = (begun.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    let mut latencies = Vec::new();
    for task in tasks {
        latencies.extend(task.await.expect("no panic"));
    }
    Measured {
        latencies,
        seconds,
        cpu_seconds,
    }
}

async fn run(duration: Duration) {
    let admin = client().await;
    let settings = "SELECT current_setting('server_version'), current_setting('fsync'), current_setting('synchronous_commit')";
    let row = admin.query_one(settings, &[]).await.expect("settings");
    let (version, fsync, commit): (&str, &str, &str) = (row.get(0), row.get(1), row.get(2));
    println!("PostgreSQL {version}, fsync = {fsync}, synchronous_commit = {commit}");
    let prefix = unique_table_prefix();
    let mut best = 0.0_f64;
    for count in [8, 32] {
        let measured = plain(&prefix, count, duration).await;
        best = best.max(measured.report(&format!("one small row per transaction, {count} clients")));
    }
    for count in [1, 64, 256] {
        let table_prefix = unique_table_prefix();
        let options = PostgresOptions {
            table_prefix: table_prefix.parse().expect("a prefix"),
            ..PostgresOptions::new(postgres_url())
        };
        let store = Arc::new(PostgresStore::connect(options).await.expect("connect"));
        let measured = callers(store, count, duration).await;
        let rate = measured.report(&format!("PostgresStore::insert, {count} callers"));
        println!("{:<44} {:>8.2} x", "", rate / best);
        drop_tables(&admin, &table_prefix).await;
    }
    drop_tables(&admin, &prefix).await;
}

async fn drop_tables(admin: &Client, prefix: &str) {
    let sql = "SELECT string_agg(format('%I', relname), ', ') FROM pg_class WHERE relkind = 'r' AND starts_with(relname, $1)";
    let row = admin
        .query_one(sql, &[&format!("{prefix}_")])
        .await
        .expect("tables");
    let tables: String = row.get(0);
    admin
        .batch_execute(&format!("DROP TABLE {tables} CASCADE"))
        .await
        .expect("drop");
}

fn main() {
    // `cargo bench` passes `--bench`.
    let mut arguments = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with("--"));
    let seconds = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(5);
    let runtime = tokio::runtime::Runtime::new().expect("runtime");
    runtime.block_on(run(Duration::from_secs(seconds)));
}
