//! The main job over real stores: SQLite and local files. The same tests run on the other pairs as `tests/<pair>`.

mod app;
mod bucket_events;
mod crashes;
mod election;
mod main_job;
mod recovery;
mod webhooks;
mod zombies;

const PAIR: app::Pair = app::Pair {
    database: app::Database::Sqlite,
    store: app::Store::Local,
};
