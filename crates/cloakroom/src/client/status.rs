//! Waiting for a file: the server's event stream, and polling where there is none.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::api::Api;
use super::error::{ClientError, Result};
use super::retry::is_transient;
use super::wire::{StatusAnswer, is_settled};

/// A stream that says nothing for so long, not even its heartbeat, is broken.
const SILENCE_MAX: Duration = Duration::from_secs(45);
/// First and longest wait between two polls.
const POLL: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
/// Longest event that is taken, in bytes.
const EVENT_BYTES_MAX: usize = 64 * 1024;

/// Waits until nothing more happens to the file by itself. `seen` gets every status on the way, each version once.
pub async fn wait_until_settled(
    api: &Api,
    id: &str,
    wait_max: Duration,
    mut seen: impl FnMut(&StatusAnswer),
) -> Result<StatusAnswer> {
    let deadline = Instant::now() + wait_max;
    let mut version = None;
    let mut delay = POLL.0;
    let mut state = String::from("not known");
    let mut take = |status: StatusAnswer, state: &mut String| {
        if version.is_none_or(|version| status.version > version) {
            version = Some(status.version);
            state.clone_from(&status.state);
            seen(&status);
        }
        is_settled(&status.state).then_some(status)
    };
    let waiting = async {
        loop {
            // The stream ends early when a proxy or a deployment cuts it, and the server gives only a few at once.
            match follow(api, id, |status| take(status, &mut state)).await {
                Ok(Some(status)) => return Ok(status),
                Err(error) if !is_transient(&error) => return Err(error),
                Ok(None) | Err(_) => {}
            }
            if let Some(status) = take(api.status(id).await?, &mut state) {
                return Ok(status);
            }
            sleep(delay).await;
            delay = (delay * 2).min(POLL.1);
        }
    };
    match timeout_at(deadline, waiting).await {
        Ok(settled) => settled,
        Err(_) => Err(ClientError::Failed(format!(
            "still {state} after {} s; it goes on without us: cloakroom status --watch {id}",
            wait_max.as_secs()
        ))),
    }
}

/// Reads one stream to its end, or to the status for which `settled` gives something.
async fn follow<T>(
    api: &Api,
    id: &str,
    mut settled: impl FnMut(StatusAnswer) -> Option<T>,
) -> Result<Option<T>> {
    let mut response = api.status_stream(id).await?;
    let kind = response
        .headers()
        .get(reqwest::header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    if !kind.is_some_and(|kind| kind.starts_with("text/event-stream")) {
        return Ok(None);
    }
    let mut events = EventReader::default();
    loop {
        let Ok(chunk) = timeout(SILENCE_MAX, response.chunk()).await else {
            return Ok(None);
        };
        let Some(chunk) = chunk.map_err(ClientError::transport)? else {
            return Ok(None);
        };
        for data in events.push(&chunk) {
            // An event of another kind is not ours to judge.
            if let Some(found) = serde_json::from_str(&data).ok().and_then(&mut settled) {
                return Ok(Some(found));
            }
        }
    }
}

/// Takes a server-sent event stream apart (HTML Living Standard, section 9.2.6), as far as `data` goes.
#[derive(Debug, Default)]
struct EventReader {
    line: Vec<u8>,
    data: String,
}

impl EventReader {
    /// The data of the events that are complete with this chunk.
    fn push(&mut self, chunk: &[u8]) -> Vec<String> {
        let mut complete = Vec::new();
        for &byte in chunk {
            if byte != b'\n' {
                if self.line.len() < EVENT_BYTES_MAX {
                    self.line.push(byte);
                }
                continue;
            }
            let line = String::from_utf8_lossy(&self.line);
            let line = line.trim_end_matches('\r');
            if line.is_empty() {
                if !self.data.is_empty() {
                    complete.push(std::mem::take(&mut self.data));
                }
            } else if let Some(data) = line.strip_prefix("data:")
                && self.data.len() < EVENT_BYTES_MAX
            {
                self.data.push_str(data.strip_prefix(' ').unwrap_or(data));
            }
            self.line.clear();
        }
        complete
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_found_however_the_stream_is_cut() {
        let stream = b": hello\n\nevent: status\nid: 3\ndata: {\"a\":\ndata: 1}\n\n: beat\r\n\r\ndata:x\r\n\r\ndata: unfinished";
        for size in 1..stream.len() {
            let mut reader = EventReader::default();
            let events: Vec<String> = stream.chunks(size).flat_map(|chunk| reader.push(chunk)).collect();
            assert_eq!(events, ["{\"a\":1}", "x"], "{size}");
        }
    }

    #[test]
    fn an_endless_line_does_not_fill_the_memory() {
        let mut reader = EventReader::default();
        for _ in 0..64 {
            assert!(reader.push(&[b'x'; 4096]).is_empty());
        }
        assert!(reader.line.len() <= EVENT_BYTES_MAX);
    }
}
