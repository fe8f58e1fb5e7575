//! The main job over real stores: SQLite and local files.

mod app;
mod bucket_events;
mod crashes;
mod election;
mod main_job;
mod recovery;
mod zombies;
