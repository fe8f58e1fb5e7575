//! OpenStack Swift with s3api.

use cloakroom_core::ports::objects::Capabilities;
use cloakroom_core::upload::UploadMethod::{Multipart, Put, Stream};
use cloakroom_objects::s3::USUAL_CAPABILITIES;
use cloakroom_objects::s3::providers::SWIFT_2;
use cloakroom_testkit::object_store_suite::Subject;

use crate::service::Service;

/// What the probe finds.
const FOUND: Capabilities = Capabilities {
    conditional_put: false,
    post_policy: false,
    part_reads: true,
    closed_uploads: false,
    long_user_metadata: false,
    ..USUAL_CAPABILITIES
};
/// Its conditional copy looks first and copies then: a write in between is copied, so it must not be relied on.
const CAPABILITIES: Capabilities = Capabilities {
    conditional_copy: false,
    unlisted_parts: true,
    ..FOUND
};

async fn subject() -> Subject {
    Service::named("SWIFT").subject(CAPABILITIES).await
}

#[tokio::test]
async fn it_is_as_declared() {
    Service::named("SWIFT")
        .probe(&SWIFT_2, FOUND, &[Put, Multipart, Stream])
        .await;
}

cloakroom_testkit::object_store_suite!(subject);
