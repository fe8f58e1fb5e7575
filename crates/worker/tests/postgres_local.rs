//! The main job's tests, unchanged, over PostgreSQL and local files.

#[path = "it/app.rs"]
mod app;
#[path = "it/crashes.rs"]
mod crashes;
#[path = "it/main_job.rs"]
mod main_job;
#[path = "it/recovery.rs"]
mod recovery;
#[path = "it/zombies.rs"]
mod zombies;

const PAIR: app::Pair = app::Pair {
    database: app::Database::Postgres,
    store: app::Store::Local,
};
