//! Being told to stop: SIGINT and SIGTERM. The first asks for a clean end, the second for an end.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The two signals.
pub struct StopSignals {
    interrupt: Signal,
    terminate: Signal,
}

impl StopSignals {
    /// Takes them from now on; without this they end the process.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// The name of the next one.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}

/// Ends the process at the next signal, at once: what was acknowledged is on disk, and what was not may be lost.
pub async fn exit_at_next(mut signals: StopSignals) {
    let code = if signals.next().await == "SIGINT" {
        130
    } else {
        143
    };
    std::process::exit(code);
}
