//! What every [`MetadataStore`](cloakroom_core::ports::metadata::MetadataStore) must do.
//!
//! An adapter's tests name an async function that makes an empty store, and what must live as long as the store
//! (a temporary directory, a schema):
//!
//! ```ignore
//! async fn fresh() -> (Arc<dyn MetadataStore>, TempDir) { .. }
//! cloakroom_testkit::metadata_store_suite!(fresh);
//! ```
//!
//! The store is opened **with its outbox on** (the cases of [`outbox`] claim from it; no other case looks at it), on an
//! empty database of its own: nothing else writes to it, and no other claimer runs. Times come from a
//! [`MockClock`](crate::clock::MockClock) and are handed over with each call, so an adapter must not use the engine's
//! clock. Cases call one store from many tasks; a pool of connections must let at least two work at once.
//!
//! Each case becomes one `#[tokio::test]`. What only one engine can do stays in its adapter's own tests: on
//! PostgreSQL the transaction that is opened by hand, takes its number first and commits last.

pub mod forgetting;
pub mod intents;
pub mod jobs;
pub mod lists;
pub mod outbox;
pub mod progress;
pub mod records;
pub mod search;
pub mod signing;
pub(crate) mod stage;
pub mod tokens;
pub mod transitions;
pub mod turns;
pub mod uploads;
pub mod variants;

pub use self::stage::Store;

/// Makes a test of each case of the suite; see [the module](mod@crate::metadata_store_suite).
#[macro_export]
macro_rules! metadata_store_suite {
    ($fresh:path) => {
        $crate::metadata_store_suite!(@cases $fresh;
            signing::insert_keeps_every_field,
            signing::insert_writes_one_event,
            signing::insert_keeps_odd_text_and_large_json,
            signing::inserting_again_returns_the_rows_that_stand,
            signing::concurrent_inserts_of_one_id_make_one_row,
            signing::concurrent_inserts_never_exceed_the_quota,
            signing::a_refused_insert_leaves_nothing,
            signing::the_quota_counts_what_is_stored,
            signing::a_known_id_is_answered_before_the_quota,
            signing::many_concurrent_inserts_are_all_there,
            transitions::apply_keeps_every_field,
            transitions::every_transition_has_exactly_one_event,
            transitions::apply_refuses_a_version_that_is_gone,
            transitions::apply_refuses_an_absent_file,
            transitions::racing_transitions_have_one_winner,
            transitions::a_refused_transition_leaves_no_trace,
            transitions::usage_follows_the_file,
            transitions::usage_never_falls_below_zero,
            transitions::derivatives_replace_those_of_the_same_name,
            transitions::the_timeline_is_ordered_and_paged,
            forgetting::forget_removes_the_rows_and_keeps_the_events,
            forgetting::forget_wants_the_claimed_row,
            forgetting::a_forgotten_id_is_not_used_again,
            uploads::a_transition_may_change_the_upload,
            uploads::update_upload_compares_the_version,
            uploads::expired_uploads_are_open_ones_oldest_first,
            uploads::purgeable_files_are_trashed_ones_oldest_first,
            uploads::a_restored_file_is_not_purgeable,
            records::a_record_is_made_with_its_first_file,
            records::linking_to_a_strangers_record_is_refused_whole,
            records::concurrent_first_links_make_one_owner,
            records::put_record_compares_versions,
            records::a_record_is_not_deleted_before_its_files,
            records::children_are_listed_by_key,
            records::several_records_are_read_at_once,
            lists::pages_are_complete_and_without_doubles,
            lists::pages_stay_complete_while_files_come_in,
            lists::files_of_one_instant_are_paged_by_id,
            lists::every_condition_narrows_the_list,
            lists::conditions_that_nothing_meets_find_nothing,
            search::search_folds_letters,
            search::search_wants_every_word_and_the_beginning_of_the_last,
            search::search_stays_within_the_owner_and_is_paged,
            search::search_follows_the_file,
            search::search_words_are_text_and_not_syntax,
            search::metadata_is_found_by_scalar_value,
            search::metadata_is_paged_in_order,
            search::open_uploads_are_listed_and_not_searched,
            jobs::claims_go_by_priority_and_time,
            jobs::claims_wait_for_their_time,
            jobs::claims_are_exclusive,
            jobs::a_job_that_commits_late_is_still_claimed,
            jobs::one_job_of_a_kind_lives_per_file,
            jobs::a_lapsed_lease_goes_to_another_worker,
            jobs::a_late_worker_cannot_commit,
            jobs::a_completed_job_makes_room_for_the_next_of_its_kind,
            jobs::a_held_claim_stays,
            jobs::retries_count_and_snoozes_do_not,
            jobs::dead_jobs_wait_for_a_person,
            jobs::a_revived_job_does_not_double_a_living_one,
            jobs::leases_are_extended_while_they_hold,
            jobs::the_next_time_is_known,
            jobs::jobs_are_listed_oldest_first,
            turns::many_jobs_of_one_owner_do_not_hold_up_another,
            turns::owners_take_turns,
            turns::newcomers_do_not_overtake_for_ever,
            turns::turns_are_fair_whatever_happens,
            turns::jobs_that_come_due_together_do_not_hold_up_another,
            turns::full_kinds_are_left_out,
            turns::waiting_makes_up_for_priority,
            turns::turns_hold_among_concurrent_claimers,
            turns::jobs_without_a_file_are_claimed,
            progress::progress_is_kept_with_the_lease,
            progress::the_queue_is_counted_by_kind,
            intents::stale_intents_are_found_oldest_first,
            intents::a_transition_completes_its_intent,
            intents::an_undone_intent_cannot_be_completed,
            intents::an_intent_ends_once,
            intents::closed_intents_are_trimmed,
            outbox::every_event_waits_exactly_once,
            outbox::a_change_that_was_refused_leaves_no_event_waiting,
            outbox::events_that_wait_longest_come_first,
            outbox::event_claims_are_exclusive_and_fenced,
            outbox::a_lapsed_claim_on_an_event_goes_to_another,
            outbox::a_retried_event_waits_for_its_time,
            outbox::delivered_and_given_up_events_stay_in_the_timeline,
            outbox::concurrent_claimers_share_the_events,
            outbox::an_event_that_commits_late_is_still_delivered,
            outbox::concurrent_writers_and_claimers_lose_no_event,
            variants::variants_stand_beside_other_derivatives,
            variants::racing_variants_of_a_name_have_one_winner,
            variants::racing_variants_never_exceed_their_number,
            variants::a_file_that_is_not_ready_there_takes_no_variant,
            tokens::service_tokens_are_found_by_their_digest,
            tokens::a_service_token_is_revoked_once,
            tokens::settings_are_replaced,
            tokens::statistics_count_files_jobs_and_bytes,
            tokens::ping_answers,
        );
    };
    (@cases $fresh:path; $($module:ident :: $case:ident,)+) => {
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $case() {
                let (store, _guard) = $fresh().await;
                $crate::metadata_store_suite::$module::$case(store).await;
            }
        )+
    };
}
