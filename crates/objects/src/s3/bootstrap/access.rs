//! Who may read a bucket without a signature: nobody, or, where a collection is public, everybody what is verified.

use cloakroom_core::key::{STAGING_PREFIX, SYSTEM_PREFIX};
use cloakroom_core::ports::objects::Result;
use http::Method;
use serde_json::{Value, json};

use super::super::S3Store;
use super::super::client::Request;
use super::{NAMESPACE, Outcome};

/// Our statement in a bucket policy; ids there are letters and digits.
const OUR_STATEMENT: &str = "CloakroomPublicRead";
/// The switches, in the order of the S3 API ("PublicAccessBlockConfiguration"): ACLs refused, ACLs ignored, policies
/// refused, policies without effect.
const SWITCHES: [&str; 4] = [
    "BlockPublicAcls",
    "IgnorePublicAcls",
    "BlockPublicPolicy",
    "RestrictPublicBuckets",
];

/// Who may read a bucket without a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Left as it is.
    AsItIs,
    /// Nobody: public ACLs and policies are blocked, unless the bucket has a policy or a setting of somebody else, and our
    /// own statement is withdrawn.
    Private,
    /// Everybody, except staging, sidecars and what is ours beside the files: nothing unverified is public (I1). For a bucket
    /// whose collections are all public.
    PublicRead,
}

impl S3Store {
    pub(super) async fn set_up_access(&self, bucket: &str, access: Access) -> Result<Outcome> {
        let text = self.configuration(bucket, "policy", "GetBucketPolicy").await?;
        let policy = Policy::read(&text);
        let block = self
            .configuration(bucket, "publicAccessBlock", "GetPublicAccessBlock")
            .await?;
        match access {
            Access::AsItIs => Ok(Outcome::Unchanged),
            Access::Private => self.close_bucket(bucket, policy, &block).await,
            Access::PublicRead => self.open_bucket(bucket, policy, &block).await,
        }
    }

    async fn close_bucket(&self, bucket: &str, policy: Policy, block: &str) -> Result<Outcome> {
        let withdrawn = policy.ours.is_some();
        if withdrawn {
            self.put_policy(bucket, &policy.without_ours()).await?;
        }
        let is_closed = SWITCHES.iter().all(|switch| is_on(block, switch));
        if is_closed {
            return Ok(if withdrawn {
                Outcome::Changed
            } else {
                Outcome::Unchanged
            });
        }
        if !withdrawn && !block.is_empty() {
            return Ok(Outcome::Skipped(
                "somebody has chosen which public access is blocked; that stays".to_owned(),
            ));
        }
        if !policy.others.is_empty() {
            return Ok(Outcome::Skipped(
                "the bucket has a policy of somebody else; public access is not blocked".to_owned(),
            ));
        }
        self.put_block(bucket, [true; 4]).await
    }

    async fn open_bucket(&self, bucket: &str, policy: Policy, block: &str) -> Result<Outcome> {
        let mut outcome = Outcome::Unchanged;
        let wanted = [true, true, false, false];
        let stands = SWITCHES
            .iter()
            .zip(wanted)
            .all(|(switch, on)| is_on(block, switch) == on);
        if !stands {
            outcome = self.put_block(bucket, wanted).await?;
        }
        let statement = statement(bucket);
        if policy.ours.as_ref().map(normal) != Some(normal(&statement)) {
            let mut statements = policy.without_ours();
            statements.push(statement);
            self.put_policy(bucket, &statements).await?;
            outcome = Outcome::Changed;
        }
        Ok(outcome)
    }

    async fn put_block(&self, bucket: &str, on: [bool; 4]) -> Result<Outcome> {
        let switches = SWITCHES.iter().zip(on);
        let switches: Vec<_> = switches
            .map(|(name, on)| format!("<{name}>{on}</{name}>"))
            .collect();
        let body = format!(
            "<PublicAccessBlockConfiguration xmlns=\"{NAMESPACE}\">{}</PublicAccessBlockConfiguration>",
            switches.concat()
        );
        self.configure(bucket, "publicAccessBlock", "PutPublicAccessBlock", body)
            .await
    }

    async fn put_policy(&self, bucket: &str, statements: &[Value]) -> Result<()> {
        let request = if statements.is_empty() {
            Request::new("DeleteBucketPolicy", Method::DELETE, bucket, "").query("policy", "")
        } else {
            let document = json!({ "Version": "2012-10-17", "Statement": statements });
            Request::new("PutBucketPolicy", Method::PUT, bucket, "")
                .query("policy", "")
                .header("content-type", "application/json")
                .body(document.to_string())
        };
        self.call(request).await.map(drop)
    }
}

/// The statements of a policy.
struct Policy {
    ours: Option<Value>,
    others: Vec<Value>,
}

impl Policy {
    /// What cannot be read is somebody else's: it is then never written over, because it counts as a statement.
    fn read(text: &str) -> Self {
        if text.trim().is_empty() {
            return Self {
                ours: None,
                others: Vec::new(),
            };
        }
        let document: Value = serde_json::from_str(text).unwrap_or(Value::Null);
        let statements = match document.get("Statement") {
            Some(Value::Array(statements)) => statements.clone(),
            Some(one) => vec![one.clone()],
            None => vec![Value::Null],
        };
        let (mut ours, others): (Vec<_>, Vec<_>) = statements
            .into_iter()
            .partition(|statement| statement["Sid"] == OUR_STATEMENT);
        Self {
            ours: ours.pop(),
            others,
        }
    }

    fn without_ours(&self) -> Vec<Value> {
        self.others.clone()
    }
}

/// Everything may be read but what is not verified, or not a file.
fn statement(bucket: &str) -> Value {
    let resource = |pattern: &str| format!("arn:aws:s3:::{bucket}/{pattern}");
    json!({
        "Sid": OUR_STATEMENT,
        "Effect": "Allow",
        "Principal": "*",
        "Action": "s3:GetObject",
        "NotResource": [
            resource(&format!("{STAGING_PREFIX}*")),
            resource(&format!("{SYSTEM_PREFIX}*")),
            resource("*.attr.json"),
        ],
    })
}

/// A statement in one spelling: services give a list of one back as a text, and `*` as an account.
fn normal(statement: &Value) -> Value {
    let mut statement = statement.clone();
    for name in ["Action", "NotResource"] {
        if let Some(Value::Array(items)) = statement.get_mut(name) {
            items.sort_by_key(ToString::to_string);
            if let [one] = items.as_slice() {
                statement[name] = one.clone();
            }
        }
    }
    let everybody = [json!({ "AWS": "*" }), json!({ "AWS": ["*"] })];
    if everybody.contains(&statement["Principal"]) {
        statement["Principal"] = json!("*");
    }
    statement
}

fn is_on(block: &str, switch: &str) -> bool {
    let block = block.to_ascii_lowercase();
    block.contains(&format!("<{0}>true</{0}>", switch.to_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_is_the_same_however_it_is_written() {
        let ours = statement("b");
        let mut theirs = ours.clone();
        theirs["Action"] = json!(["s3:GetObject"]);
        theirs["Principal"] = json!({ "AWS": ["*"] });
        theirs["NotResource"].as_array_mut().expect("a list").reverse();
        assert_eq!(normal(&theirs), normal(&ours));
        theirs["NotResource"].as_array_mut().expect("a list").pop();
        assert_ne!(normal(&theirs), normal(&ours));
    }

    #[test]
    fn statements_of_others_are_kept_apart() {
        let theirs = json!({ "Sid": "theirs", "Effect": "Deny" });
        let text = json!({ "Statement": [theirs, statement("b")] }).to_string();
        let policy = Policy::read(&text);
        assert_eq!(policy.others, [theirs.clone()]);
        assert!(policy.ours.is_some());
        let single = Policy::read(&json!({ "Statement": theirs }).to_string());
        assert_eq!(single.others, [theirs]);
        assert!(Policy::read("").others.is_empty());
        assert_eq!(Policy::read("no JSON").others.len(), 1, "somebody else's");
    }
}
