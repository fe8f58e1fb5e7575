//! moto as its owner uses it: making queues and buckets, sending, looking.

use std::sync::Arc;

use cloakroom_bucket_events::CredentialsProvider;
use cloakroom_signing::Credentials;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};

use crate::aws::Account;
use crate::unique;

/// A queue with a dead-letter queue behind it.
pub struct Queues {
    pub main: String,
    pub dead: String,
    pub arn: String,
}

pub fn url() -> String {
    let url = cloakroom_testkit::servers::moto_url();
    url.trim_end_matches('/').to_owned()
}

pub fn credentials() -> CredentialsProvider {
    let credentials = || -> BoxFuture<'static, Result<Credentials, String>> {
        Box::pin(async { Ok(Credentials::new("AKID", "secret")) })
    };
    Arc::new(credentials)
}

pub fn account() -> Account {
    Account {
        endpoint: url(),
        access_key: "AKID".to_owned(),
        secret_key: "secret".to_owned(),
        region: "us-east-1".to_owned(),
    }
}

async fn sqs(action: &str, request: Value) -> Value {
    account().sqs(action, request).await
}

impl Queues {
    /// A message is moved aside when it was received that often.
    pub async fn new(receives_max: u32) -> Self {
        let name = unique("q");
        let dead = Self::create(&format!("{name}-dead"), json!({})).await;
        let dead_arn = Self::arn(&dead).await;
        let redrive = json!({"deadLetterTargetArn": dead_arn, "maxReceiveCount": receives_max}).to_string();
        let main = Self::create(&name, json!({"RedrivePolicy": redrive})).await;
        let arn = Self::arn(&main).await;
        Self { main, dead, arn }
    }

    async fn create(name: &str, attributes: Value) -> String {
        let queue = sqs(
            "CreateQueue",
            json!({"QueueName": name, "Attributes": attributes}),
        )
        .await;
        queue["QueueUrl"].as_str().expect("a URL").to_owned()
    }

    async fn attributes(url: &str) -> Value {
        let answer = sqs(
            "GetQueueAttributes",
            json!({"QueueUrl": url, "AttributeNames": ["All"]}),
        )
        .await;
        answer["Attributes"].clone()
    }

    async fn arn(url: &str) -> String {
        let attributes = Self::attributes(url).await;
        attributes["QueueArn"].as_str().expect("an ARN").to_owned()
    }

    /// Messages in a queue: visible and not.
    pub async fn count(url: &str) -> u64 {
        let attributes = Self::attributes(url).await;
        let number = |name: &str| {
            attributes[name]
                .as_str()
                .and_then(|text| text.parse::<u64>().ok())
        };
        number("ApproximateNumberOfMessages").expect("a count")
            + number("ApproximateNumberOfMessagesNotVisible").expect("a count")
    }

    pub async fn send(&self, body: &str) {
        sqs("SendMessage", json!({"QueueUrl": self.main, "MessageBody": body})).await;
    }

    /// The bodies of what was moved aside.
    pub async fn dead_bodies(&self) -> Vec<String> {
        let answer = sqs(
            "ReceiveMessage",
            json!({"QueueUrl": self.dead, "MaxNumberOfMessages": 10, "VisibilityTimeout": 0}),
        )
        .await;
        let messages = answer["Messages"].as_array().cloned().unwrap_or_default();
        messages
            .iter()
            .map(|message| message["Body"].as_str().unwrap_or_default().to_owned())
            .collect()
    }
}
