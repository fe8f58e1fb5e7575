//! Garage.

use cloakroom_core::ports::objects::Capabilities;
use cloakroom_core::upload::UploadMethod;
use cloakroom_objects::s3::USUAL_CAPABILITIES;
use cloakroom_objects::s3::providers::GARAGE_2;
use cloakroom_testkit::object_store_suite::Subject;

use crate::service::Service;

/// What the probe finds.
const FOUND: Capabilities = Capabilities {
    conditional_put: false,
    checksums: true,
    part_reads: true,
    small_parts_refused: false,
    empty_parts: false,
    leading_slashes: false,
    ..USUAL_CAPABILITIES
};
const CAPABILITIES: Capabilities = Capabilities {
    unlisted_parts: true,
    ..FOUND
};

async fn subject() -> Subject {
    Service::named("GARAGE").subject(CAPABILITIES).await
}

#[tokio::test]
async fn it_is_as_declared() {
    Service::named("GARAGE")
        .probe(&GARAGE_2, FOUND, UploadMethod::ALL)
        .await;
}

cloakroom_testkit::object_store_suite!(subject);
