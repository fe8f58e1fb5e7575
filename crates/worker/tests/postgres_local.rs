//! The main job's tests, unchanged, over PostgreSQL and local files.

#[path = "it/app.rs"]
mod app;
#[path = "it/archive.rs"]
mod archive;
#[path = "it/cascades.rs"]
mod cascades;
#[path = "it/crashes.rs"]
mod crashes;
#[path = "it/garbage/mod.rs"]
mod garbage;
#[path = "it/holds.rs"]
mod holds;
#[path = "it/interruptions.rs"]
mod interruptions;
#[path = "it/main_job.rs"]
mod main_job;
#[path = "it/multipart.rs"]
mod multipart;
#[path = "it/operations.rs"]
mod operations;
#[path = "it/originals.rs"]
mod originals;
#[path = "it/queue.rs"]
mod queue;
#[path = "it/rebuild/mod.rs"]
mod rebuild;
#[path = "it/recovery.rs"]
mod recovery;
#[path = "it/retention.rs"]
mod retention;
#[path = "it/scanning/mod.rs"]
mod scanning;
#[path = "it/variants.rs"]
mod variants;
#[path = "it/verify/mod.rs"]
mod verify;
#[path = "it/zombies.rs"]
mod zombies;

const PAIR: app::Pair = app::Pair {
    database: app::Database::Postgres,
    store: app::Store::Local,
};
