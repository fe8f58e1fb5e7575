//! The main job over real stores: SQLite and local files.

mod app;
mod crashes;
mod main_job;
mod recovery;
mod zombies;
