//! What every [`AdministrationStore`] must do.
//!
//! An adapter's tests name an async function that makes an empty store, **with its outbox on**, and what must live as long
//! as the store:
//!
//! ```ignore
//! async fn fresh() -> (Arc<dyn AdministeredStore>, TempDir) { .. }
//! cloakroom_testkit::administration_suite!(fresh);
//! ```
//!
//! Times are handed over with each call, so an adapter must not use the engine's clock. Each case becomes one
//! `#[tokio::test]`.

pub mod adoption;
pub mod garbage;
pub mod intents;
pub mod operations;
pub mod reading;
pub mod reports;
pub mod stores;
pub mod usage;

use std::sync::Arc;

use cloakroom_core::ports::administration::AdministrationStore;
use cloakroom_core::ports::metadata::MetadataStore;

use crate::metadata_store_suite::stage::Stage;

/// A metadata store with its administration.
pub trait AdministeredStore: MetadataStore + AdministrationStore {}

impl<T: MetadataStore + AdministrationStore> AdministeredStore for T {}

/// The store under test.
pub type Store = Arc<dyn AdministeredStore>;

/// The usual steps of a file's life in this store.
pub(crate) fn stage(store: &Store) -> Stage {
    Stage::new(Arc::clone(store) as Arc<dyn MetadataStore>)
}

/// Makes a test of each case of the suite; see [the module](mod@crate::administration_suite).
#[macro_export]
macro_rules! administration_suite {
    ($fresh:path) => {
        $crate::administration_suite!(@cases $fresh;
            adoption::a_file_comes_back_whole,
            adoption::an_adopted_file_lives_on,
            adoption::an_adopted_upload_is_open_again,
            adoption::adoption_replaces_the_version_it_saw,
            adoption::a_refused_adoption_leaves_no_trace,
            adoption::search_forgets_what_was_replaced,
            adoption::a_purged_file_does_not_come_back,
            adoption::usage_goes_from_owner_to_owner,
            adoption::every_state_counts_as_it_would_have,
            adoption::an_existing_record_stays_as_it_is,
            adoption::concurrent_adoptions_have_one_winner,
            adoption::concurrent_replacements_have_one_winner,
            reading::every_file_is_met_once,
            reading::files_are_read_by_their_ids,
            reading::every_record_is_met_once,
            reading::totals_are_those_of_the_counters,
            reading::retention_sees_ready_files_oldest_first,
            reading::retention_passes_over_holds_and_links,
            reading::retention_counts_from_the_archive,
            reading::what_is_under_way_is_known_by_bucket,
            usage::what_is_counted_is_what_there_is,
            usage::drift_is_found_and_repaired,
            usage::many_owners_are_all_checked,
            usage::a_repair_does_not_undo_what_happens_meanwhile,
            operations::an_operation_keeps_every_field,
            operations::one_of_a_kind_at_a_time,
            operations::racing_operations_have_one_winner,
            operations::the_oldest_is_claimed_first,
            operations::an_operation_is_claimed_by_its_id,
            operations::claims_of_operations_are_exclusive,
            operations::a_lapsed_operation_is_taken_over_and_fenced,
            operations::a_cancelled_operation_is_fenced,
            operations::what_is_over_stays_over,
            operations::an_operation_is_given_back,
            operations::operations_are_listed_newest_first,
            operations::the_operation_that_was_done_last_is_known,
            intents::the_write_ahead_log_is_read_newest_first,
            intents::entries_are_found_by_what_they_say,
            reports::findings_keep_their_order_and_are_paged,
            reports::a_fenced_worker_adds_no_findings,
            reports::reports_are_trimmed_with_their_operations,
            reports::a_long_report_is_trimmed_to_its_end,
            garbage::known_garbage_stays_as_it_is,
            garbage::garbage_is_listed_by_path,
            garbage::odd_keys_keep_their_order,
            garbage::purgeable_garbage_comes_oldest_first,
            garbage::garbage_is_kept_and_trashed_again,
            garbage::uploads_of_one_key_are_apart,
            garbage::concurrent_scans_count_each_once,
            stores::a_store_changes_by_compare_and_set,
            stores::a_refused_change_is_not_in_the_log,
            stores::racing_changes_of_a_store_have_one_winner,
            stores::stores_are_listed_by_name,
            stores::the_log_is_read_newest_first,
        );
    };
    (@cases $fresh:path; $($module:ident :: $case:ident,)+) => {
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $case() {
                let (store, _guard) = $fresh().await;
                $crate::administration_suite::$module::$case(store).await;
            }
        )+
    };
}
