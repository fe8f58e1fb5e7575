//! Nobody reads a bucket without a signature.
//!
//! There is no plan for a public bucket: a policy would have to show files and hide the sidecars beside them, and the
//! patterns of real services do not do that reliably (Ceph gives up at the first dot of a name).

use cloakroom_core::ports::objects::Result;

use super::super::S3Store;
use super::{NAMESPACE, Outcome};

/// Three of the switches of the S3 API ("PublicAccessBlockConfiguration"): public ACLs ignored, public policies refused,
/// public policies without effect. Not `BlockPublicAcls`: ignored ones do no harm, and Ceph 16 refuses every write with it.
const SWITCHES: [&str; 3] = ["IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"];

impl S3Store {
    /// Blocks public ACLs and policies, unless somebody else has chosen otherwise for this bucket.
    pub(super) async fn block_public_access(&self, bucket: &str) -> Result<Outcome> {
        let block = self
            .configuration(bucket, "publicAccessBlock", "GetPublicAccessBlock")
            .await?;
        let on = SWITCHES.iter().filter(|switch| is_on(&block, switch)).count();
        if on == SWITCHES.len() {
            return Ok(Outcome::Unchanged);
        }
        if on > 0 {
            return Ok(Outcome::Skipped(
                "somebody has chosen which public access is blocked; that stays".to_owned(),
            ));
        }
        if !self
            .configuration(bucket, "policy", "GetBucketPolicy")
            .await?
            .is_empty()
        {
            return Ok(Outcome::Skipped(
                "the bucket has a policy of somebody else, which would lose its effect; public access is not blocked"
                    .to_owned(),
            ));
        }
        let switches: Vec<_> = SWITCHES
            .iter()
            .map(|name| format!("<{name}>true</{name}>"))
            .collect();
        let body = format!(
            "<PublicAccessBlockConfiguration xmlns=\"{NAMESPACE}\">{}</PublicAccessBlockConfiguration>",
            switches.concat()
        );
        self.configure(bucket, "publicAccessBlock", "PutPublicAccessBlock", body)
            .await
    }
}

fn is_on(block: &str, switch: &str) -> bool {
    let block = block.to_ascii_lowercase();
    block.contains(&format!("<{0}>true</{0}>", switch.to_ascii_lowercase()))
}
