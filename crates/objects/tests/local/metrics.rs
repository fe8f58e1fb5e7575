//! What those who watch are told of the store.

use cloakroom_objects::local::{LocalOptions, LocalStore};

#[test]
fn the_circuit_is_closed_and_that_of_another_store_stays_as_it_is() {
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    let directory = tempfile::tempdir().unwrap();
    let shown = |name: &str| {
        let options = LocalOptions::new(directory.path().join(name));
        metrics::with_local_recorder(&recorder, || LocalStore::open(&options)).unwrap();
        recorder.handle().render()
    };
    let text = shown("one");
    assert!(text.contains("cloakroom_store_circuit_state 0"), "{text}");
    metrics::with_local_recorder(&recorder, || {
        metrics::gauge!("cloakroom_store_circuit_state").set(2.0);
    });
    let text = shown("two");
    assert!(text.contains("cloakroom_store_circuit_state 2"), "{text}");
}
