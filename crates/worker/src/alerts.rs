//! Alerts posted to one address, as JSON (S0: `send_alert`, `ALERT_WEBHOOK_URL`).
//!
//! Whoever raises one goes on at once: a short queue stands in between, and what does not fit is counted and lost. Of each
//! kind at most one is told in a while; the next one says how many were held back. Unlike webhooks nothing is kept and
//! signed: an alert says "look", the log and the timeline say what happened. The address is never shown (I7), and leads into
//! nobody's own network unless that is allowed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cloakroom_core::JsonObject;
use cloakroom_core::ports::alerts::{Alert, AlertKind, Alerts};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio_util::sync::CancellationToken;

use crate::deliveries::{Target, TargetError, why};

/// Alerts that wait to be told.
const WAITING_MAX: usize = 64;
/// Attempts to tell one.
const ATTEMPTS_MAX: u32 = 3;
/// How long the receiver may take to answer, the connection included.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Wait after the first failed attempt; doubled after each.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// How long a process that stops still tells what waits.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// What is posted. `text` is what chat services show of any JSON that is posted to them.
#[expect(clippy::struct_field_names, reason = "they are the names on the wire")]
#[derive(Serialize)]
struct Message<'a> {
    service: &'static str,
    alert: &'static str,
    severity: &'static str,
    text: String,
    message: &'a str,
    details: &'a JsonObject,
    suppressed: u64,
    at: String,
}

/// What was told of a kind.
#[derive(Clone, Copy, Default)]
struct Told {
    at: Option<Timestamp>,
    suppressed: u64,
}

/// An alert that may be told, and how many of its kind were held back before it.
struct Admitted {
    alert: Alert,
    suppressed: u64,
}

/// Takes alerts, and holds back those of a kind that was just told.
pub struct AlertSender {
    every: SignedDuration,
    told: Mutex<HashMap<AlertKind, Told>>,
    queue: Sender<Admitted>,
}

/// Tells them; one in a process.
pub struct AlertCourier {
    target: Target,
    queue: Receiver<Admitted>,
}

/// Both ends. Of each kind at most one alert is told in `every`; zero tells them all.
pub fn alerts(target: Target, every: SignedDuration) -> (Arc<AlertSender>, AlertCourier) {
    let (sender, receiver) = channel(WAITING_MAX);
    let sender = AlertSender {
        every,
        told: Mutex::default(),
        queue: sender,
    };
    let courier = AlertCourier {
        target,
        queue: receiver,
    };
    (Arc::new(sender), courier)
}

impl AlertSender {
    /// How many were held back before this one, if it may be told.
    fn admit(&self, kind: AlertKind, at: Timestamp) -> Option<u64> {
        // Nothing panics while it holds the lock.
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let told = told.entry(kind).or_default();
        // Either way: a clock that went back must not silence a kind for long.
        let is_early = |last: Timestamp| at.duration_since(last).abs() < self.every;
        if told.at.is_some_and(is_early) {
            told.suppressed += 1;
            return None;
        }
        told.at = Some(at);
        Some(std::mem::take(&mut told.suppressed))
    }
}

impl Alerts for AlertSender {
    fn send(&self, alert: Alert) {
        let kind = alert.kind.as_str();
        let Some(suppressed) = self.admit(alert.kind, alert.at) else {
            return count(kind, "suppressed");
        };
        if self.queue.try_send(Admitted { alert, suppressed }).is_err() {
            tracing::warn!(
                event = "alert_dropped",
                alert = kind,
                "too many alerts wait, or nobody tells them"
            );
            count(kind, "dropped");
        }
    }
}

impl AlertCourier {
    /// Tells alerts until told to stop, then what waits, for a moment.
    ///
    /// # Errors
    /// The certificates of this machine cannot be used.
    pub async fn run(mut self, shutdown: CancellationToken) -> Result<(), TargetError> {
        describe_metrics();
        let client = self.target.client(TIMEOUT, 1)?;
        while let Some(Some(admitted)) = shutdown.run_until_cancelled(self.queue.recv()).await {
            let last_words = async {
                shutdown.cancelled().await;
                tokio::time::sleep(LAST_WORDS).await;
            };
            tokio::select! {
                () = tell(&client, &self.target, &admitted) => {}
                () = last_words => {}
            }
        }
        self.queue.close();
        let rest = async {
            while let Some(admitted) = self.queue.recv().await {
                tell(&client, &self.target, &admitted).await;
            }
        };
        if tokio::time::timeout(LAST_WORDS, rest).await.is_err() {
            tracing::warn!(event = "alert_dropped", "alerts that waited at the end are lost");
        }
        Ok(())
    }
}

async fn tell(client: &reqwest::Client, target: &Target, admitted: &Admitted) {
    let kind = admitted.alert.kind.as_str();
    let body = body(admitted);
    let mut wait = RETRY_AFTER;
    for attempt in 1..=ATTEMPTS_MAX {
        match post(client, target, body.clone()).await {
            Ok(()) => {
                tracing::info!(
                    event = "alert_sent",
                    alert = kind,
                    attempt,
                    suppressed = admitted.suppressed,
                    "Alert sent"
                );
                return count(kind, "sent");
            }
            Err(reason) => {
                tracing::warn!(
                    event = "alert_error",
                    alert = kind,
                    attempt,
                    reason,
                    "an alert could not be sent"
                );
            }
        }
        if attempt < ATTEMPTS_MAX {
            tokio::time::sleep(wait).await;
            wait *= 2;
        }
    }
    tracing::error!(
        event = "alert_lost",
        alert = kind,
        message = admitted.alert.message,
        "an alert was given up"
    );
    count(kind, "lost");
}

/// One attempt; the reason of a failure quotes no URL.
async fn post(client: &reqwest::Client, target: &Target, body: Vec<u8>) -> Result<(), String> {
    let request = client
        .post(target.url())
        .header("content-type", "application/json")
        .body(body);
    match request.send().await {
        Ok(answer) if answer.status().is_success() => Ok(()),
        Ok(answer) => Err(format!("answered {}", answer.status().as_u16())),
        Err(error) => Err(why(error)),
    }
}

fn body(Admitted { alert, suppressed }: &Admitted) -> Vec<u8> {
    let held_back = match suppressed {
        0 => String::new(),
        more => format!(" ({more} more of this kind since the last one)"),
    };
    let message = Message {
        service: "cloakroom",
        alert: alert.kind.as_str(),
        severity: alert.kind.severity(),
        text: format!(
            "[cloakroom] {}: {}{held_back}",
            alert.kind.as_str(),
            alert.message
        ),
        message: &alert.message,
        details: &alert.details,
        suppressed: *suppressed,
        at: alert.at.to_string(),
    };
    // Strings, numbers and maps with string keys: serialising them cannot fail.
    serde_json::to_vec(&message).unwrap_or_default()
}

fn count(kind: &'static str, outcome: &'static str) {
    metrics::counter!("cloakroom_alerts_total", "kind" => kind, "outcome" => outcome).increment(1);
}

fn describe_metrics() {
    metrics::describe_counter!(
        "cloakroom_alerts_total",
        "Alerts: sent, suppressed because one of their kind was just told, dropped because too many waited, or lost."
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    fn alert(kind: AlertKind, second: i64) -> Alert {
        Alert {
            kind,
            message: "no space".to_owned(),
            details: JsonObject::from_iter([("file_id".to_owned(), "1".into())]),
            at: at(second),
        }
    }

    fn pair(seconds: i64) -> (Arc<AlertSender>, AlertCourier) {
        let target = Target::new("https://example.com/hooks?token=hush", false).expect("a target");
        alerts(target, SignedDuration::from_secs(seconds))
    }

    #[test]
    fn a_kind_is_told_once_in_a_while_and_others_beside_it() {
        let (sender, mut courier) = pair(60);
        sender.send(alert(AlertKind::UploadError, 0));
        sender.send(alert(AlertKind::UploadError, 59));
        sender.send(alert(AlertKind::JobDead, 59));
        sender.send(alert(AlertKind::UploadError, 30));
        sender.send(alert(AlertKind::UploadError, 60));
        let mut told = vec![];
        while let Ok(admitted) = courier.queue.try_recv() {
            told.push((admitted.alert.kind, admitted.suppressed));
        }
        assert_eq!(
            told,
            [
                (AlertKind::UploadError, 0),
                (AlertKind::JobDead, 0),
                (AlertKind::UploadError, 2)
            ]
        );
    }

    #[test]
    fn nobody_waits_for_a_full_queue() {
        let (sender, mut courier) = pair(0);
        for second in 0..100 {
            sender.send(alert(AlertKind::Unavailable, second));
        }
        let mut waiting = 0;
        while courier.queue.try_recv().is_ok() {
            waiting += 1;
        }
        assert_eq!(waiting, WAITING_MAX);
    }

    /// A line that changes here breaks a receiver.
    #[test]
    fn the_message_is_this() {
        let admitted = Admitted {
            alert: alert(AlertKind::UploadError, 0),
            suppressed: 2,
        };
        assert_eq!(
            String::from_utf8(body(&admitted)).expect("text"),
            "{\"service\":\"cloakroom\",\"alert\":\"upload_error\",\"severity\":\"error\",\
             \"text\":\"[cloakroom] upload_error: no space (2 more of this kind since the last one)\",\
             \"message\":\"no space\",\"details\":{\"file_id\":\"1\"},\"suppressed\":2,\"at\":\"1970-01-01T00:00:00Z\"}"
        );
    }
}
