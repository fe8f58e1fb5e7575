//! What every [`ObjectStore`] must do, case by case.
//!
//! An adapter's tests call [`object_store_suite!`](crate::object_store_suite!) with an async function that makes a
//! fresh [`Subject`]; each case becomes one test. A case may branch only on the store's declared
//! [`Capabilities`](cloakroom_core::ports::objects::Capabilities).

#![expect(clippy::unwrap_used, reason = "a case fails by panicking")]

use std::any::Any;
use std::sync::Arc;

use bytes::Bytes;
use cloakroom_core::ports::objects::{
    BodyError, ByteStream, Checksums, GetOptions, ListOptions, ObjectError, ObjectInfo, ObjectList,
    ObjectPath, ObjectRead, ObjectStore, PutBody, PutOptions, Result, WriteConditions,
};
use futures_util::StreamExt as _;

pub mod buckets;
pub mod completions;
pub mod conditions;
pub mod copies;
pub mod lists;
pub mod multipart;
pub mod promotions;
pub mod reads;
pub mod writes;

/// A store with a bucket of its own for one case.
pub struct Subject {
    /// The store under test.
    pub store: Arc<dyn ObjectStore>,
    /// A fresh, empty bucket.
    pub bucket: String,
    _guard: Box<dyn Any + Send + Sync>,
}

impl Subject {
    /// Makes a bucket in the store. `guard` lives as long as the subject: a temporary directory, a server.
    pub async fn new(store: Arc<dyn ObjectStore>, guard: impl Any + Send + Sync) -> Self {
        let bucket = format!("suite-{}", uuid::Uuid::now_v7());
        store.create_bucket(&bucket).await.expect("a fresh bucket");
        Self {
            store,
            bucket,
            _guard: Box::new(guard),
        }
    }

    /// Works in a bucket that is there and empty. `guard` lives as long as the subject, and may remove it.
    pub fn in_bucket(store: Arc<dyn ObjectStore>, bucket: String, guard: impl Any + Send + Sync) -> Self {
        Self {
            store,
            bucket,
            _guard: Box::new(guard),
        }
    }

    /// A key in the bucket.
    pub fn path(&self, key: &str) -> ObjectPath {
        ObjectPath::new(&self.bucket, key)
    }

    /// Whether the store takes this key.
    pub fn takes(&self, key: &str) -> bool {
        self.store.capabilities().leading_slashes || !key.starts_with('/')
    }

    /// Writes an object that must succeed.
    pub async fn put(&self, key: &str, bytes: impl Into<Bytes>) -> ObjectInfo {
        self.try_put(key, PutBody::from_bytes(bytes))
            .await
            .unwrap_or_else(|error| panic!("put {key:?}: {error}"))
    }

    /// Writes an object.
    pub async fn try_put(&self, key: &str, body: PutBody) -> Result<ObjectInfo> {
        self.store.put(&self.path(key), PutOptions::default(), body).await
    }

    /// Writes an object under conditions.
    pub async fn put_if(
        &self,
        key: &str,
        bytes: impl Into<Bytes>,
        conditions: WriteConditions,
    ) -> Result<ObjectInfo> {
        let options = PutOptions {
            conditions,
            ..PutOptions::default()
        };
        self.store
            .put(&self.path(key), options, PutBody::from_bytes(bytes))
            .await
    }

    /// What is known of an object that must be there.
    pub async fn head(&self, key: &str) -> ObjectInfo {
        self.try_head(key)
            .await
            .unwrap_or_else(|error| panic!("head {key:?}: {error}"))
    }

    /// What is known of an object.
    pub async fn try_head(&self, key: &str) -> Result<ObjectInfo> {
        self.store.head(&self.path(key), &GetOptions::default()).await
    }

    /// The bytes of an object that must be there.
    pub async fn read(&self, key: &str) -> Vec<u8> {
        self.read_with(key, &GetOptions::default())
            .await
            .unwrap_or_else(|error| panic!("get {key:?}: {error}"))
            .1
    }

    /// The answer to a read, and its bytes.
    pub async fn read_with(&self, key: &str, options: &GetOptions) -> Result<(ObjectRead, Vec<u8>)> {
        let mut read = self.store.get(&self.path(key), options).await?;
        let body = std::mem::replace(&mut read.body, Box::pin(futures_util::stream::empty()));
        let bytes = collect(body).await?;
        Ok((read, bytes))
    }

    /// A page of keys, which must be had.
    pub async fn list(&self, options: &ListOptions) -> ObjectList {
        self.store
            .list(&self.bucket, options)
            .await
            .unwrap_or_else(|error| panic!("list {options:?}: {error}"))
    }

    /// Every key in the bucket, in one page.
    pub async fn keys(&self) -> Vec<String> {
        let page = self
            .list(&ListOptions {
                limit: 1_000,
                ..ListOptions::default()
            })
            .await;
        assert_eq!(page.next, None, "one page holds all");
        page.objects.into_iter().map(|object| object.key).collect()
    }

    /// Asserts that there is no such object.
    pub async fn assert_missing(&self, key: &str) {
        match self.try_head(key).await {
            Err(ObjectError::NotFound) => {}
            other => panic!("{key:?} must not be there: {other:?}"),
        }
    }
}

/// All bytes of a body.
pub async fn collect(mut body: ByteStream) -> std::result::Result<Vec<u8>, BodyError> {
    let mut bytes = Vec::new();
    while let Some(piece) = body.next().await {
        bytes.extend_from_slice(&piece?);
    }
    Ok(bytes)
}

/// Bytes that differ at every offset that a mix-up could exchange.
pub fn pattern(len: usize, seed: u64) -> Vec<u8> {
    let mut random = Sequence(seed);
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        bytes.extend_from_slice(&random.next().to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// A body of these pieces.
pub fn pieces(
    pieces: impl IntoIterator<Item = std::result::Result<Bytes, BodyError>>,
    size_bytes: Option<u64>,
) -> PutBody {
    let pieces: Vec<_> = pieces.into_iter().collect();
    PutBody::from_stream(Box::pin(futures_util::stream::iter(pieces)), size_bytes)
}

/// A body whose sender's checks end like this.
pub fn finishing(bytes: Vec<u8>, verdict: std::result::Result<Checksums, BodyError>) -> PutBody {
    PutBody {
        finish: Box::new(move || verdict),
        ..PutBody::from_bytes(bytes)
    }
}

/// The error of a body that is refused at its end.
pub fn bad_digest() -> BodyError {
    BodyError {
        code: "BadDigest",
        message: "not the announced checksum".to_owned(),
    }
}

/// Numbers that look random and are the same in every run (SplitMix64).
pub struct Sequence(pub u64);

impl Sequence {
    /// The next number.
    #[expect(
        clippy::should_implement_trait,
        reason = "an endless sequence needs no Option"
    )]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ value >> 31
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}

/// Keys that stores get wrong: directories that look like files, names that mean something to a file system, what
/// needs encoding in URLs and XML, and the longest.
pub fn odd_keys() -> Vec<String> {
    let mut keys: Vec<String> = [
        "n",
        "n/b",
        "n/b/c",
        "n.txt",
        "n.txt/b",
        "a//b",
        "a/./b",
        "a/../b",
        "../x",
        "..",
        ".",
        "./",
        "/",
        "//",
        "/lead",
        "trail/",
        "trail//",
        "e//f/./g",
        ".hidden",
        ".tmp/x",
        ".multipart/x",
        "a.%",
        "a%2Fb",
        "100%",
        "%",
        "%+",
        "%+/x",
        "x%+",
        "back\\slash",
        "sp ace",
        " lead",
        "trail ",
        "pl+us",
        "a&b<c>\"d'",
        "q?u=e#r",
        "tab\there",
        "new\nline",
        "cr\rhere",
        "nul\u{1}",
        "del\u{7f}",
        "ünï/cödé",
        "日本語/ファイル.txt",
        "e\u{301}",
        "é",
        "🎒.zip",
        "A",
        "a",
        "Case/x",
        "case/x",
        "CON",
        "nul.",
        "x:y",
        "*",
        "~",
        "-rf",
        "\u{feff}bom",
        "\u{ffff}",
        "\u{10ffff}",
    ]
    .map(str::to_owned)
    .into();
    keys.extend([
        "x".repeat(255),
        "x".repeat(256),
        "é".repeat(130),
        ".".repeat(300),
        "k".repeat(1_024),
        "/".repeat(1_024),
        "\u{1}".repeat(1_024),
        format!("{}/{}", "d".repeat(500), "f".repeat(523)),
        format!("{}a", "é/".repeat(341)),
    ]);
    keys
}

/// One test per case for the store of `$subject`, an async function that returns a fresh [`Subject`].
#[macro_export]
macro_rules! object_store_suite {
    ($subject:path) => {
        $crate::object_store_suite! { @cases $subject;
            buckets: [
                buckets_are_made_listed_and_removed, a_bucket_is_made_once, a_missing_bucket_is_reported_by_everything,
                a_bucket_with_objects_stays, bucket_names_are_checked, a_bucket_keeps_its_creation_time,
                a_bucket_emptied_of_deep_keys_can_go, a_bucket_with_only_an_upload_can_go, a_missing_bucket_is_reported_early,
                the_store_answers,
            ];
            writes: [
                what_was_put_is_read_back, an_empty_object_is_an_object, a_body_in_odd_pieces_arrives_whole,
                attributes_come_back, user_metadata_may_be_unicode, too_much_user_metadata_is_refused,
                an_overwrite_replaces_bytes_and_attributes, nothing_is_visible_before_finish,
                a_failed_finish_leaves_nothing, a_failed_finish_leaves_the_old_object,
                a_failed_stream_leaves_the_old_object, a_body_too_short_is_refused, a_body_too_long_is_refused,
                an_abandoned_write_leaves_nothing, md5_is_the_etag_when_asked_for, the_etag_is_the_same_everywhere,
                generations_differ_for_equal_bytes, checksums_of_the_sender_are_kept,
                a_checksum_is_known_without_asking, concurrent_writers_of_one_key_leave_one_whole_winner,
                concurrent_writers_of_many_keys_all_arrive, keys_of_every_kind_work, n_lies_beside_n_b,
                the_length_of_keys_is_checked, deleting_is_idempotent, deleting_a_key_leaves_its_neighbours,
                deletes_beside_writes_lose_nothing,
            ];
            conditions: [
                if_absent_writes_once, one_of_many_if_absent_wins, if_match_replaces_only_that_object,
                if_match_of_a_missing_object_is_not_found, if_generation_replaces_only_that_write,
                a_refused_write_changes_nothing, compare_and_set_loses_no_update,
                a_delete_beside_a_conditional_write_leaves_nothing, reading_if_match, reading_if_none_match,
                reading_by_date, match_beats_date, lists_and_weak_tags, reading_if_generation,
            ];
            reads: [
                ranges_of_a_small_object, ranges_of_a_large_object, a_range_outside_is_refused,
                an_empty_object_has_no_range, missing_objects_are_not_found, head_and_get_agree,
                a_reader_keeps_what_it_opened, a_reader_survives_a_delete, a_plain_object_is_its_own_first_part,
                a_range_and_a_part_exclude_each_other, a_reader_can_stop_early, many_readers_see_whole_objects,
            ];
            lists: [
                an_empty_bucket_has_no_keys, keys_come_in_byte_order, pages_of_every_size_add_up, a_prefix_selects,
                a_delimiter_folds, delimiters_may_be_anything, pages_of_prefixes_add_up, after_a_key_that_is_not_there,
                after_a_common_prefix, a_limit_of_zero_is_an_empty_page, listed_objects_carry_their_facts,
                uploads_under_way_are_not_listed, lists_agree_with_a_model, directories_left_behind_are_not_prefixes,
            ];
            copies: [
                a_copy_takes_its_attributes_along, a_copy_may_get_new_attributes, a_copy_onto_itself_changes_attributes,
                a_copy_has_a_generation_of_its_own, conditions_on_the_source_of_a_copy,
                conditions_on_the_target_of_a_copy, a_copy_of_nothing_is_not_found, a_large_copy_is_equal,
                a_copy_into_another_bucket,
            ];
            promotions: [
                a_promotion_moves, a_promotion_of_other_bytes_is_refused, a_promotion_of_equal_bytes_is_refused,
                a_promotion_done_twice_is_done_once, a_promotion_of_nothing_is_not_found,
                a_promotion_into_another_bucket, a_promotion_keeps_readers_whole,
                a_promotion_against_writers_promotes_one_whole_object,
            ];
            multipart: [
                parts_make_an_object, an_only_part_may_be_small, a_part_can_be_replaced,
                parts_are_listed_by_number, uploads_are_listed_by_key, an_unlisted_part_is_left_out,
                an_aborted_upload_is_gone, an_upload_belongs_to_its_key, made_up_upload_ids_are_refused,
                part_numbers_are_checked, attributes_of_the_upload_become_the_objects,
                nothing_is_visible_before_completion, a_part_can_be_read_by_number,
                a_failed_part_leaves_the_old_one, concurrent_parts_all_arrive, parts_may_differ_in_size,
                a_multipart_object_is_overwritten_like_any,
            ];
            completions: [
                a_wrong_etag_is_refused, a_missing_part_is_refused, parts_out_of_order_are_refused,
                a_small_part_in_the_middle_is_refused, an_empty_list_is_refused,
                completing_twice_gives_the_same_answer, completing_twice_with_another_list_is_refused,
                conditions_hold_at_completion, full_object_checksums_are_those_of_the_bytes,
                composite_checksums_count_the_parts, a_wrong_part_checksum_is_refused,
                sha_checksums_cannot_cover_the_whole, a_completed_upload_is_closed,
                concurrent_completions_agree,
            ];
        }
    };
    (@cases $subject:path; $($module:ident: [$($case:ident),* $(,)?];)*) => {
        $($(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let subject = $subject().await;
                $crate::object_store_suite::$module::$case(&subject).await;
            }
        )*)*
    };
}
