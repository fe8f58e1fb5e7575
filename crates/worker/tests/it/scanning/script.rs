//! A scanner that says what a test wants.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use cloakroom_core::ports::scanner::{Holdup, ScanError, Scanner, Verdict};
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use tokio::sync::Notify;

/// A scanner that says what it is told to.
pub struct Script {
    answer: Mutex<Result<Verdict, ScanError>>,
    pub scans: AtomicUsize,
    pub pings: AtomicUsize,
    /// Where there is one, a scan begins and waits for it.
    pub gate: Option<Gate>,
}

#[derive(Default)]
pub struct Gate {
    pub begun: Notify,
    pub open: Notify,
}

impl Script {
    pub fn saying(answer: Result<Verdict, ScanError>) -> Arc<Self> {
        Self::with(answer, None)
    }

    pub fn with(answer: Result<Verdict, ScanError>, gate: Option<Gate>) -> Arc<Self> {
        Arc::new(Self {
            answer: Mutex::new(answer),
            scans: AtomicUsize::new(0),
            pings: AtomicUsize::new(0),
            gate,
        })
    }

    pub fn says(&self, answer: Result<Verdict, ScanError>) {
        *self.answer.lock().unwrap_or_else(PoisonError::into_inner) = answer;
    }

    fn answer(&self) -> Result<Verdict, ScanError> {
        self.answer.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[async_trait]
impl Scanner for Script {
    async fn scan(&self, mut pieces: BoxStream<'static, Bytes>, size: u64) -> Result<Verdict, ScanError> {
        self.scans.fetch_add(1, Ordering::Relaxed);
        if let Some(gate) = &self.gate {
            gate.begun.notify_one();
            gate.open.notified().await;
        }
        let answer = self.answer();
        if answer.is_ok() {
            let mut seen = 0;
            while let Some(piece) = pieces.next().await {
                seen += piece.len() as u64;
            }
            assert_eq!(seen, size, "every byte comes by");
        }
        answer
    }

    async fn ping(&self) -> Result<String, ScanError> {
        self.pings.fetch_add(1, Ordering::Relaxed);
        self.answer().map(|_| "a script".to_owned())
    }
}

#[expect(clippy::unnecessary_wraps, reason = "answers have one type")]
pub fn infected() -> Result<Verdict, ScanError> {
    Ok(Verdict::Held(Holdup::Infected {
        signature: "Eicar-Signature".to_owned(),
    }))
}

#[expect(clippy::unnecessary_wraps, reason = "answers have one type")]
pub fn not_fully() -> Result<Verdict, ScanError> {
    Ok(Verdict::Held(Holdup::NotFullyScanned {
        reason: "it is too large".to_owned(),
    }))
}

pub fn away() -> Result<Verdict, ScanError> {
    Err(ScanError::Unavailable("it does not connect".to_owned()))
}
