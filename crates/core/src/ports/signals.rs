//! Wake-ups: a hint that there is something to see. Losing one only costs time, never work: everybody who waits
//! also looks by itself now and then.

use std::time::Duration;

use async_trait::async_trait;

use crate::id::FileId;

/// What there is to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Topic {
    /// A job may be ready.
    Jobs,
    /// This file changed.
    File(FileId),
}

/// A subscription; hints given after it was made are not lost between two waits.
#[async_trait]
pub trait Subscription: Send {
    /// Returns when there was a hint since the last call, or when the time is over.
    async fn wait(&mut self, timeout: Duration);
}

/// Gives and takes wake-ups.
pub trait Signals: Send + Sync {
    /// There is something to see.
    fn notify(&self, topic: Topic);

    /// Subscribes to a topic.
    fn subscribe(&self, topic: Topic) -> Box<dyn Subscription>;
}
