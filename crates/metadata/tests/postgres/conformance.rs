//! Every case of the suites on PostgreSQL.

use std::sync::Arc;

use cloakroom_core::ports::leases::Leases;
use cloakroom_core::ports::metadata::MetadataStore;
use cloakroom_metadata::postgres::{PostgresOptions, PostgresStore};
use cloakroom_testkit::administration_suite::AdministeredStore;
use cloakroom_testkit::archive_suite::ArchivedStore;

use crate::database::{Prefix, options, store};

async fn with_outbox() -> (PostgresStore, Prefix) {
    let prefix = Prefix::new();
    let options = PostgresOptions {
        outbox: true,
        ..options(&prefix)
    };
    (PostgresStore::connect(options).await.unwrap(), prefix)
}

mod metadata {
    use super::{Arc, MetadataStore, Prefix, with_outbox};

    async fn fresh() -> (Arc<dyn MetadataStore>, Prefix) {
        let (store, prefix) = with_outbox().await;
        (Arc::new(store), prefix)
    }

    cloakroom_testkit::metadata_store_suite!(fresh);
}

mod leases {
    use super::{Arc, Leases, Prefix, store};

    async fn fresh() -> (Arc<dyn Leases>, Prefix) {
        let (store, prefix) = store().await;
        (Arc::new(store), prefix)
    }

    cloakroom_testkit::leases_suite!(fresh);
}

mod archive {
    use super::{Arc, ArchivedStore, Prefix, with_outbox};

    async fn fresh() -> (Arc<dyn ArchivedStore>, Prefix) {
        let (store, prefix) = with_outbox().await;
        (Arc::new(store), prefix)
    }

    cloakroom_testkit::archive_suite!(fresh);
}

mod administration {
    use super::{AdministeredStore, Arc, Prefix, with_outbox};

    async fn fresh() -> (Arc<dyn AdministeredStore>, Prefix) {
        let (store, prefix) = with_outbox().await;
        (Arc::new(store), prefix)
    }

    cloakroom_testkit::administration_suite!(fresh);
}
