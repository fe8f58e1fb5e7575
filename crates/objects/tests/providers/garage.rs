//! Garage.

use cloakroom_core::ports::objects::Capabilities;
use cloakroom_core::upload::UploadMethod;
use cloakroom_objects::s3::USUAL_CAPABILITIES;
use cloakroom_objects::s3::providers::GARAGE_2;
use cloakroom_testkit::object_store_suite::Subject;

use crate::service::Service;

const CAPABILITIES: Capabilities = Capabilities {
    conditional_put: false,
    ..USUAL_CAPABILITIES
};

async fn subject() -> Subject {
    Service::named("GARAGE").subject(CAPABILITIES).await
}

#[tokio::test]
async fn it_is_as_declared() {
    Service::named("GARAGE")
        .probe(&GARAGE_2, CAPABILITIES, UploadMethod::ALL)
        .await;
}

cloakroom_testkit::object_store_suite!(subject);
