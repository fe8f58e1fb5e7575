//! Where downloads come from: the stores, or a delivery network before them.

use std::sync::Arc;

use cloakroom_core::ports::signer::Signer;
use cloakroom_objects::cloudfront::CloudFrontDownloads;

use crate::commands::Failure;
use crate::config::Config;
use crate::config::cloudfront::cloudfront;

/// `store` signs for the stores; what is answered signs for the distribution that is configured before some of their buckets.
pub(super) fn signer(config: &Config, store: Arc<dyn Signer>) -> Result<Arc<dyn Signer>, Failure> {
    let settings = &config.settings;
    let found = cloudfront(settings, &config.collections);
    let Some(found) = found.map_err(|problem| Failure::configuration(vec![problem]))? else {
        return Ok(store);
    };
    Ok(Arc::new(CloudFrontDownloads::new(
        store,
        found.signer,
        settings.downloads_cloudfront_policy.0,
        &found.url,
        found.buckets.iter().map(String::as_str),
    )))
}
