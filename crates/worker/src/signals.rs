//! Wake-ups within one process.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use cloakroom_core::ports::signals::{Signals, Subscription, Topic};
use tokio::sync::watch;

/// Gives wake-ups to whoever listens in this process. A topic takes memory only while somebody listens.
#[derive(Clone, Debug, Default)]
pub struct LocalSignals {
    topics: Arc<Mutex<HashMap<Topic, watch::Sender<()>>>>,
}

impl LocalSignals {
    /// Nobody listens yet.
    pub fn new() -> Self {
        Self::default()
    }

    fn topics(&self) -> MutexGuard<'_, HashMap<Topic, watch::Sender<()>>> {
        // Every change is one insert or remove: nothing is half done when a holder panics.
        self.topics.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Signals for LocalSignals {
    fn notify(&self, topic: Topic) {
        if let Some(sender) = self.topics().get(&topic) {
            sender.send_replace(());
        }
    }

    fn subscribe(&self, topic: Topic) -> Box<dyn Subscription> {
        let mut topics = self.topics();
        let receiver = match topics.get(&topic) {
            Some(sender) => sender.subscribe(),
            None => topics.entry(topic).or_insert(watch::channel(()).0).subscribe(),
        };
        Box::new(LocalSubscription {
            topic,
            receiver: Some(receiver),
            signals: self.clone(),
        })
    }
}

struct LocalSubscription {
    topic: Topic,
    receiver: Option<watch::Receiver<()>>,
    signals: LocalSignals,
}

#[async_trait]
impl Subscription for LocalSubscription {
    async fn wait(&mut self, timeout: Duration) {
        let Some(receiver) = &mut self.receiver else {
            return;
        };
        // A hint given since the last wait is still there, so none is lost in between.
        let _ = tokio::time::timeout(timeout, receiver.changed()).await;
    }
}

impl Drop for LocalSubscription {
    fn drop(&mut self) {
        let mut topics = self.signals.topics();
        self.receiver = None;
        if topics
            .get(&self.topic)
            .is_some_and(|sender| sender.receiver_count() == 0)
        {
            topics.remove(&self.topic);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn a_hint_before_the_wait_is_not_lost() {
        let signals = LocalSignals::new();
        let mut jobs = signals.subscribe(Topic::Jobs);
        signals.notify(Topic::Jobs);
        tokio::time::timeout(LONG / 2, jobs.wait(LONG))
            .await
            .expect("the hint");
    }

    #[tokio::test]
    async fn everybody_is_woken_and_nobody_is_kept() {
        let signals = LocalSignals::new();
        let (mut one, mut two) = (signals.subscribe(Topic::Jobs), signals.subscribe(Topic::Jobs));
        signals.notify(Topic::Jobs);
        one.wait(LONG).await;
        two.wait(LONG).await;
        drop(one);
        assert_eq!(signals.topics().len(), 1);
        drop(two);
        assert_eq!(signals.topics().len(), 0);
        signals.notify(Topic::Jobs);
    }
}
