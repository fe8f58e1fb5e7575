//! The suite of the port, with what Ceph can do.

use cloakroom_testkit::object_store_suite::Subject;

use crate::stand::Stand;

async fn subject() -> Subject {
    Stand::new().await.into_subject()
}

cloakroom_testkit::object_store_suite!(subject);
