//! What object stores tell us of uploads, pulled from queues: so a file comes in without the client's confirm.
//!
//! A source only carries messages to [`App::receive_bucket_events`](cloakroom_service::App::receive_bucket_events), which
//! reads every shape there is and asks the store itself before it believes anything. What a source adds is delivery: a
//! message leaves its queue when what it says is committed, and not before. All of it is at least once, and a message
//! that comes twice is old news.
//!
//! | source | queue | a message that cannot be read | while the database or the store is away |
//! |---|---|---|---|
//! | [`SqsSource`] | Amazon SQS or one that speaks like it | stays, until the queue's redrive policy moves it to its dead-letter queue | nothing is received |
//! | [`NatsSource`] | a JetStream stream | is terminated: the stream keeps it, nobody gets it again | is given back, then nothing is received |
//! | [`NatsSource`] | a plain NATS subject | is dropped | is tried again and again in this process |
//!
//! What is lost all the same, the sweep `arrived_uploads` finds.

mod delivery;
mod nats;
mod pause;
mod sqs;

pub use nats::{NatsOptions, NatsSource};
pub use sqs::{CredentialsProvider, InvalidSqsOptions, SqsOptions, SqsSource};
