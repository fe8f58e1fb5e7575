//! The built program in its roles, on real servers: every pair of database and store, servers without and workers
//! beside them, what is refused, what is waited for, and what the logs must never hold.

mod maintenance;
mod migrations;
mod outages;
mod pairs;
mod refusals;
mod stores;
mod support;
mod workers;
