//! Every fixed statement, rendered once with the table prefix. Lists are built in [`super::list`].

use super::turns::{in_line, next_turn, waiting};
use crate::counting::{counted_bytes, counted_file};
use crate::prefix::TablePrefix;

/// Columns of a file in the order that [`super::row::file`] reads.
macro_rules! file_columns {
    () => {
        "f.id, f.owner, f.created_by_username, f.created_by_full_name, f.collection, f.bucket, f.state, f.version, \
         f.epoch, f.record_kind, f.record_id, f.filename, f.description, f.metadata, f.declared_content_type, \
         f.declared_size_bytes, f.declared_sha256, f.staged_size_bytes, f.staged_etag, f.staged_generation, \
         f.verified_sha256, f.verified_size_bytes, f.verified_content_type, f.key, f.facts, f.error_code, \
         f.error_message, f.created_at, f.updated_at, f.uploaded_at, f.confirmed_at, f.processed_at, f.trash_from, \
         f.trashed_at, f.purge_at"
    };
}
pub(super) use file_columns;

/// Columns of a file that came with later steps. They stand behind all others, and are read by their names.
macro_rules! later_file_columns {
    () => {
        "f.legal_hold, f.unarchived_at"
    };
}
pub(super) use later_file_columns;

/// Columns of an upload in the order that [`super::row::upload`] reads. They stand in the row of the file.
macro_rules! upload_columns {
    () => {
        "f.id, f.upload_method, f.upload_staging_key, f.upload_expires_at, f.upload_multipart_id, \
         f.upload_part_size_bytes, f.upload_request_digest, f.upload_reserved_bytes"
    };
}
pub(super) use upload_columns;

macro_rules! job_columns {
    () => {
        "j.id, j.kind, j.file_id, j.state, j.run_at, j.attempt, j.lease_epoch, j.lease_owner, j.lease_until, \
         j.last_error, j.created_at, j.failures, j.owner, j.turn_at, j.progress"
    };
}
pub(super) use job_columns;

macro_rules! record_columns {
    () => {
        "kind, id, owner, parent_kind, parent_id, payload, meta, version, created_at, updated_at"
    };
}
pub(super) use record_columns;

macro_rules! event_columns {
    () => {
        "e.file_id, e.version, e.id, e.kind, e.state, e.actor, e.data, e.at"
    };
}
pub(super) use event_columns;

macro_rules! intent_columns {
    () => {
        "id, kind, status, file_id, epoch, data, actor, started_at, lease_until, completed_at, error"
    };
}
pub(super) use intent_columns;

macro_rules! token_columns {
    () => {
        "id, name, role, collections, secret_sha256, created_at, expires_at, revoked_at"
    };
}
pub(super) use token_columns;

/// Writes files with their uploads from one array for each column. A whole transaction in one statement: what follows
/// are its events, the outbox and the usage of the owners, which comes last, or their rows would be locked for longer.
///
/// Arrays are read side by side, without a copy of each. One that is shorter goes on with NULL, so a column in which every
/// row has the usual value comes empty.
macro_rules! sign_uploads {
    ($but:expr) => {
        concat!(
            "WITH made AS (INSERT INTO {p}_files (id, open, owner, created_by_username, created_by_full_name, collection,
            bucket, state, version, epoch, record_kind, record_id, filename, description, metadata, declared_content_type,
            declared_size_bytes, declared_sha256, key, facts, created_at, updated_at, upload_method, upload_staging_key,
            upload_expires_at, upload_multipart_id, upload_part_size_bytes, upload_request_digest, upload_reserved_bytes)
            SELECT t.id, true, t.owner, t.username, t.full_name, t.collection, t.bucket, coalesce(t.state, 'pending'),
            coalesce(t.version, 1), coalesce(t.epoch, 0), t.record_kind, t.record_id, t.filename, t.description,
            coalesce(t.metadata, '{}'), t.content_type, t.size, t.sha256, t.key, coalesce(t.facts, '{}'), t.created_at,
            coalesce(t.updated_at, t.created_at), t.method, t.staging_key, t.expires_at, t.multipart_id, t.part_size,
            t.digest, t.reserved
            FROM (SELECT unnest($1::uuid[]) AS id, unnest($2::text[]) AS owner, unnest($3::text[]) AS username,
            unnest($4::text[]) AS full_name, unnest($5::text[]) AS collection, unnest($6::text[]) AS bucket,
            unnest($7::text[]) AS state, unnest($8::bigint[]) AS version, unnest($9::bigint[]) AS epoch,
            unnest($10::text[]) AS record_kind, unnest($11::text[]) AS record_id, unnest($12::text[]) AS filename,
            unnest($13::text[]) AS description, unnest($14::json[]) AS metadata, unnest($15::text[]) AS content_type,
            unnest($16::bigint[]) AS size, unnest($17::bytea[]) AS sha256, unnest($18::text[]) AS key,
            unnest($19::json[]) AS facts, unnest($20::timestamptz[]) AS created_at,
            unnest($21::timestamptz[]) AS updated_at, unnest($22::text[]) AS method, unnest($23::text[]) AS staging_key,
            unnest($24::timestamptz[]) AS expires_at, unnest($25::text[]) AS multipart_id,
            unnest($26::bigint[]) AS part_size, unnest($27::bytea[]) AS digest, unnest($28::bigint[]) AS reserved) AS t",
            $but,
            " RETURNING id, owner, upload_reserved_bytes)"
        )
    };
}

/// Leaves out ids that are in use, or were.
macro_rules! known_ids {
    () => {
        " WHERE (SELECT true FROM {p}_events AS e WHERE e.file_id = t.id LIMIT 1) IS NULL ON CONFLICT (id) DO NOTHING"
    };
}

/// The event of each file.
macro_rules! add_signed_events {
    ($only:expr) => {
        concat!(
            ", noted AS (INSERT INTO {p}_events (file_id, version, id, kind, state, actor, data, at)
            SELECT t.file_id, coalesce(t.version, 1), t.id, coalesce(t.kind, 'file.signed'),
            coalesce(t.state, 'pending'), coalesce(t.actor, t.owner), t.data, coalesce(t.at, t.created_at)
            FROM (SELECT unnest($1) AS file_id, unnest($2) AS owner, unnest($20) AS created_at,
            unnest($29::uuid[]) AS id, unnest($30::text[]) AS kind, unnest($31::text[]) AS state,
            unnest($32::text[]) AS actor, unnest($33::json[]) AS data, unnest($34::bigint[]) AS version,
            unnest($35::timestamptz[]) AS at) AS t",
            $only,
            " RETURNING id, file_id, version, at)"
        )
    };
}

/// Only those of files that were made.
macro_rules! made_ids {
    () => {
        " WHERE t.file_id IN (SELECT id FROM made)"
    };
}

/// The outbox.
macro_rules! queue_signed {
    () => {
        ", queued AS (INSERT INTO {p}_outbox (event_id, file_id, version, run_at, attempt, lease_epoch)
        SELECT id, file_id, version, at, 0, 0 FROM noted RETURNING event_id)"
    };
}

/// The usage of the owners, after the step of this name. Sorted, so that two groups never wait for each other in a circle.
macro_rules! reserve_signed {
    ($after:literal) => {
        concat!(
            ", reserved AS (INSERT INTO {p}_usage AS u (owner, reserved_bytes, stored_bytes, files)
            SELECT owner, sum(upload_reserved_bytes)::bigint, 0, 0 FROM made WHERE (SELECT count(*) FROM ",
            $after,
            ") > 0 GROUP BY owner ORDER BY owner
            ON CONFLICT (owner) DO UPDATE SET reserved_bytes = u.reserved_bytes + excluded.reserved_bytes
            RETURNING owner, reserved_bytes, stored_bytes) "
        )
    };
}

/// What the owners use now.
macro_rules! signed_usage {
    () => {
        "SELECT NULL::uuid AS id, owner, reserved_bytes, stored_bytes FROM reserved"
    };
}

/// And which ids were left out.
macro_rules! left_out {
    () => {
        " UNION ALL SELECT t.id, NULL, NULL, NULL FROM unnest($1) AS t (id) WHERE t.id NOT IN (SELECT id FROM made)"
    };
}

macro_rules! operation_columns {
    () => {
        "o.id, o.kind, o.state, o.options, o.done, o.total, o.place, o.counts, o.error, o.actor, o.created_at, \
         o.updated_at, o.finished_at, o.lease_epoch, o.lease_owner, o.lease_until"
    };
}

macro_rules! garbage_columns {
    () => {
        "bucket, key, upload_id, reason, state, etag, size_bytes, file_id, found_at, purge_at"
    };
}
pub(super) use garbage_columns;

macro_rules! store_columns {
    () => {
        "name, mode, epoch, draining_until, changed_at, changed_by"
    };
}
pub(super) use store_columns;

macro_rules! audit_columns {
    () => {
        "id, at, actor, action, subject, data"
    };
}
pub(super) use audit_columns;

/// Usage of owners (`c`), counted and found, in their order.
macro_rules! usage_check {
    () => {
        concat!(
            " SELECT c.owner, coalesce(u.reserved_bytes, 0), coalesce(u.stored_bytes, 0), coalesce(u.files, 0),
            r.bytes, s.bytes, s.files FROM c LEFT JOIN {p}_usage AS u ON u.owner = c.owner
            CROSS JOIN LATERAL (SELECT coalesce(sum(f.upload_reserved_bytes), 0)::bigint AS bytes FROM {p}_files AS f
                WHERE f.open AND f.owner = c.owner) AS r
            CROSS JOIN LATERAL (SELECT coalesce(sum(", counted_bytes!(), "), 0)::bigint AS bytes, count(*) AS files
                FROM {p}_files AS f WHERE NOT f.open AND f.owner = c.owner AND ", counted_file!(), ") AS s
            ORDER BY c.owner"
        )
    };
}

/// One statement. The number is its place among the prepared ones of a connection.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) number: usize,
    pub(super) text: String,
}

macro_rules! statements {
    ($($name:ident: $sql:expr,)*) => {
        /// The statements of one table prefix.
        #[derive(Debug)]
        pub(super) struct Statements { $(pub(super) $name: Prepared,)* pub(super) prefix: TablePrefix }

        impl Statements {
            pub(super) fn new(prefix: &TablePrefix) -> Self {
                let mut numbers = 0..;
                let mut next = |sql: &str| Prepared {
                    number: numbers.next().unwrap_or_default(),
                    text: prefix.render(sql),
                };
                Self { $($name: next($sql),)* prefix: prefix.clone() }
            }

            /// Every statement with its name.
            #[cfg(test)]
            pub(super) fn all(&self) -> Vec<(&'static str, &Prepared)> {
                vec![$((stringify!($name), &self.$name),)*]
            }
        }
    };
}

statements! {
    // Files
    file: concat!("SELECT ", file_columns!(), ", ", later_file_columns!(), " FROM {p}_files AS f WHERE f.id = $1"),
    file_and_upload: concat!("SELECT ", file_columns!(), ", ", upload_columns!(), ", ", later_file_columns!(),
        " FROM {p}_files AS f WHERE f.id = $1"),
    // Signed uploads in bulk, see `sign_uploads!`. Ids made for these very uploads are in no row.
    sign_fresh: concat!(sign_uploads!(""), add_signed_events!(""), reserve_signed!("noted"), signed_usage!()),
    sign_fresh_queued: concat!(sign_uploads!(""), add_signed_events!(""), queue_signed!(), reserve_signed!("queued"),
        signed_usage!()),
    // Ids made from idempotency keys may be: those that are, or whose purged file has its events still, are left out.
    // The subquery, not an anti-join, looks at the key whatever the planner believes of the table's size.
    sign_known: concat!(sign_uploads!(known_ids!()), add_signed_events!(made_ids!()), reserve_signed!("noted"),
        signed_usage!(), left_out!()),
    sign_known_queued: concat!(sign_uploads!(known_ids!()), add_signed_events!(made_ids!()), queue_signed!(),
        reserve_signed!("queued"), signed_usage!(), left_out!()),
    insert_file: "INSERT INTO {p}_files (id, owner, created_by_username, created_by_full_name, collection, bucket,
        state, version, epoch, record_kind, record_id, filename, description, metadata, declared_content_type,
        declared_size_bytes, declared_sha256, staged_size_bytes, staged_etag, staged_generation, verified_sha256,
        verified_size_bytes, verified_content_type, key, facts, error_code, error_message, created_at, updated_at,
        uploaded_at, confirmed_at, processed_at, trash_from, trashed_at, purge_at, open, words, upload_method,
        upload_staging_key, upload_expires_at, upload_multipart_id, upload_part_size_bytes, upload_request_digest,
        upload_reserved_bytes)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22,
        $23, $24, $25, $26, $27, $28, $29, $30, $31, $32, $33, $34, $35, $36, array_to_tsvector($37::text[]), $38, $39,
        $40, $41, $42, $43, $44) ON CONFLICT (id) DO NOTHING RETURNING id",
    // With what a new file never has.
    restore_file: "INSERT INTO {p}_files (id, owner, created_by_username, created_by_full_name, collection, bucket,
        state, version, epoch, record_kind, record_id, filename, description, metadata, declared_content_type,
        declared_size_bytes, declared_sha256, staged_size_bytes, staged_etag, staged_generation, verified_sha256,
        verified_size_bytes, verified_content_type, key, facts, error_code, error_message, created_at, updated_at,
        uploaded_at, confirmed_at, processed_at, trash_from, trashed_at, purge_at, open, words, legal_hold, unarchived_at,
        upload_method, upload_staging_key, upload_expires_at, upload_multipart_id, upload_part_size_bytes,
        upload_request_digest, upload_reserved_bytes)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22,
        $23, $24, $25, $26, $27, $28, $29, $30, $31, $32, $33, $34, $35, $36, array_to_tsvector($37::text[]), $38, $39,
        $40, $41, $42, $43, $44, $45, $46) ON CONFLICT (id) DO NOTHING RETURNING id",
    lock_file: "SELECT version, state FROM {p}_files WHERE id = $1 FOR NO KEY UPDATE",
    update_file: "UPDATE {p}_files SET owner = $2, created_by_username = $3, created_by_full_name = $4, collection = $5,
        bucket = $6, state = $7, version = $8, epoch = $9, record_kind = $10, record_id = $11, filename = $12,
        description = $13, metadata = $14, declared_content_type = $15, declared_size_bytes = $16, declared_sha256 = $17,
        staged_size_bytes = $18, staged_etag = $19, staged_generation = $20, verified_sha256 = $21,
        verified_size_bytes = $22, verified_content_type = $23, key = $24, facts = $25, error_code = $26,
        error_message = $27, created_at = $28, updated_at = $29, uploaded_at = $30, confirmed_at = $31,
        processed_at = $32, trash_from = $33, trashed_at = $34, purge_at = $35, open = $36,
        words = array_to_tsvector($37::text[]), legal_hold = $38, unarchived_at = $39 WHERE id = $1",
    delete_file: "DELETE FROM {p}_files WHERE id = $1",
    purgeable_files: "SELECT id FROM {p}_files WHERE purge_at <= $1 AND state = 'trashed' ORDER BY purge_at LIMIT $2",
    linked_file: "SELECT 1 FROM {p}_files WHERE record_kind = $1 AND record_id = $2
        AND state NOT IN ('trashed', 'purging', 'expired', 'reaping') LIMIT 1",
    count_settled_files: "SELECT state, count(*) FROM {p}_files WHERE NOT open GROUP BY state",
    count_open_files: "SELECT state, count(*) FROM {p}_files WHERE open GROUP BY state",

    // Uploads
    upload: concat!("SELECT ", upload_columns!(), " FROM {p}_files AS f WHERE f.id = $1 AND f.upload_method IS NOT NULL"),
    update_upload: "UPDATE {p}_files SET upload_method = $2, upload_staging_key = $3, upload_expires_at = $4,
        upload_multipart_id = $5, upload_part_size_bytes = $6, upload_request_digest = $7, upload_reserved_bytes = $8
        WHERE id = $1 AND upload_method IS NOT NULL",
    expired_uploads: "SELECT id FROM {p}_files WHERE open AND upload_expires_at <= $1 ORDER BY upload_expires_at LIMIT $2",

    // Derivatives
    derivatives: "SELECT file_id, name, key, content_type, size_bytes, width, height, error, created_at
        FROM {p}_derivatives WHERE file_id = $1 ORDER BY name",
    derivatives_of: "SELECT file_id, name, key, content_type, size_bytes, width, height, error, created_at
        FROM {p}_derivatives WHERE file_id = ANY($1) ORDER BY file_id, name",
    lock_file_place: "SELECT state, key FROM {p}_files WHERE id = $1 FOR NO KEY UPDATE",
    delete_derivative: "DELETE FROM {p}_derivatives WHERE file_id = $1 AND name = $2",
    put_derivative: "INSERT INTO {p}_derivatives (file_id, name, key, content_type, size_bytes, width, height, error,
        created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (file_id, name) DO UPDATE SET
        key = excluded.key, content_type = excluded.content_type, size_bytes = excluded.size_bytes,
        width = excluded.width, height = excluded.height, error = excluded.error, created_at = excluded.created_at",

    // Events
    insert_event: "INSERT INTO {p}_events (file_id, version, id, kind, state, actor, data, at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    event_id: "SELECT id FROM {p}_events WHERE file_id = $1 AND version = $2",
    restore_event: "INSERT INTO {p}_events (file_id, version, id, kind, state, actor, data, at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING",
    timeline: concat!("SELECT ", event_columns!(), " FROM {p}_events AS e
        WHERE e.file_id = $1 AND e.version > $2 ORDER BY e.version LIMIT $3"),

    // Outbox
    insert_outbox: "INSERT INTO {p}_outbox (event_id, file_id, version, run_at, attempt, lease_epoch)
        SELECT t.*, 0, 0 FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::timestamptz[]) AS t",
    claim_events: concat!("WITH waiting AS (SELECT event_id, run_at FROM {p}_outbox
            WHERE lease_until IS NULL AND run_at <= $1 ORDER BY run_at, event_id LIMIT $4 FOR UPDATE SKIP LOCKED),
        lapsed AS (SELECT event_id, run_at FROM {p}_outbox
            WHERE lease_until < $1 ORDER BY lease_until LIMIT $4 FOR UPDATE SKIP LOCKED),
        chosen AS (SELECT event_id FROM (SELECT * FROM waiting UNION ALL SELECT * FROM lapsed) AS c
            ORDER BY run_at, event_id LIMIT $4)
        UPDATE {p}_outbox AS o SET attempt = o.attempt + 1, lease_epoch = o.lease_epoch + 1, lease_owner = $2,
        lease_until = $3 FROM chosen, {p}_events AS e
        WHERE o.event_id = chosen.event_id AND e.file_id = o.file_id AND e.version = o.version
        RETURNING ", event_columns!(), ", o.attempt, o.lease_epoch, o.run_at"),
    remove_from_outbox: "DELETE FROM {p}_outbox WHERE event_id = $1 AND lease_epoch = $2 AND lease_until IS NOT NULL",
    release_event: "UPDATE {p}_outbox SET run_at = $3, last_error = $4, lease_owner = NULL, lease_until = NULL
        WHERE event_id = $1 AND lease_epoch = $2 AND lease_until IS NOT NULL",

    // Usage
    usage: "SELECT reserved_bytes, stored_bytes, files FROM {p}_usage WHERE owner = $1",
    add_usage: "INSERT INTO {p}_usage AS u (owner, reserved_bytes, stored_bytes, files)
        VALUES ($1, greatest(0, $2::bigint), greatest(0, $3::bigint), greatest(0, $4::bigint))
        ON CONFLICT (owner) DO UPDATE SET reserved_bytes = greatest(0, u.reserved_bytes + $2),
        stored_bytes = greatest(0, u.stored_bytes + $3), files = greatest(0, u.files + $4)",
    reserve: "INSERT INTO {p}_usage AS u (owner, reserved_bytes, stored_bytes, files)
        SELECT t.owner, t.bytes, 0, 0 FROM unnest($1::text[], $2::bigint[]) AS t (owner, bytes) ORDER BY t.owner COLLATE \"C\"
        ON CONFLICT (owner) DO UPDATE SET reserved_bytes = u.reserved_bytes + excluded.reserved_bytes
        RETURNING owner, reserved_bytes, stored_bytes, files",
    restore_usage: "INSERT INTO {p}_usage (owner, reserved_bytes, stored_bytes, files)
        VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
    stored_bytes: "SELECT coalesce(sum(stored_bytes), 0)::bigint FROM {p}_usage",

    // Records
    record: concat!("SELECT ", record_columns!(), " FROM {p}_records WHERE kind = $1 AND id = $2"),
    records: concat!("SELECT ", record_columns!(), " FROM {p}_records
        WHERE (kind, id) IN (SELECT * FROM unnest($1::text[], $2::text[]))"),
    // Shared, so that many files may be linked at once, and the record is not removed meanwhile.
    record_owner: "SELECT owner FROM {p}_records WHERE kind = $1 AND id = $2 FOR SHARE",
    record_owners: "SELECT kind, id, owner FROM {p}_records
        WHERE (kind, id) IN (SELECT * FROM unnest($1::text[], $2::text[])) ORDER BY kind, id FOR SHARE",
    child_records: concat!("SELECT ", record_columns!(), " FROM {p}_records WHERE parent_kind = $1 AND parent_id = $2
        ORDER BY kind, id"),
    insert_record: concat!("INSERT INTO {p}_records (", record_columns!(), ")
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (kind, id) DO NOTHING"),
    insert_records: concat!("INSERT INTO {p}_records (", record_columns!(), ")
        SELECT t.kind, t.id, t.owner, t.parent_kind, t.parent_id, t.payload::json, t.meta::json, t.version, t.created_at,
        t.updated_at FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[],
        $8::bigint[], $9::timestamptz[], $10::timestamptz[])
        AS t (kind, id, owner, parent_kind, parent_id, payload, meta, version, created_at, updated_at)
        ORDER BY t.kind COLLATE \"C\", t.id COLLATE \"C\" ON CONFLICT (kind, id) DO NOTHING"),
    update_record: "UPDATE {p}_records SET owner = $3, parent_kind = $4, parent_id = $5, payload = $6, meta = $7,
        version = $8, created_at = $9, updated_at = $10 WHERE kind = $1 AND id = $2 AND version = $11",
    lock_record: "SELECT version FROM {p}_records WHERE kind = $1 AND id = $2 FOR UPDATE",
    delete_record: "DELETE FROM {p}_records WHERE kind = $1 AND id = $2 AND version = $3",

    // Intents
    insert_intent: concat!("INSERT INTO {p}_wal (", intent_columns!(), ")
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)"),
    restore_intent: concat!("INSERT INTO {p}_wal (", intent_columns!(), ")
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT DO NOTHING"),
    intent_is_open: "SELECT 1 FROM {p}_wal WHERE id = $1 AND status IN ('PENDING', 'FAILED') FOR UPDATE",
    end_intent: "UPDATE {p}_wal SET status = $2, error = $3, completed_at = $4
        WHERE id = $1 AND status IN ('PENDING', 'FAILED')",
    stale_intents: concat!("SELECT ", intent_columns!(), " FROM {p}_wal
        WHERE status = 'PENDING' AND lease_until <= $1 ORDER BY started_at, id LIMIT $2"),
    intents: concat!("SELECT ", intent_columns!(), " FROM {p}_wal WHERE id < $1
        AND ($2::text IS NULL OR status = $2) AND ($3::text IS NULL OR kind = $3)
        AND ($4::uuid IS NULL OR file_id = $4) ORDER BY id DESC LIMIT $5"),
    trim_intents: "DELETE FROM {p}_wal WHERE id IN (SELECT id FROM {p}_wal
        WHERE completed_at IS NOT NULL AND completed_at < $1 ORDER BY completed_at LIMIT $2)",

    // Jobs
    // The next round of the queue, but not before the owner's next one: two steps into an index.
    insert_job: concat!("INSERT INTO {p}_jobs (id, kind, file_id, state, priority, run_at, attempt, lease_epoch, created_at,
        owner, turn_at)
        SELECT $1, $2, $3, 'ready', $4, $5, 0, 0, $6, o.owner, CASE WHEN $8::boolean THEN ",
        next_turn!("$2", "o.owner", "$6::timestamptz"), " END
        FROM (SELECT coalesce($7::text, (SELECT f.owner FROM {p}_files AS f WHERE f.id = $3), '') COLLATE \"C\" AS owner) AS o
        ON CONFLICT (file_id, kind) WHERE state IN ('ready', 'running') DO NOTHING"),
    restore_job: "INSERT INTO {p}_jobs (id, kind, file_id, state, priority, run_at, attempt, lease_epoch, last_error,
        created_at, failures, owner, turn_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
        ON CONFLICT DO NOTHING",
    // Locked, so that nobody takes the job over before what is done under this claim is committed.
    lease_holds: "SELECT 1 FROM {p}_jobs WHERE id = $1 AND lease_epoch = $2 AND state = 'running' FOR UPDATE",
    complete_job: "DELETE FROM {p}_jobs WHERE id = $1 AND lease_epoch = $2 AND state = 'running'",
    // Jobs whose time has come, or that an older version enqueued, those that waited longest first.
    place_jobs: concat!("WITH due AS (SELECT d.* FROM unnest($2::text[]) AS k (kind) CROSS JOIN LATERAL (
            SELECT w.id, w.kind, w.run_at,
            coalesce(w.owner, (SELECT f.owner FROM {p}_files AS f WHERE f.id = w.file_id), '') AS owner
            FROM {p}_jobs AS w WHERE w.", waiting!(), " AND w.kind = k.kind COLLATE \"C\" AND w.run_at <= $1
            ORDER BY w.run_at, w.id LIMIT $3 FOR UPDATE OF w SKIP LOCKED) AS d),
        placed AS (SELECT due.id, due.owner, ", next_turn!("due.kind", "due.owner", "$1::timestamptz"), "
            + (row_number() OVER (PARTITION BY due.kind, due.owner ORDER BY due.run_at, due.id) - 1)
            * interval '1 microsecond' AS turn_at FROM due)
        UPDATE {p}_jobs AS j SET owner = p.owner, turn_at = p.turn_at FROM placed AS p WHERE j.id = p.id"),
    // Who is first in line, of each kind so many. Nothing is locked yet: several look at the same ones.
    jobs_in_line: concat!("SELECT c.kind, c.id, c.run_at, c.lapsed FROM (
        SELECT h.* FROM unnest($2::text[], $3::bigint[]) AS k (kind, most) CROSS JOIN LATERAL (
            SELECT kind, id, run_at, false AS lapsed, turn_at AS place FROM {p}_jobs WHERE ", in_line!(), "
            AND kind = k.kind COLLATE \"C\" AND run_at <= $1 ORDER BY turn_at, id LIMIT k.most) AS h
        UNION ALL SELECT kind, id, run_at, true, lease_until FROM {p}_jobs
            WHERE state = 'running' AND lease_until < $1 AND kind = ANY($2)) AS c
        ORDER BY c.lapsed DESC, c.place, c.id"),
    // So many of each kind, whichever are first in line and nobody else's.
    claim_jobs: concat!("WITH chosen AS (SELECT c.id FROM unnest($4::text[], $5::bigint[]) AS k (kind, most)
            CROSS JOIN LATERAL (SELECT id FROM {p}_jobs WHERE ", in_line!(), "
            AND kind = k.kind COLLATE \"C\" AND run_at <= $1 ORDER BY turn_at, id LIMIT k.most FOR UPDATE SKIP LOCKED) AS c),
        lapsed AS (SELECT id FROM {p}_jobs WHERE id = ANY($6) AND state = 'running' AND lease_until < $1
            FOR UPDATE SKIP LOCKED)
        UPDATE {p}_jobs AS j SET state = 'running', attempt = attempt + 1, lease_epoch = lease_epoch + 1,
        lease_owner = $2, lease_until = $3, progress = NULL
        FROM (SELECT id FROM chosen UNION ALL SELECT id FROM lapsed) AS c WHERE j.id = c.id RETURNING ", job_columns!()),
    extend_leases: "UPDATE {p}_jobs AS j SET lease_until = $3
        FROM unnest($1::uuid[], $2::bigint[]) AS t (id, epoch)
        WHERE j.id = t.id AND j.lease_epoch = t.epoch AND j.state = 'running' RETURNING j.id, j.lease_epoch",
    report_progress: "UPDATE {p}_jobs AS j SET lease_until = $3, progress = t.progress
        FROM unnest($1::uuid[], $2::bigint[], $4::json[]) AS t (id, epoch, progress)
        WHERE j.id = t.id AND j.lease_epoch = t.epoch AND j.state = 'running' RETURNING j.id, j.lease_epoch, j.file_id",
    release_job: "UPDATE {p}_jobs SET state = $3, run_at = coalesce($4, run_at), attempt = greatest(0, attempt - $5),
        failures = failures + $6, last_error = $7, lease_owner = NULL, lease_until = NULL, turn_at = NULL, progress = NULL
        WHERE id = $1 AND lease_epoch = $2 AND state = 'running' RETURNING file_id",
    next_job_at: concat!("SELECT min(least(
        (SELECT run_at FROM {p}_jobs WHERE ", in_line!(), " AND kind = k.name COLLATE \"C\" ORDER BY turn_at, id LIMIT 1),
        (SELECT run_at FROM {p}_jobs WHERE ", waiting!(), " AND kind = k.name COLLATE \"C\" ORDER BY run_at, id LIMIT 1)))
        FROM unnest($1::text[]) AS k (name)"),
    job_of_file: concat!("SELECT ", job_columns!(), " FROM {p}_jobs AS j
        WHERE j.file_id = $1 AND j.kind = $2 AND j.state IN ('ready', 'running')"),
    jobs: concat!("SELECT ", job_columns!(), " FROM {p}_jobs AS j WHERE j.id > $1 ORDER BY j.id LIMIT $2"),
    jobs_in_state: concat!("SELECT ", job_columns!(), " FROM {p}_jobs AS j WHERE j.id > $1 AND j.state = $3
        ORDER BY j.id LIMIT $2"),
    dead_jobs: concat!("SELECT ", job_columns!(), " FROM {p}_jobs AS j WHERE j.id > $1 AND j.state = 'dead'
        ORDER BY j.id LIMIT $2"),
    dead_job: "SELECT kind, file_id FROM {p}_jobs WHERE id = $1 AND state = 'dead' FOR UPDATE",
    live_job: "SELECT 1 FROM {p}_jobs WHERE file_id = $1 AND kind = $2 AND state IN ('ready', 'running')",
    revive_job: "UPDATE {p}_jobs SET state = 'ready', run_at = $2, attempt = 0, failures = 0, last_error = NULL,
        turn_at = NULL WHERE id = $1",
    discard_job: "DELETE FROM {p}_jobs WHERE id = $1 AND state = 'dead'",
    delete_live_jobs: "DELETE FROM {p}_jobs WHERE file_id = $1 AND state IN ('ready', 'running')",
    delete_dead_jobs: "DELETE FROM {p}_jobs WHERE file_id = $1 AND state = 'dead'",
    count_jobs: "SELECT kind, state, count(*), min(run_at) FROM {p}_jobs GROUP BY kind, state",

    // Service tokens and settings
    insert_token: concat!("INSERT INTO {p}_service_tokens (", token_columns!(), ")
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING"),
    token: concat!("SELECT ", token_columns!(), " FROM {p}_service_tokens WHERE secret_sha256 = $1"),
    tokens: concat!("SELECT ", token_columns!(), " FROM {p}_service_tokens ORDER BY created_at DESC, id DESC"),
    revoke_token: "UPDATE {p}_service_tokens SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL",
    put_setting: "INSERT INTO {p}_settings (name, value) VALUES ($1, $2)
        ON CONFLICT (name) DO UPDATE SET value = excluded.value",
    restore_setting: "INSERT INTO {p}_settings (name, value) VALUES ($1, $2) ON CONFLICT DO NOTHING",
    setting: "SELECT value FROM {p}_settings WHERE name = $1",

    // Leases
    acquire_lease: "INSERT INTO {p}_leases AS l (name, holder, epoch, ends_at) VALUES ($1, $2, 1, $4)
        ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, epoch = l.epoch + 1, ends_at = excluded.ends_at
        WHERE l.holder IS NULL OR l.holder = excluded.holder OR l.ends_at < $3 RETURNING epoch",
    renew_lease: "UPDATE {p}_leases SET ends_at = $5 WHERE name = $1 AND holder = $2 AND epoch = $3 AND ends_at >= $4",
    release_lease: "UPDATE {p}_leases SET holder = NULL WHERE name = $1 AND holder = $2 AND epoch = $3",

    // Adoption, and every row there is
    all_files: concat!("SELECT ", file_columns!(), ", ", later_file_columns!(), " FROM {p}_files AS f
        WHERE f.id > $1 ORDER BY f.id LIMIT $2"),
    files_by_id: concat!("SELECT ", file_columns!(), ", ", later_file_columns!(), " FROM {p}_files AS f
        WHERE f.id = ANY($1) ORDER BY f.id"),
    all_records: concat!("SELECT ", record_columns!(), " FROM {p}_records WHERE (kind, id) > ($1, $2)
        ORDER BY kind, id LIMIT $3"),
    purged_files: "SELECT DISTINCT file_id FROM {p}_events WHERE file_id = ANY($1) AND kind = 'file.purged'
        ORDER BY file_id",
    put_upload: "UPDATE {p}_files SET upload_method = $2, upload_staging_key = $3, upload_expires_at = $4,
        upload_multipart_id = $5, upload_part_size_bytes = $6, upload_request_digest = $7, upload_reserved_bytes = $8
        WHERE id = $1",
    delete_derivatives: "DELETE FROM {p}_derivatives WHERE file_id = $1",
    retained_files: concat!("SELECT ", file_columns!(), ", ", later_file_columns!(), " FROM {p}_files AS f
        WHERE f.collection = $1 AND f.state = 'ready' AND f.legal_hold IS NULL
        AND coalesce(f.unarchived_at, f.created_at) < $2 AND (coalesce(f.unarchived_at, f.created_at), f.id) > ($3, $4)
        ORDER BY coalesce(f.unarchived_at, f.created_at), f.id LIMIT $5"),
    retained_unlinked_files: concat!("SELECT ", file_columns!(), ", ", later_file_columns!(), " FROM {p}_files AS f
        WHERE f.collection = $1 AND f.state = 'ready' AND f.legal_hold IS NULL AND f.record_kind IS NULL
        AND coalesce(f.unarchived_at, f.created_at) < $2 AND (coalesce(f.unarchived_at, f.created_at), f.id) > ($3, $4)
        ORDER BY coalesce(f.unarchived_at, f.created_at), f.id LIMIT $5"),
    under_way: "SELECT
        (SELECT upload_expires_at FROM {p}_files WHERE open AND bucket = ANY($1) ORDER BY upload_expires_at DESC LIMIT 1),
        (SELECT count(*) FROM {p}_files
            WHERE NOT open AND state IN ('confirmed', 'processing') AND bucket = ANY($1))",

    // Usage, counted anew
    totals: "SELECT coalesce(sum(files), 0)::bigint, coalesce(sum(stored_bytes), 0)::bigint FROM {p}_usage",
    check_usage: concat!("WITH c AS MATERIALIZED (SELECT owner FROM (
            (SELECT owner FROM {p}_usage WHERE owner > $1 ORDER BY owner LIMIT $2)
            UNION (SELECT DISTINCT owner FROM {p}_files WHERE open AND owner > $1 ORDER BY owner LIMIT $2)
            UNION (SELECT DISTINCT owner FROM {p}_files WHERE NOT open AND owner > $1 ORDER BY owner LIMIT $2)) AS o
            ORDER BY owner LIMIT $2)", usage_check!()),
    check_usage_of: concat!("WITH c AS (SELECT $1::text COLLATE \"C\" AS owner)", usage_check!()),
    // Whoever changes a file changes its owner's row in the same transaction, and waits for it.
    lock_usage: "INSERT INTO {p}_usage AS u (owner, reserved_bytes, stored_bytes, files) VALUES ($1, 0, 0, 0)
        ON CONFLICT (owner) DO UPDATE SET files = u.files",
    set_usage: "UPDATE {p}_usage SET reserved_bytes = $2, stored_bytes = $3, files = $4 WHERE owner = $1",

    // Operations
    insert_operation: "INSERT INTO {p}_operations (id, kind, state, options, done, total, place, counts, error, actor,
        created_at, updated_at, finished_at, lease_epoch, lease_owner, lease_until)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16) ON CONFLICT DO NOTHING",
    operation: concat!("SELECT ", operation_columns!(), " FROM {p}_operations AS o WHERE o.id = $1"),
    operations: concat!("SELECT ", operation_columns!(), " FROM {p}_operations AS o WHERE o.id < $1
        ORDER BY o.id DESC LIMIT $2"),
    last_done_operation: concat!("SELECT ", operation_columns!(), " FROM {p}_operations AS o
        WHERE o.kind = $1 AND o.state = 'done' AND o.finished_at IS NOT NULL
        ORDER BY o.finished_at DESC, o.id DESC LIMIT 1"),
    claim_operation: concat!("WITH chosen AS (SELECT id FROM {p}_operations
            WHERE state IN ('waiting', 'running') AND (state = 'waiting' OR lease_until IS NULL OR lease_until < $2)
            ORDER BY created_at, id LIMIT 1 FOR UPDATE SKIP LOCKED)
        UPDATE {p}_operations AS o SET state = 'running', lease_epoch = o.lease_epoch + 1, lease_owner = $1,
        lease_until = $3, updated_at = $2 FROM chosen WHERE o.id = chosen.id RETURNING ", operation_columns!()),
    claim_operation_by_id: concat!("UPDATE {p}_operations AS o SET state = 'running', lease_epoch = o.lease_epoch + 1,
        lease_owner = $1, lease_until = $3, updated_at = $2 WHERE o.id = $4 AND o.state IN ('waiting', 'running')
        AND (o.state = 'waiting' OR o.lease_until IS NULL OR o.lease_until < $2) RETURNING ", operation_columns!()),
    save_operation: "UPDATE {p}_operations SET state = $3, done = $4, total = $5, place = $6, counts = $7, error = $8,
        updated_at = $9, finished_at = $10, lease_owner = $11, lease_until = $12
        WHERE id = $1 AND lease_epoch = $2 AND state = 'running'",
    cancel_operation: "UPDATE {p}_operations SET state = 'cancelled', updated_at = $2, finished_at = $2, lease_owner = NULL,
        lease_until = NULL WHERE id = $1 AND state IN ('waiting', 'running')",
    // Locked, so that whoever trims at the same time takes another one.
    trimmed_operation: "SELECT id FROM {p}_operations WHERE finished_at IS NOT NULL AND finished_at < $1
        ORDER BY finished_at LIMIT 1 FOR UPDATE SKIP LOCKED",
    // From the end: what is left has no gaps, and is read as before.
    trim_findings: "DELETE FROM {p}_findings WHERE operation_id = $1
        AND line > (SELECT max(line) FROM {p}_findings WHERE operation_id = $1) - $2",
    delete_operation: "DELETE FROM {p}_operations WHERE id = $1",
    // The operation's row is locked meanwhile, so the numbers have no gaps.
    insert_findings: "INSERT INTO {p}_findings (operation_id, line, kind, bucket, key, file_id, detail, action)
        SELECT $1, (SELECT coalesce(max(line), -1) FROM {p}_findings WHERE operation_id = $1) + t.n, t.kind, t.bucket,
        t.key, t.file_id, t.detail, t.action
        FROM unnest($2::text[], $3::text[], $4::text[], $5::uuid[], $6::text[], $7::text[])
        WITH ORDINALITY AS t (kind, bucket, key, file_id, detail, action, n)",
    findings: "SELECT kind, bucket, key, file_id, detail, action FROM {p}_findings
        WHERE operation_id = $1 AND line >= $2 ORDER BY line LIMIT $3",

    // Garbage
    insert_garbage: concat!("INSERT INTO {p}_garbage (", garbage_columns!(), ")
        SELECT t.* FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::bigint[],
        $8::uuid[], $9::timestamptz[], $10::timestamptz[]) AS t (", garbage_columns!(), ")
        ORDER BY t.bucket COLLATE \"C\", t.key COLLATE \"C\", t.upload_id COLLATE \"C\" ON CONFLICT DO NOTHING"),
    garbage: concat!("SELECT ", garbage_columns!(), " FROM {p}_garbage
        WHERE (bucket, key, upload_id) > ($1, $2, $3) ORDER BY bucket, key, upload_id LIMIT $4"),
    garbage_in_state: concat!("SELECT ", garbage_columns!(), " FROM {p}_garbage
        WHERE state = $5 AND (bucket, key, upload_id) > ($1, $2, $3) ORDER BY bucket, key, upload_id LIMIT $4"),
    purgeable_garbage: concat!("SELECT ", garbage_columns!(), " FROM {p}_garbage
        WHERE state = 'trashed' AND purge_at <= $1 ORDER BY purge_at, bucket, key, upload_id LIMIT $2"),
    mark_garbage: "UPDATE {p}_garbage SET state = $4, purge_at = $5 WHERE bucket = $1 AND key = $2 AND upload_id = $3",
    forget_garbage: "DELETE FROM {p}_garbage WHERE bucket = $1 AND key = $2 AND upload_id = $3",

    // Stores and the audit log
    stores: concat!("SELECT ", store_columns!(), " FROM {p}_stores ORDER BY name"),
    insert_store: concat!("INSERT INTO {p}_stores (", store_columns!(), ") VALUES ($1, $2, $3, $4, $5, $6)
        ON CONFLICT DO NOTHING"),
    update_store: "UPDATE {p}_stores SET mode = $2, epoch = $3, draining_until = $4, changed_at = $5, changed_by = $6
        WHERE name = $1 AND epoch = $7",
    insert_audit: concat!("INSERT INTO {p}_audit (", audit_columns!(), ") VALUES ($1, $2, $3, $4, $5, $6)
        ON CONFLICT DO NOTHING"),
    audit_exists: "SELECT 1 FROM {p}_audit WHERE id = $1",
    audit: concat!("SELECT ", audit_columns!(), " FROM {p}_audit WHERE id < $1 ORDER BY id DESC LIMIT $2"),

    // A write that changes nothing and is yet a write.
    touch: "UPDATE {p}_migrations SET applied_at = applied_at WHERE version = 1",
}
