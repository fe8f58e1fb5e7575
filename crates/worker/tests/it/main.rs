//! The main job over real stores: SQLite and local files. The same tests run on the other pairs as `tests/<pair>`.

mod alerts;
mod app;
mod archive;
mod bucket_events;
mod cascades;
mod crashes;
mod election;
mod endpoints;
mod garbage;
mod holds;
mod interruptions;
mod main_job;
mod modes;
mod multipart;
mod operations;
mod originals;
mod queue;
mod rebuild;
mod recovery;
mod retention;
mod scanning;
mod variants;
mod verify;
mod webhooks;
mod zombies;

const PAIR: app::Pair = app::Pair {
    database: app::Database::Sqlite,
    store: app::Store::Local,
};
