//! The suite of the port through the router, in either store.

use cloakroom_testkit::object_store_suite::Subject;

use crate::stand::{COLD, HOT, Stand};

async fn subject(bucket: &str) -> Subject {
    let Stand {
        router, directory, ..
    } = Stand::new().await;
    Subject::in_bucket(router, bucket.to_owned(), directory)
}

mod in_the_default_store {
    async fn subject() -> super::Subject {
        super::subject(super::HOT).await
    }

    cloakroom_testkit::object_store_suite!(subject);
}

mod in_another_store {
    async fn subject() -> super::Subject {
        super::subject(super::COLD).await
    }

    cloakroom_testkit::object_store_suite!(subject);
}
