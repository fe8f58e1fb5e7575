//! Making a bucket ready: the bucket itself, CORS for browsers, a lifecycle as the net under the sweeper, public access
//! blocked, default encryption, notifications.
//!
//! Done again, it changes nothing. What others have set up in the same bucket stays: our rules are known by their ids.
//! What a provider cannot do is said and skipped; whatever depends on it has another way.

mod access;

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use cloakroom_core::key::STAGING_PREFIX;
use cloakroom_core::ports::objects::{ObjectError, ObjectStore as _, Result};
use http::Method;
use md5::{Digest as _, Md5};
use quick_xml::escape::escape;
use serde::Deserialize;

use super::client::Request;
use super::{Encryption, S3Store};

/// How often a set-up is tried that another node disturbs.
const TRIES_MAX: u32 = 3;
/// Ours begin so.
const OUR_RULES: &str = "cloakroom-";
const CORS_RULE: &str = "cloakroom-uploads";
const STAGING_RULE: &str = "cloakroom-staging";
const NOTIFICATION_RULE: &str = "cloakroom-uploads";
const NAMESPACE: &str = "http://s3.amazonaws.com/doc/2006-03-01/";

/// What a bucket is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketPlan {
    /// Its name.
    pub name: String,
    /// Origins of web pages that may upload and download; empty leaves CORS alone.
    pub cors_origins: Vec<String>,
    /// Whole days after which the bucket itself removes what is in staging; 0 leaves the lifecycle alone.
    pub staging_days: u32,
    /// Blocks public ACLs and policies; `false` leaves them alone.
    pub block_public: bool,
    /// Default encryption; `None` leaves it alone.
    pub encryption: Option<Encryption>,
    /// The queue or topic (its ARN) that is told of new objects in staging; `None` leaves notifications alone.
    pub notify: Option<String>,
}

/// One thing that is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The bucket.
    Bucket,
    /// Cross-origin requests.
    Cors,
    /// Expiry of staging, and of multipart uploads that nobody finishes.
    Lifecycle,
    /// Nobody reads without a signature.
    PublicAccess,
    /// Default encryption.
    Encryption,
    /// Notifications of new objects.
    Notification,
}

impl Step {
    /// The name in logs and reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bucket => "bucket",
            Self::Cors => "cors",
            Self::Lifecycle => "lifecycle",
            Self::PublicAccess => "public_access",
            Self::Encryption => "encryption",
            Self::Notification => "notification",
        }
    }
}

/// What became of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was as it should be.
    Unchanged,
    /// It is now.
    Changed,
    /// The provider cannot do it, or not for our credentials.
    Skipped(String),
}

impl S3Store {
    /// Brings a bucket to its plan.
    ///
    /// # Errors
    /// The bucket cannot be made or reached. Everything else is an [`Outcome`].
    pub async fn set_up(&self, plan: &BucketPlan) -> Result<Vec<(Step, Outcome)>> {
        let mut tries = 1;
        loop {
            match self.set_up_once(plan).await {
                // Some services trip over several nodes that do the same at the same time; one of them has done it.
                Err(ObjectError::Unavailable(reason)) if tries < TRIES_MAX => {
                    tracing::debug!(
                        event = "bucket_step_repeated",
                        bucket = plan.name,
                        reason,
                        "looking again"
                    );
                    tries += 1;
                }
                done => return done,
            }
        }
    }

    async fn set_up_once(&self, plan: &BucketPlan) -> Result<Vec<(Step, Outcome)>> {
        let mut done = vec![(Step::Bucket, self.set_up_bucket(&plan.name).await?)];
        if !plan.cors_origins.is_empty() {
            done.push((Step::Cors, skipped(self.set_up_cors(plan).await)?));
        }
        if plan.staging_days > 0 {
            done.push((Step::Lifecycle, skipped(self.set_up_lifecycle(plan).await)?));
        }
        if plan.block_public {
            let outcome = self.block_public_access(&plan.name).await;
            done.push((Step::PublicAccess, skipped(outcome)?));
        }
        if let Some(encryption) = &plan.encryption {
            done.push((
                Step::Encryption,
                skipped(self.set_up_encryption(plan, encryption).await)?,
            ));
        }
        if let Some(target) = &plan.notify {
            done.push((
                Step::Notification,
                skipped(self.set_up_notification(plan, target).await)?,
            ));
        }
        for (step, outcome) in &done {
            let (bucket, step) = (plan.name.as_str(), step.as_str());
            match outcome {
                Outcome::Unchanged => tracing::debug!(event = "bucket_step", bucket, step, "as it should be"),
                Outcome::Changed => {
                    tracing::info!(event = "bucket_step", bucket, step, "the bucket was set up");
                }
                Outcome::Skipped(reason) => {
                    tracing::warn!(
                        event = "bucket_step_skipped",
                        bucket,
                        step,
                        reason,
                        "the object store cannot do this"
                    );
                }
            }
        }
        Ok(done)
    }

    async fn set_up_bucket(&self, name: &str) -> Result<Outcome> {
        if !self.bucket_is_missing(name).await {
            return Ok(Outcome::Unchanged);
        }
        match self.create_bucket(name).await {
            Ok(()) => Ok(Outcome::Changed),
            // Another node was first.
            Err(ObjectError::BucketExists) => Ok(Outcome::Unchanged),
            Err(error) => Err(error),
        }
    }

    async fn set_up_cors(&self, plan: &BucketPlan) -> Result<Outcome> {
        let standing = self.configuration(&plan.name, "cors", "GetBucketCors").await?;
        let wanted = cors_rule(&plan.cors_origins);
        let body = |rules: &[String]| {
            format!(
                "<CORSConfiguration xmlns=\"{NAMESPACE}\">{}</CORSConfiguration>",
                rules.concat()
            )
        };
        self.set_rules(
            plan,
            "cors",
            "PutBucketCors",
            &standing,
            ("CORSRule", CORS_RULE),
            &wanted,
            same::<CorsRule>,
            body,
        )
        .await
    }

    async fn set_up_lifecycle(&self, plan: &BucketPlan) -> Result<Outcome> {
        let standing = self
            .configuration(&plan.name, "lifecycle", "GetBucketLifecycleConfiguration")
            .await?;
        let wanted = lifecycle_rule(plan.staging_days);
        let body = |rules: &[String]| {
            format!(
                "<LifecycleConfiguration xmlns=\"{NAMESPACE}\">{}</LifecycleConfiguration>",
                rules.concat()
            )
        };
        let put = "PutBucketLifecycleConfiguration";
        self.set_rules(
            plan,
            "lifecycle",
            put,
            &standing,
            ("Rule", STAGING_RULE),
            &wanted,
            same::<LifecycleRule>,
            body,
        )
        .await
    }

    async fn set_up_encryption(&self, plan: &BucketPlan, encryption: &Encryption) -> Result<Outcome> {
        let rule = match encryption {
            Encryption::Aes256 => "<SSEAlgorithm>AES256</SSEAlgorithm>".to_owned(),
            Encryption::Kms { key_id } => {
                let key = key_id
                    .iter()
                    .map(|id| format!("<KMSMasterKeyID>{}</KMSMasterKeyID>", escape(id.as_str())));
                format!("<SSEAlgorithm>aws:kms</SSEAlgorithm>{}", key.collect::<String>())
            }
        };
        let standing = self
            .configuration(&plan.name, "encryption", "GetBucketEncryption")
            .await?;
        let squeezed: String = standing.split_whitespace().collect();
        if squeezed.contains(&rule) {
            return Ok(Outcome::Unchanged);
        }
        let body = format!(
            "<ServerSideEncryptionConfiguration xmlns=\"{NAMESPACE}\"><Rule><ApplyServerSideEncryptionByDefault>{rule}\
             </ApplyServerSideEncryptionByDefault></Rule></ServerSideEncryptionConfiguration>"
        );
        self.configure(&plan.name, "encryption", "PutBucketEncryption", body)
            .await
    }

    async fn set_up_notification(&self, plan: &BucketPlan, target: &str) -> Result<Outcome> {
        let standing = self
            .configuration(&plan.name, "notification", "GetBucketNotificationConfiguration")
            .await?;
        let (element, name) = if target.split(':').nth(2) == Some("sqs") {
            ("QueueConfiguration", "Queue")
        } else {
            ("TopicConfiguration", "Topic")
        };
        let target = escape(target);
        let wanted = format!(
            "<{element}><Id>{NOTIFICATION_RULE}</Id><{name}>{target}</{name}><Event>s3:ObjectCreated:*</Event>\
             <Filter><S3Key><FilterRule><Name>prefix</Name><Value>{STAGING_PREFIX}</Value></FilterRule></S3Key></Filter>\
             </{element}>"
        );
        let ours = |rule: &String| rule.contains(&format!("<Id>{NOTIFICATION_RULE}</Id>"));
        let mut rules = Vec::new();
        for kind in [
            "QueueConfiguration",
            "TopicConfiguration",
            "CloudFunctionConfiguration",
        ] {
            rules.extend(elements(&standing, kind));
        }
        if rules
            .iter()
            .any(|rule| ours(rule) && rule.contains(&format!("<{name}>{target}</{name}>")))
        {
            return Ok(Outcome::Unchanged);
        }
        rules.retain(|rule| !ours(rule));
        rules.push(wanted);
        let body = format!(
            "<NotificationConfiguration xmlns=\"{NAMESPACE}\">{}</NotificationConfiguration>",
            rules.concat()
        );
        self.configure(
            &plan.name,
            "notification",
            "PutBucketNotificationConfiguration",
            body,
        )
        .await
    }

    /// Replaces our rule among those that stand, unless it means the same already.
    #[expect(clippy::too_many_arguments, reason = "what two configurations differ in")]
    async fn set_rules(
        &self,
        plan: &BucketPlan,
        name: &'static str,
        operation: &'static str,
        standing: &str,
        (element, id): (&str, &str),
        wanted: &str,
        same: fn(&str, &str) -> bool,
        body: impl Fn(&[String]) -> String,
    ) -> Result<Outcome> {
        let mut rules = elements(standing, element);
        let id = format!("<ID>{id}</ID>");
        if rules.iter().any(|rule| rule.contains(&id) && same(rule, wanted)) {
            return Ok(Outcome::Unchanged);
        }
        rules.retain(|rule| !rule.contains(&format!("<ID>{OUR_RULES}")));
        rules.push(wanted.to_owned());
        self.configure(&plan.name, name, operation, body(&rules)).await
    }

    /// A part of the bucket's configuration as XML; empty when there is none.
    pub(super) async fn configuration(
        &self,
        bucket: &str,
        name: &'static str,
        operation: &'static str,
    ) -> Result<String> {
        let request = Request::new(operation, Method::GET, bucket, "").query(name, "");
        match self.call(request).await {
            Ok(answer) => {
                let answer = answer.whole().await.map_err(ObjectError::Unavailable)?;
                let text = answer.text().map(str::to_owned);
                text.map_err(|error| super::failure::describe(error, bucket))
            }
            // `NoSuchCORSConfiguration` and its like.
            Err(ObjectError::NotFound) => Ok(String::new()),
            Err(ObjectError::InvalidArgument(said)) if said.contains(" 404 ") => Ok(String::new()),
            Err(error) => Err(error),
        }
    }

    async fn configure(
        &self,
        bucket: &str,
        name: &'static str,
        operation: &'static str,
        body: String,
    ) -> Result<Outcome> {
        let digest = BASE64.encode(Md5::digest(body.as_bytes()));
        let request = Request::new(operation, Method::PUT, bucket, "")
            .query(name, "")
            .header("content-type", "application/xml")
            .header("content-md5", digest)
            .body(body);
        self.call(request).await.map(|_| Outcome::Changed)
    }
}

/// What the provider, or our credentials, cannot do is no failure of the set-up.
fn skipped(outcome: Result<Outcome>) -> Result<Outcome> {
    match outcome {
        Err(
            error @ (ObjectError::Unsupported(_)
            | ObjectError::InvalidArgument(_)
            | ObjectError::Internal(_)
            | ObjectError::NotFound),
        ) => Ok(Outcome::Skipped(error.to_string())),
        Err(ObjectError::Denied(reason)) => Ok(Outcome::Skipped(reason)),
        other => other,
    }
}

fn cors_rule(origins: &[String]) -> String {
    let mut rule = format!("<CORSRule><ID>{CORS_RULE}</ID>");
    for origin in origins {
        // Writing to a String cannot fail.
        let _ = write!(rule, "<AllowedOrigin>{}</AllowedOrigin>", escape(origin.as_str()));
    }
    for method in ["GET", "HEAD", "PUT", "POST"] {
        let _ = write!(rule, "<AllowedMethod>{method}</AllowedMethod>");
    }
    rule.push_str("<AllowedHeader>*</AllowedHeader><ExposeHeader>ETag</ExposeHeader><MaxAgeSeconds>3600</MaxAgeSeconds></CORSRule>");
    rule
}

fn lifecycle_rule(days: u32) -> String {
    format!(
        "<Rule><ID>{STAGING_RULE}</ID><Filter><Prefix>{STAGING_PREFIX}</Prefix></Filter><Status>Enabled</Status>\
         <Expiration><Days>{days}</Days></Expiration>\
         <AbortIncompleteMultipartUpload><DaysAfterInitiation>{days}</DaysAfterInitiation></AbortIncompleteMultipartUpload></Rule>"
    )
}

/// Elements of this name as they stand, tags included: what we do not understand must stay as it is.
fn elements(xml: &str, name: &str) -> Vec<String> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    let mut found = Vec::new();
    let mut rest = xml;
    while let Some(start) = rest.find(&open) {
        let Some(length) = rest[start..].find(&close) else {
            break;
        };
        found.push(rest[start..start + length + close.len()].to_owned());
        rest = &rest[start + length + close.len()..];
    }
    found
}

/// Whether two rules mean the same, however they are written.
fn same<T: for<'de> Deserialize<'de> + PartialEq + Normal>(one: &str, other: &str) -> bool {
    let read = |rule: &str| quick_xml::de::from_str::<T>(rule).ok().map(Normal::normal);
    matches!((read(one), read(other)), (Some(one), Some(other)) if one == other)
}

trait Normal {
    /// With lists in one order.
    fn normal(self) -> Self;
}

#[derive(Deserialize, PartialEq)]
#[serde(rename_all = "PascalCase")]
struct CorsRule {
    #[serde(default)]
    allowed_origin: Vec<String>,
    #[serde(default)]
    allowed_method: Vec<String>,
    #[serde(default)]
    allowed_header: Vec<String>,
    #[serde(default)]
    expose_header: Vec<String>,
}

impl Normal for CorsRule {
    fn normal(mut self) -> Self {
        for list in [
            &mut self.allowed_origin,
            &mut self.allowed_method,
            &mut self.allowed_header,
            &mut self.expose_header,
        ] {
            list.sort();
        }
        self
    }
}

#[derive(Deserialize, PartialEq)]
#[serde(rename_all = "PascalCase")]
struct LifecycleRule {
    status: String,
    #[serde(default)]
    filter: Prefix,
    /// Where it stood before filters.
    prefix: Option<String>,
    expiration: Option<Days>,
    abort_incomplete_multipart_upload: Option<Days>,
}

#[derive(Default, Deserialize, PartialEq)]
struct Prefix {
    #[serde(rename = "Prefix")]
    prefix: Option<String>,
}

#[derive(Deserialize, PartialEq)]
struct Days {
    #[serde(rename = "Days", alias = "DaysAfterInitiation")]
    days: u32,
}

impl Normal for LifecycleRule {
    fn normal(mut self) -> Self {
        let prefix = self.prefix.take().filter(|prefix| !prefix.is_empty());
        self.filter.prefix = self.filter.prefix.or(prefix);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_the_same_however_it_is_written() {
        let ours = cors_rule(&["https://a.example".to_owned(), "https://b.example".to_owned()]);
        let theirs = "<CORSRule><AllowedMethod>PUT</AllowedMethod><AllowedMethod>POST</AllowedMethod><AllowedMethod>GET</AllowedMethod>\
             <AllowedMethod>HEAD</AllowedMethod><ID>cloakroom-uploads</ID><AllowedOrigin>https://b.example</AllowedOrigin>\
             <AllowedOrigin>https://a.example</AllowedOrigin><AllowedHeader>*</AllowedHeader><MaxAgeSeconds>3600</MaxAgeSeconds>\
             <ExposeHeader>ETag</ExposeHeader></CORSRule>";
        assert!(same::<CorsRule>(&ours, theirs));
        assert!(!same::<CorsRule>(&cors_rule(&["*".to_owned()]), theirs));
        let older = "<Rule><ID>cloakroom-staging</ID><Prefix>staging/</Prefix><Status>Enabled</Status><Expiration><Days>9</Days></Expiration>\
             <AbortIncompleteMultipartUpload><DaysAfterInitiation>9</DaysAfterInitiation></AbortIncompleteMultipartUpload></Rule>";
        assert!(same::<LifecycleRule>(&lifecycle_rule(9), older));
        assert!(!same::<LifecycleRule>(&lifecycle_rule(8), older));
    }

    #[test]
    fn what_is_not_understood_stays_as_it_is() {
        let strange = "<Rule><ID>theirs</ID><Odd a=\"1\"><Odder/></Odd></Rule>";
        let xml =
            format!("<LifecycleConfiguration>{strange}<Rule><ID>x</ID></Rule></LifecycleConfiguration>");
        assert_eq!(elements(&xml, "Rule"), [strange, "<Rule><ID>x</ID></Rule>"]);
        assert!(elements("<Rule>", "Rule").is_empty());
    }
}
