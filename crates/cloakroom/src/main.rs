//! Cloakroom: one binary that signs uploads, takes the bytes, verifies and keeps them, and hands them out again.

mod admission;
mod cli;
mod client;
mod commands;
mod config;
mod data_dir;
mod dev;
mod logging;
mod observer;
mod presence;
mod process;
mod runtime;
mod stop;
mod wire;

/// Requests are many small allocations: the system's allocator cost a third of the CPU time of signing.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    // Before there is a thread, a logger or a runtime: a child gives everything away that it does not need.
    cloakroom_processors::child::run_if_asked().unwrap_or_else(cli::run)
}
