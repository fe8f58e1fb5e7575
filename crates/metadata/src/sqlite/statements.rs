//! Every fixed statement, rendered once with the table prefix. Lists are built in [`super::list`].

use crate::counting::{counted_bytes, counted_file};
use crate::prefix::TablePrefix;

/// Columns of a file in the order that [`super::row::file`] reads and [`super::row::bind_file`] writes (from 1).
macro_rules! file_columns {
    () => {
        "f.id, f.owner, f.created_by_username, f.created_by_full_name, f.collection, f.bucket, f.state, f.version, \
         f.epoch, f.record_kind, f.record_id, f.filename, f.description, f.metadata, f.declared_content_type, \
         f.declared_size_bytes, f.declared_sha256, f.staged_size_bytes, f.staged_etag, f.staged_generation, \
         f.verified_sha256, f.verified_size_bytes, f.verified_content_type, f.key, f.facts, f.error_code, \
         f.error_message, f.created_at, f.updated_at, f.uploaded_at, f.confirmed_at, f.processed_at, f.trash_from, \
         f.trashed_at, f.purge_at, f.legal_hold, f.unarchived_at"
    };
}
pub(super) use file_columns;

macro_rules! job_columns {
    () => {
        "id, kind, file_id, state, run_at, attempt, lease_epoch, lease_owner, lease_until, last_error, created_at, \
         failures, owner, turn_at, progress"
    };
}
pub(super) use job_columns;

/// The turn of a job of this kind and owner that waits from now on: the round after the one that is served, or after the
/// owner's last one.
macro_rules! next_turn {
    ($kind:literal, $owner:literal, $now:literal) => {
        concat!(
            "max(coalesce((SELECT turn_at + 1 FROM {p}_jobs WHERE state = 'ready' AND turn_at IS NOT NULL AND kind = ",
            $kind, " ORDER BY turn_at, id LIMIT 1), ", $now, "),
            coalesce((SELECT turn_at + 1 FROM {p}_jobs WHERE state = 'ready' AND turn_at IS NOT NULL AND kind = ",
            $kind, " AND owner = ", $owner, " ORDER BY turn_at DESC LIMIT 1), 0))"
        )
    };
}

macro_rules! record_columns {
    () => {
        "kind, id, owner, parent_kind, parent_id, payload, meta, version, created_at, updated_at"
    };
}
pub(super) use record_columns;

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

macro_rules! operation_columns {
    () => {
        "id, kind, state, options, done, total, place, counts, error, actor, created_at, updated_at, finished_at, \
         lease_epoch, lease_owner, lease_until"
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

/// Usage by owner (`c.owner`), counted and found.
macro_rules! usage_check_columns {
    () => {
        concat!(
            "c.owner, coalesce(u.reserved_bytes, 0), coalesce(u.stored_bytes, 0), coalesce(u.files, 0),
            (SELECT coalesce(sum(l.reserved_bytes), 0) FROM {p}_files AS o JOIN {p}_uploads AS l ON l.file_id = o.id
                WHERE o.open = 1 AND o.owner = c.owner),
            coalesce(sum(", counted_bytes!(), "), 0), count(f.id)"
        )
    };
}

/// The columns that a change of state writes. Neither is in a large index but `state`, so this update is cheap.
macro_rules! changing_columns {
    () => {
        "created_by_username = ?3, created_by_full_name = ?4, bucket = ?6, state = ?7, version = ?8, epoch = ?9, \
         filename = ?12, description = ?13, metadata = ?14, declared_content_type = ?15, declared_size_bytes = ?16, \
         declared_sha256 = ?17, staged_size_bytes = ?18, staged_etag = ?19, staged_generation = ?20, \
         verified_sha256 = ?21, verified_size_bytes = ?22, verified_content_type = ?23, key = ?24, facts = ?25, \
         error_code = ?26, error_message = ?27, updated_at = ?29, uploaded_at = ?30, confirmed_at = ?31, \
         processed_at = ?32, trash_from = ?33, trashed_at = ?34, purge_at = ?35, \
         legal_hold = ?36, unarchived_at = ?37"
    };
}

macro_rules! statements {
    ($($name:ident: $sql:expr,)*) => {
        /// The statements of one table prefix.
        #[derive(Debug)]
        pub(super) struct Statements { $(pub(super) $name: String,)* pub(super) prefix: TablePrefix }

        impl Statements {
            pub(super) fn new(prefix: &TablePrefix) -> Self {
                Self { $($name: prefix.render($sql),)* prefix: prefix.clone() }
            }

            /// Every statement with its name.
            #[cfg(test)]
            pub(super) fn all(&self) -> Vec<(&'static str, &str)> {
                vec![$((stringify!($name), self.$name.as_str()),)*]
            }
        }
    };
}

statements! {
    // Files
    file: concat!("SELECT ", file_columns!(), " FROM {p}_files AS f WHERE f.id = ?1"),
    file_exists: "SELECT 1 FROM {p}_files WHERE id = ?1",
    insert_file: "INSERT INTO {p}_files (id, owner, created_by_username, created_by_full_name, collection, bucket,
        state, version, epoch, record_kind, record_id, filename, description, metadata, declared_content_type,
        declared_size_bytes, declared_sha256, staged_size_bytes, staged_etag, staged_generation, verified_sha256,
        verified_size_bytes, verified_content_type, key, facts, error_code, error_message, created_at, updated_at,
        uploaded_at, confirmed_at, processed_at, trash_from, trashed_at, purge_at, legal_hold, unarchived_at,
        open)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22,
        ?23, ?24, ?25, ?26, ?27, ?28, ?29, ?30, ?31, ?32, ?33, ?34, ?35, ?36, ?37,
        ?38)",
    file_before: "SELECT seq, version, state, open, owner, collection, created_at, record_kind, record_id, filename,
        description, metadata FROM {p}_files WHERE id = ?1",
    update_file: concat!("UPDATE {p}_files SET ", changing_columns!(), " WHERE id = ?1"),
    update_file_and_indexes: concat!("UPDATE {p}_files SET ", changing_columns!(), ", owner = ?2, collection = ?5,
        record_kind = ?10, record_id = ?11, created_at = ?28, open = ?38 WHERE id = ?1"),
    delete_file: "DELETE FROM {p}_files WHERE seq = ?1",
    purgeable_files: "SELECT id FROM {p}_files WHERE purge_at <= ?1 AND state = 'trashed' ORDER BY purge_at LIMIT ?2",
    linked_file: "SELECT 1 FROM {p}_files WHERE record_kind = ?1 AND record_id = ?2
        AND state NOT IN ('trashed', 'purging', 'expired', 'reaping') LIMIT 1",
    count_settled_files: "SELECT state, count(*) FROM {p}_files WHERE open = 0 GROUP BY state",
    count_open_files: "SELECT state, count(*) FROM {p}_files WHERE open = 1 GROUP BY state",

    // Uploads
    upload: "SELECT file_id, method, staging_key, expires_at, multipart_id, part_size_bytes, request_digest,
        reserved_bytes FROM {p}_uploads WHERE file_id = ?1",
    insert_upload: "INSERT INTO {p}_uploads (file_id, method, staging_key, expires_at, multipart_id, part_size_bytes,
        request_digest, reserved_bytes, open) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    update_upload: "UPDATE {p}_uploads SET method = ?2, staging_key = ?3, expires_at = ?4, multipart_id = ?5,
        part_size_bytes = ?6, request_digest = ?7, reserved_bytes = ?8, open = ?9 WHERE file_id = ?1",
    set_upload_open: "UPDATE {p}_uploads SET open = ?2 WHERE file_id = ?1",
    expired_uploads: "SELECT file_id FROM {p}_uploads WHERE open = 1 AND expires_at <= ?1 ORDER BY expires_at LIMIT ?2",

    // Derivatives
    derivatives: "SELECT file_id, name, key, content_type, size_bytes, width, height, error, created_at
        FROM {p}_derivatives WHERE file_id = ?1 ORDER BY name",
    delete_derivative: "DELETE FROM {p}_derivatives WHERE file_id = ?1 AND name = ?2",
    put_derivative: "INSERT OR REPLACE INTO {p}_derivatives (file_id, name, key, content_type, size_bytes, width, height,
        error, created_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",

    // Search. What is left of rows that somebody removed by hand is replaced: their `seq` is given out again.
    insert_search: "INSERT OR REPLACE INTO {p}_search (rowid, owner, words) VALUES (?1, ?2, ?3)",
    delete_search: "DELETE FROM {p}_search WHERE rowid = ?1",
    insert_metadata: "INSERT OR REPLACE INTO {p}_file_metadata (k, v, created_at, id, seq) VALUES (?1, ?2, ?3, ?4, ?5)",
    delete_metadata: "DELETE FROM {p}_file_metadata WHERE k = ?1 AND v = ?2 AND created_at = ?3 AND id = ?4",

    // Events
    insert_event: "INSERT INTO {p}_events (file_id, version, id, kind, state, actor, data, at)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    timeline: "SELECT file_id, version, id, kind, state, actor, data, at FROM {p}_events
        WHERE file_id = ?1 AND version > ?2 ORDER BY version LIMIT ?3",
    event: "SELECT file_id, version, id, kind, state, actor, data, at FROM {p}_events
        WHERE file_id = ?1 AND version = ?2",
    restore_event: "INSERT INTO {p}_events (file_id, version, id, kind, state, actor, data, at)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT DO NOTHING",

    // Outbox: claimed like jobs, without priorities.
    insert_outbox: "INSERT INTO {p}_outbox (event_id, file_id, version, run_at, attempt, lease_epoch)
        VALUES (?1, ?2, ?3, ?4, 0, 0)",
    claim_outbox: "UPDATE {p}_outbox SET attempt = attempt + 1, lease_epoch = lease_epoch + 1, lease_owner = ?2,
        lease_until = ?3 WHERE event_id IN (SELECT event_id FROM (
            SELECT event_id, run_at FROM (SELECT event_id, run_at FROM {p}_outbox
                WHERE lease_until IS NULL AND run_at <= ?1 ORDER BY run_at, event_id LIMIT ?4)
            UNION ALL
            SELECT event_id, run_at FROM {p}_outbox WHERE lease_until < ?1)
            ORDER BY run_at, event_id LIMIT ?4)
        RETURNING event_id, file_id, version, run_at, attempt, lease_epoch",
    delete_outbox: "DELETE FROM {p}_outbox WHERE event_id = ?1 AND lease_epoch = ?2 AND lease_until IS NOT NULL",
    release_outbox: "UPDATE {p}_outbox SET run_at = ?3, last_error = ?4, lease_owner = NULL, lease_until = NULL
        WHERE event_id = ?1 AND lease_epoch = ?2 AND lease_until IS NOT NULL",

    // Usage
    usage: "SELECT reserved_bytes, stored_bytes, files FROM {p}_usage WHERE owner = ?1",
    add_usage: "INSERT INTO {p}_usage (owner, reserved_bytes, stored_bytes, files)
        VALUES (?1, max(0, ?2), max(0, ?3), max(0, ?4))
        ON CONFLICT (owner) DO UPDATE SET reserved_bytes = max(0, reserved_bytes + ?2),
        stored_bytes = max(0, stored_bytes + ?3), files = max(0, files + ?4)",
    restore_usage: "INSERT INTO {p}_usage (owner, reserved_bytes, stored_bytes, files)
        VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING",
    stored_bytes: "SELECT coalesce(sum(stored_bytes), 0) FROM {p}_usage",

    // Records
    record: concat!("SELECT ", record_columns!(), " FROM {p}_records WHERE kind = ?1 AND id = ?2"),
    record_owner: "SELECT owner FROM {p}_records WHERE kind = ?1 AND id = ?2",
    child_records: concat!("SELECT ", record_columns!(), " FROM {p}_records WHERE parent_kind = ?1 AND parent_id = ?2
        ORDER BY kind, id"),
    insert_record: concat!("INSERT INTO {p}_records (", record_columns!(), ")
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) ON CONFLICT (kind, id) DO NOTHING"),
    update_record: "UPDATE {p}_records SET owner = ?3, parent_kind = ?4, parent_id = ?5, payload = ?6, meta = ?7,
        version = ?8, created_at = ?9, updated_at = ?10 WHERE kind = ?1 AND id = ?2 AND version = ?11",
    delete_record: "DELETE FROM {p}_records WHERE kind = ?1 AND id = ?2 AND version = ?3",

    // Intents
    insert_intent: concat!("INSERT INTO {p}_wal (", intent_columns!(), ")
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)"),
    restore_intent: concat!("INSERT INTO {p}_wal (", intent_columns!(), ")
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11) ON CONFLICT DO NOTHING"),
    intent_is_open: "SELECT 1 FROM {p}_wal WHERE id = ?1 AND status IN ('PENDING', 'FAILED')",
    end_intent: "UPDATE {p}_wal SET status = ?2, error = ?3, completed_at = ?4
        WHERE id = ?1 AND status IN ('PENDING', 'FAILED')",
    stale_intents: concat!("SELECT ", intent_columns!(), " FROM {p}_wal
        WHERE status = 'PENDING' AND lease_until <= ?1 ORDER BY started_at, id LIMIT ?2"),
    intents: concat!("SELECT ", intent_columns!(), " FROM {p}_wal WHERE id < ?1 AND (?2 IS NULL OR status = ?2)
        AND (?3 IS NULL OR kind = ?3) AND (?4 IS NULL OR file_id = ?4) ORDER BY id DESC LIMIT ?5"),
    trim_intents: "DELETE FROM {p}_wal WHERE id IN (SELECT id FROM {p}_wal
        WHERE completed_at IS NOT NULL AND completed_at < ?1 ORDER BY completed_at LIMIT ?2)",

    // Jobs
    // The next round of the queue, but not before the owner's next one: two steps into an index.
    insert_job: concat!("INSERT INTO {p}_jobs (id, kind, file_id, state, priority, run_at, attempt, lease_epoch, created_at,
        owner, turn_at) VALUES (?1, ?2, ?3, 'ready', ?4, ?5, 0, 0, ?6, ?7, CASE WHEN ?8 THEN ",
        next_turn!("?2", "?7", "?6"), " END)
        ON CONFLICT (file_id, kind) WHERE state IN ('ready', 'running') DO NOTHING"),
    restore_job: "INSERT INTO {p}_jobs (id, kind, file_id, state, priority, run_at, attempt, lease_epoch, last_error,
        created_at, failures, owner, turn_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)
        ON CONFLICT DO NOTHING",
    owner_of_file: "SELECT owner FROM {p}_files WHERE id = ?1",
    lease_holds: "SELECT 1 FROM {p}_jobs WHERE id = ?1 AND lease_epoch = ?2 AND state = 'running'",
    complete_job: "DELETE FROM {p}_jobs WHERE id = ?1 AND lease_epoch = ?2 AND state = 'running'",
    due_jobs: "SELECT id, file_id, owner FROM {p}_jobs
        WHERE state = 'ready' AND turn_at IS NULL AND kind = ?1 AND run_at <= ?2 ORDER BY run_at, id LIMIT ?3",
    place_job: concat!("UPDATE {p}_jobs SET owner = ?3, turn_at = ", next_turn!("?2", "?3", "?4"), " WHERE id = ?1"),
    jobs_in_line: "SELECT id, run_at FROM {p}_jobs
        WHERE state = 'ready' AND turn_at IS NOT NULL AND kind = ?1 AND run_at <= ?2 ORDER BY turn_at, id LIMIT ?3",
    lapsed_jobs: "SELECT kind, id, run_at FROM {p}_jobs WHERE state = 'running' AND lease_until < ?1 ORDER BY lease_until",
    claim_job: concat!("UPDATE {p}_jobs SET state = 'running', attempt = attempt + 1, lease_epoch = lease_epoch + 1,
        lease_owner = ?2, lease_until = ?3, progress = NULL WHERE id = ?1 RETURNING ", job_columns!()),
    extend_lease: "UPDATE {p}_jobs SET lease_until = ?3 WHERE id = ?1 AND lease_epoch = ?2 AND state = 'running'",
    report_progress: "UPDATE {p}_jobs SET lease_until = ?3, progress = ?4
        WHERE id = ?1 AND lease_epoch = ?2 AND state = 'running' RETURNING file_id",
    release_job: "UPDATE {p}_jobs SET state = ?3, run_at = coalesce(?4, run_at), attempt = max(0, attempt - ?5),
        failures = failures + ?6, last_error = ?7, lease_owner = NULL, lease_until = NULL, turn_at = NULL, progress = NULL
        WHERE id = ?1 AND lease_epoch = ?2 AND state = 'running' RETURNING file_id",
    next_turn_at: "SELECT run_at FROM {p}_jobs WHERE state = 'ready' AND turn_at IS NOT NULL AND kind = ?1
        ORDER BY turn_at, id LIMIT 1",
    next_due_at: "SELECT run_at FROM {p}_jobs WHERE state = 'ready' AND turn_at IS NULL AND kind = ?1
        ORDER BY run_at, id LIMIT 1",
    job_of_file: concat!("SELECT ", job_columns!(), " FROM {p}_jobs
        WHERE file_id = ?1 AND kind = ?2 AND state IN ('ready', 'running')"),
    dead_job: "SELECT kind, file_id FROM {p}_jobs WHERE id = ?1 AND state = 'dead'",
    live_job: "SELECT 1 FROM {p}_jobs WHERE file_id = ?1 AND kind = ?2 AND state IN ('ready', 'running')",
    revive_job: "UPDATE {p}_jobs SET state = 'ready', run_at = ?2, attempt = 0, failures = 0, last_error = NULL,
        turn_at = NULL WHERE id = ?1",
    discard_job: "DELETE FROM {p}_jobs WHERE id = ?1 AND state = 'dead'",
    delete_live_jobs: "DELETE FROM {p}_jobs WHERE file_id = ?1 AND state IN ('ready', 'running')",
    delete_dead_jobs: "DELETE FROM {p}_jobs WHERE file_id = ?1 AND state = 'dead'",
    count_jobs: "SELECT kind, state, count(*), min(run_at) FROM {p}_jobs GROUP BY kind, state",

    // Service tokens and settings
    insert_token: concat!("INSERT INTO {p}_service_tokens (", token_columns!(), ")
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT DO NOTHING"),
    token: concat!("SELECT ", token_columns!(), " FROM {p}_service_tokens WHERE secret_sha256 = ?1"),
    tokens: concat!("SELECT ", token_columns!(), " FROM {p}_service_tokens ORDER BY created_at DESC, id DESC"),
    revoke_token: "UPDATE {p}_service_tokens SET revoked_at = ?2 WHERE id = ?1 AND revoked_at IS NULL",
    put_setting: "INSERT INTO {p}_settings (name, value) VALUES (?1, ?2)
        ON CONFLICT (name) DO UPDATE SET value = excluded.value",
    restore_setting: "INSERT INTO {p}_settings (name, value) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
    setting: "SELECT value FROM {p}_settings WHERE name = ?1",

    // Leases
    acquire_lease: "INSERT INTO {p}_leases (name, holder, epoch, ends_at) VALUES (?1, ?2, 1, ?4)
        ON CONFLICT (name) DO UPDATE SET holder = ?2, epoch = epoch + 1, ends_at = ?4
        WHERE holder IS NULL OR holder = ?2 OR ends_at < ?3 RETURNING epoch",
    renew_lease: "UPDATE {p}_leases SET ends_at = ?5
        WHERE name = ?1 AND holder = ?2 AND epoch = ?3 AND ends_at >= ?4",
    release_lease: "UPDATE {p}_leases SET holder = NULL WHERE name = ?1 AND holder = ?2 AND epoch = ?3",

    // Adoption, and every row there is
    all_files: concat!("SELECT ", file_columns!(), " FROM {p}_files AS f WHERE f.id > ?1 ORDER BY f.id LIMIT ?2"),
    all_records: concat!("SELECT ", record_columns!(), " FROM {p}_records WHERE (kind, id) > (?1, ?2)
        ORDER BY kind, id LIMIT ?3"),
    purged: "SELECT 1 FROM {p}_events WHERE file_id = ?1 AND kind = 'file.purged' LIMIT 1",
    event_exists: "SELECT 1 FROM {p}_events WHERE file_id = ?1 AND version = ?2",
    delete_derivatives: "DELETE FROM {p}_derivatives WHERE file_id = ?1",
    file_seq: "SELECT seq FROM {p}_files WHERE id = ?1",
    retained_files: concat!("SELECT ", file_columns!(), " FROM {p}_files AS f
        WHERE f.collection = ?1 AND f.state = 'ready' AND f.legal_hold IS NULL
        AND coalesce(f.unarchived_at, f.created_at) < ?2 AND coalesce(f.unarchived_at, f.created_at) >= ?3
        AND (coalesce(f.unarchived_at, f.created_at) > ?3 OR f.id > ?4)
        ORDER BY coalesce(f.unarchived_at, f.created_at), f.id LIMIT ?5"),
    retained_unlinked_files: concat!("SELECT ", file_columns!(), " FROM {p}_files AS f
        WHERE f.collection = ?1 AND f.state = 'ready' AND f.legal_hold IS NULL AND f.record_kind IS NULL
        AND coalesce(f.unarchived_at, f.created_at) < ?2 AND coalesce(f.unarchived_at, f.created_at) >= ?3
        AND (coalesce(f.unarchived_at, f.created_at) > ?3 OR f.id > ?4)
        ORDER BY coalesce(f.unarchived_at, f.created_at), f.id LIMIT ?5"),
    // Tickets that end last come first; one of the bucket is the answer.
    open_until: "SELECT u.expires_at FROM {p}_uploads AS u JOIN {p}_files AS f ON f.id = u.file_id
        WHERE u.open = 1 AND f.bucket = ?1 ORDER BY u.expires_at DESC LIMIT 1",
    unverified_files: "SELECT count(*) FROM {p}_files
        WHERE open = 0 AND state IN ('confirmed', 'processing') AND bucket = ?1",

    // Usage, counted anew
    totals: "SELECT coalesce(sum(files), 0), coalesce(sum(stored_bytes), 0) FROM {p}_usage",
    check_usage: concat!("WITH c (owner) AS MATERIALIZED (SELECT owner FROM (
            SELECT owner FROM (SELECT owner FROM {p}_usage WHERE owner > ?1 ORDER BY owner LIMIT ?2)
            UNION SELECT owner FROM
                (SELECT DISTINCT owner FROM {p}_files WHERE open = 1 AND owner > ?1 ORDER BY owner LIMIT ?2)
            UNION SELECT owner FROM
                (SELECT DISTINCT owner FROM {p}_files WHERE open = 0 AND owner > ?1 ORDER BY owner LIMIT ?2))
            ORDER BY owner LIMIT ?2)
        SELECT ", usage_check_columns!(), " FROM c LEFT JOIN {p}_usage AS u ON u.owner = c.owner
        LEFT JOIN {p}_files AS f ON f.owner = c.owner AND f.open = 0 AND ", counted_file!(), "
        GROUP BY c.owner ORDER BY c.owner"),
    check_usage_of: concat!("WITH c (owner) AS (SELECT ?1)
        SELECT ", usage_check_columns!(), " FROM c LEFT JOIN {p}_usage AS u ON u.owner = c.owner
        LEFT JOIN {p}_files AS f ON f.owner = c.owner AND f.open = 0 AND ", counted_file!(), "
        GROUP BY c.owner"),
    put_usage: "INSERT INTO {p}_usage (owner, reserved_bytes, stored_bytes, files) VALUES (?1, ?2, ?3, ?4)
        ON CONFLICT (owner) DO UPDATE SET reserved_bytes = ?2, stored_bytes = ?3, files = ?4",

    // Operations
    insert_operation: concat!("INSERT INTO {p}_operations (", operation_columns!(), ")
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16) ON CONFLICT DO NOTHING"),
    operation: concat!("SELECT ", operation_columns!(), " FROM {p}_operations WHERE id = ?1"),
    operations: concat!("SELECT ", operation_columns!(), " FROM {p}_operations WHERE id < ?1 ORDER BY id DESC LIMIT ?2"),
    last_done_operation: concat!("SELECT ", operation_columns!(), " FROM {p}_operations
        WHERE kind = ?1 AND state = 'done' AND finished_at IS NOT NULL ORDER BY finished_at DESC, id DESC LIMIT 1"),
    claim_operation: concat!("UPDATE {p}_operations SET state = 'running', lease_epoch = lease_epoch + 1, lease_owner = ?1,
        lease_until = ?3, updated_at = ?2 WHERE id = (SELECT id FROM {p}_operations
            WHERE state IN ('waiting', 'running') AND (state = 'waiting' OR lease_until IS NULL OR lease_until < ?2)
            ORDER BY created_at, id LIMIT 1)
        RETURNING ", operation_columns!()),
    claim_operation_by_id: concat!("UPDATE {p}_operations SET state = 'running', lease_epoch = lease_epoch + 1,
        lease_owner = ?1, lease_until = ?3, updated_at = ?2 WHERE id = ?4 AND state IN ('waiting', 'running')
        AND (state = 'waiting' OR lease_until IS NULL OR lease_until < ?2)
        RETURNING ", operation_columns!()),
    save_operation: "UPDATE {p}_operations SET state = ?3, done = ?4, total = ?5, place = ?6, counts = ?7, error = ?8,
        updated_at = ?9, finished_at = ?10, lease_owner = ?11, lease_until = ?12
        WHERE id = ?1 AND lease_epoch = ?2 AND state = 'running'",
    cancel_operation: "UPDATE {p}_operations SET state = 'cancelled', updated_at = ?2, finished_at = ?2, lease_owner = NULL,
        lease_until = NULL WHERE id = ?1 AND state IN ('waiting', 'running')",
    trimmed_operation: "SELECT id FROM {p}_operations WHERE finished_at IS NOT NULL AND finished_at < ?1
        ORDER BY finished_at LIMIT 1",
    // From the end: what is left has no gaps, and is read as before.
    trim_findings: "DELETE FROM {p}_findings WHERE operation_id = ?1
        AND line > (SELECT max(line) FROM {p}_findings WHERE operation_id = ?1) - ?2",
    delete_operation: "DELETE FROM {p}_operations WHERE id = ?1",
    next_finding: "SELECT coalesce(max(line) + 1, 0) FROM {p}_findings WHERE operation_id = ?1",
    insert_finding: "INSERT INTO {p}_findings (operation_id, line, kind, bucket, key, file_id, detail, action)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    findings: "SELECT kind, bucket, key, file_id, detail, action FROM {p}_findings
        WHERE operation_id = ?1 AND line >= ?2 ORDER BY line LIMIT ?3",

    // Garbage
    insert_garbage: concat!("INSERT INTO {p}_garbage (", garbage_columns!(), ")
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) ON CONFLICT DO NOTHING"),
    garbage: concat!("SELECT ", garbage_columns!(), " FROM {p}_garbage
        WHERE (bucket, key, upload_id) > (?1, ?2, ?3) ORDER BY bucket, key, upload_id LIMIT ?4"),
    garbage_in_state: concat!("SELECT ", garbage_columns!(), " FROM {p}_garbage
        WHERE state = ?5 AND (bucket, key, upload_id) > (?1, ?2, ?3) ORDER BY bucket, key, upload_id LIMIT ?4"),
    purgeable_garbage: concat!("SELECT ", garbage_columns!(), " FROM {p}_garbage
        WHERE state = 'trashed' AND purge_at <= ?1 ORDER BY purge_at, bucket, key, upload_id LIMIT ?2"),
    mark_garbage: "UPDATE {p}_garbage SET state = ?4, purge_at = ?5 WHERE bucket = ?1 AND key = ?2 AND upload_id = ?3",
    forget_garbage: "DELETE FROM {p}_garbage WHERE bucket = ?1 AND key = ?2 AND upload_id = ?3",

    // Stores and the audit log
    stores: concat!("SELECT ", store_columns!(), " FROM {p}_stores ORDER BY name"),
    insert_store: concat!("INSERT INTO {p}_stores (", store_columns!(), ") VALUES (?1, ?2, ?3, ?4, ?5, ?6)
        ON CONFLICT DO NOTHING"),
    update_store: "UPDATE {p}_stores SET mode = ?2, epoch = ?3, draining_until = ?4, changed_at = ?5, changed_by = ?6
        WHERE name = ?1 AND epoch = ?7",
    insert_audit: concat!("INSERT INTO {p}_audit (", audit_columns!(), ") VALUES (?1, ?2, ?3, ?4, ?5, ?6)
        ON CONFLICT DO NOTHING"),
    audit: concat!("SELECT ", audit_columns!(), " FROM {p}_audit WHERE id < ?1 ORDER BY id DESC LIMIT ?2"),

    // A write that changes nothing and is yet a write.
    touch: "UPDATE {p}_migrations SET applied_at = applied_at WHERE version = 1",
}
