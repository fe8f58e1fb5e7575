//! Large files in parts: what has arrived is not sent again, the rest goes in parallel, and URLs that run out on the
//! way are signed anew.

use std::collections::{BTreeMap, HashMap};

use futures_util::{StreamExt as _, TryStreamExt as _};
use reqwest::header::ETAG;
use tokio::sync::Mutex;
use tokio::time::{Duration, Instant, sleep};

use super::api::Api;
use super::error::{ClientError, Result};
use super::progress::Task;
use super::retry::Retry;
use super::source::Source;
use super::transfer::{self, Span};
use super::wire::{ArrivedPart, CompletedPart, PartTicket};

/// How many part URLs are asked for at once.
const TICKETS_AT_ONCE: usize = 64;
/// A URL that is not good for so long any more is not used.
const TICKET_MARGIN: Duration = Duration::from_secs(30);
/// How often a refused URL is signed again before the refusal is believed.
const SIGN_AGAIN_MAX: u32 = 2;
/// S3 takes no more parts (S3 user guide, "multipart upload limits").
const PARTS_MAX: u64 = 10_000;

/// One part of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Part {
    number: u32,
    span: Span,
}

/// What a multipart upload needs to know.
pub struct Multipart<'a> {
    /// The instance.
    pub api: &'a Api,
    /// The file.
    pub source: &'a Source,
    /// The upload.
    pub id: &'a str,
    /// Size of every part but the last.
    pub part_size: u64,
    /// Parts in parallel.
    pub jobs: usize,
    /// Where progress is shown.
    pub task: &'a Task,
}

/// What was done.
#[derive(Debug)]
pub struct Delivery {
    /// Every part, in order, for `complete`.
    pub parts: Vec<CompletedPart>,
    /// How many were sent now.
    pub sent: usize,
    /// How many were there already.
    pub resumed: usize,
}

impl Multipart<'_> {
    /// Sends what is missing.
    pub async fn send(
        &self,
        arrived: &[ArrivedPart],
        tickets: Vec<PartTicket>,
        lifetime: Option<Duration>,
    ) -> Result<Delivery> {
        let plan = plan(self.source.size(), self.part_size)?;
        let (missing, kept) = remaining(&plan, arrived);
        let (resumed, there) = (
            kept.len(),
            self.source.size() - missing.iter().map(|part| part.span.length).sum::<u64>(),
        );
        self.task.add(there);
        let tickets = Tickets::new(
            self.api,
            self.id,
            missing.iter().map(|part| part.number).collect(),
            tickets,
            lifetime,
        );
        let sent: Vec<CompletedPart> = futures_util::stream::iter(missing)
            .map(|part| self.send_part(part, &tickets))
            .buffer_unordered(self.jobs)
            .try_collect()
            .await?;
        let count = sent.len();
        let mut parts: Vec<CompletedPart> = kept.into_iter().chain(sent).collect();
        parts.sort_unstable_by_key(|part| part.part_number);
        Ok(Delivery {
            parts,
            sent: count,
            resumed,
        })
    }

    async fn send_part(&self, part: Part, tickets: &Tickets<'_>) -> Result<CompletedPart> {
        let mut retry = Retry::default();
        let mut signed_again = 0;
        loop {
            let ticket = tickets.take(part.number).await?;
            let url = ticket.upload_url.expose();
            let error = match transfer::put(self.api, url, &ticket.headers, self.source, part.span, self.task)
                .await
            {
                Ok(response) => {
                    let etag = response
                        .headers()
                        .get(ETAG)
                        .and_then(|etag| etag.to_str().ok())
                        .ok_or_else(|| {
                            ClientError::Failed(format!(
                                "the object store gave no ETag for part {}",
                                part.number
                            ))
                        })?;
                    return Ok(CompletedPart {
                        part_number: part.number,
                        etag: etag.to_owned(),
                    });
                }
                Err(error) => error,
            };
            // A file that shrank breaks the request off: say that, and not what it looked like from the network.
            self.source.unchanged()?;
            if error.status() == Some(403) && signed_again < SIGN_AGAIN_MAX {
                signed_again += 1;
                continue;
            }
            match retry.next_delay(&self.api.policy(), &error, rand::random()) {
                Some(delay) => sleep(delay).await,
                None => return Err(error),
            }
        }
    }
}

/// Part URLs in hand, each used for one attempt.
struct Tickets<'a> {
    api: &'a Api,
    id: &'a str,
    /// Numbers that will be needed, in order.
    wanted: Vec<u32>,
    held: Mutex<HashMap<u32, (PartTicket, Option<Instant>)>>,
}

impl<'a> Tickets<'a> {
    fn new(
        api: &'a Api,
        id: &'a str,
        wanted: Vec<u32>,
        tickets: Vec<PartTicket>,
        lifetime: Option<Duration>,
    ) -> Self {
        let held = Mutex::new(held(tickets, lifetime).collect());
        Self {
            api,
            id,
            wanted,
            held,
        }
    }

    /// A URL for this part that is still good. Those that wait meanwhile find theirs signed.
    async fn take(&self, number: u32) -> Result<PartTicket> {
        let mut in_hand = self.held.lock().await;
        let now = Instant::now();
        in_hand.retain(|_, (_, good_until)| good_until.is_none_or(|until| until > now));
        if let Some((ticket, _)) = in_hand.remove(&number) {
            return Ok(ticket);
        }
        let from = self.wanted.partition_point(|wanted| *wanted < number);
        let numbers: Vec<u32> = self.wanted[from..]
            .iter()
            .copied()
            .filter(|n| !in_hand.contains_key(n))
            .take(TICKETS_AT_ONCE)
            .collect();
        let (tickets, lifetime) = self.api.sign_parts(self.id, &numbers).await?;
        in_hand.extend(held(tickets, lifetime));
        in_hand.remove(&number).map(|(ticket, _)| ticket).ok_or_else(|| {
            ClientError::Failed(format!(
                "the server did not sign part {number} when it was asked to"
            ))
        })
    }
}

fn held(
    tickets: Vec<PartTicket>,
    lifetime: Option<Duration>,
) -> impl Iterator<Item = (u32, (PartTicket, Option<Instant>))> {
    let good_until = lifetime.map(|lifetime| Instant::now() + lifetime.saturating_sub(TICKET_MARGIN));
    tickets
        .into_iter()
        .map(move |ticket| (ticket.part_number, (ticket, good_until)))
}

fn plan(size: u64, part_size: u64) -> Result<Vec<Part>> {
    let count = size
        .checked_div(part_size)
        .map(|whole| whole + u64::from(!size.is_multiple_of(part_size)))
        .unwrap_or_default()
        .max(1);
    if part_size == 0 || count > PARTS_MAX {
        return Err(ClientError::Failed(format!(
            "{size} bytes in parts of {part_size} do not make an upload"
        )));
    }
    let part = |index: u64| Part {
        number: index as u32 + 1,
        span: Span {
            offset: index * part_size,
            length: part_size.min(size - index * part_size),
        },
    };
    Ok((0..count).map(part).collect())
}

/// What is still to send, and what is there. A part counts only in the size that it must have.
fn remaining(plan: &[Part], arrived: &[ArrivedPart]) -> (Vec<Part>, Vec<CompletedPart>) {
    let arrived: BTreeMap<u32, &ArrivedPart> = arrived.iter().map(|part| (part.part_number, part)).collect();
    let mut missing = Vec::new();
    let mut kept = Vec::new();
    for part in plan {
        match arrived.get(&part.number) {
            Some(there) if there.size_bytes == part.span.length => {
                kept.push(CompletedPart {
                    part_number: part.number,
                    etag: there.etag.clone(),
                });
            }
            _ => missing.push(*part),
        }
    }
    (missing, kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_the_file_without_gap_or_overlap() {
        for (size, part_size, count) in [(0, 8, 1), (1, 8, 1), (8, 8, 1), (9, 8, 2), (80_000, 8, 10_000)] {
            let plan = plan(size, part_size).expect("a plan");
            assert_eq!(plan.len(), count, "{size}");
            let mut end = 0;
            for (index, part) in plan.iter().enumerate() {
                assert_eq!((part.number as usize, part.span.offset), (index + 1, end));
                end += part.span.length;
            }
            assert_eq!(end, size);
        }
        assert!(plan(80_001, 8).is_err() && plan(8, 0).is_err());
    }

    #[test]
    fn only_whole_parts_are_kept() {
        let plan = plan(20, 8).expect("a plan");
        let arrived = |part_number, size_bytes| ArrivedPart {
            part_number,
            size_bytes,
            etag: format!("e{part_number}"),
        };
        let (missing, kept) = remaining(
            &plan,
            &[arrived(1, 8), arrived(2, 5), arrived(3, 4), arrived(9, 8)],
        );
        assert_eq!(missing.iter().map(|part| part.number).collect::<Vec<_>>(), [2]);
        assert_eq!(
            kept.iter()
                .map(|part| (part.part_number, part.etag.as_str()))
                .collect::<Vec<_>>(),
            [(1, "e1"), (3, "e3")]
        );
        assert_eq!(remaining(&plan, &[]).0.len(), 3);
    }
}
