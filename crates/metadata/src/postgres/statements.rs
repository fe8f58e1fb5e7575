//! Every fixed statement, rendered once with the table prefix. Lists are built in [`super::list`].

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
         j.last_error, j.created_at"
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
    file: concat!("SELECT ", file_columns!(), " FROM {p}_files AS f WHERE f.id = $1"),
    file_and_upload: concat!("SELECT ", file_columns!(), ", ", upload_columns!(), " FROM {p}_files AS f WHERE f.id = $1"),
    // Rows in bulk, from one array for each column. Sorted, so that two nodes never wait for each other in a circle.
    insert_files: "INSERT INTO {p}_files (id, open, owner, created_by_username, created_by_full_name, collection, bucket,
        state, version, epoch, record_kind, record_id, filename, description, metadata, declared_content_type,
        declared_size_bytes, declared_sha256, key, facts, created_at, updated_at, upload_method, upload_staging_key,
        upload_expires_at, upload_multipart_id, upload_part_size_bytes, upload_request_digest, upload_reserved_bytes)
        SELECT t.id, true, t.owner, t.username, t.full_name, t.collection, t.bucket, t.state, t.version, t.epoch,
        t.record_kind, t.record_id, t.filename, t.description, t.metadata::json, t.content_type, t.size, t.sha256, t.key,
        t.facts::json, t.created_at, t.updated_at, t.method, t.staging_key, t.expires_at, t.multipart_id, t.part_size,
        t.digest, t.reserved
        FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::bigint[],
        $9::bigint[], $10::text[], $11::text[], $12::text[], $13::text[], $14::text[], $15::text[], $16::bigint[],
        $17::bytea[], $18::text[], $19::text[], $20::timestamptz[], $21::timestamptz[], $22::text[], $23::text[],
        $24::timestamptz[], $25::text[], $26::bigint[], $27::bytea[], $28::bigint[])
        AS t (id, owner, username, full_name, collection, bucket, state, version, epoch, record_kind, record_id, filename,
        description, metadata, content_type, size, sha256, key, facts, created_at, updated_at, method, staging_key,
        expires_at, multipart_id, part_size, digest, reserved)
        ORDER BY t.id ON CONFLICT (id) DO NOTHING RETURNING id",
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
    lock_file: "SELECT version, state FROM {p}_files WHERE id = $1 FOR NO KEY UPDATE",
    update_file: "UPDATE {p}_files SET owner = $2, created_by_username = $3, created_by_full_name = $4, collection = $5,
        bucket = $6, state = $7, version = $8, epoch = $9, record_kind = $10, record_id = $11, filename = $12,
        description = $13, metadata = $14, declared_content_type = $15, declared_size_bytes = $16, declared_sha256 = $17,
        staged_size_bytes = $18, staged_etag = $19, staged_generation = $20, verified_sha256 = $21,
        verified_size_bytes = $22, verified_content_type = $23, key = $24, facts = $25, error_code = $26,
        error_message = $27, created_at = $28, updated_at = $29, uploaded_at = $30, confirmed_at = $31,
        processed_at = $32, trash_from = $33, trashed_at = $34, purge_at = $35, open = $36,
        words = array_to_tsvector($37::text[]) WHERE id = $1",
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
    put_derivative: "INSERT INTO {p}_derivatives (file_id, name, key, content_type, size_bytes, width, height, error,
        created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (file_id, name) DO UPDATE SET
        key = excluded.key, content_type = excluded.content_type, size_bytes = excluded.size_bytes,
        width = excluded.width, height = excluded.height, error = excluded.error, created_at = excluded.created_at",

    // Events
    insert_event: "INSERT INTO {p}_events (file_id, version, id, kind, state, actor, data, at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    insert_events: "INSERT INTO {p}_events (file_id, version, id, kind, state, actor, data, at)
        SELECT t.file_id, t.version, t.id, t.kind, t.state, t.actor, t.data::json, t.at
        FROM unnest($1::uuid[], $2::bigint[], $3::uuid[], $4::text[], $5::text[], $6::text[], $7::text[], $8::timestamptz[])
        AS t (file_id, version, id, kind, state, actor, data, at)
        ORDER BY t.file_id ON CONFLICT DO NOTHING RETURNING file_id",
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
    trim_intents: "DELETE FROM {p}_wal WHERE id IN (SELECT id FROM {p}_wal
        WHERE completed_at IS NOT NULL AND completed_at < $1 ORDER BY completed_at LIMIT $2)",

    // Jobs
    insert_job: "INSERT INTO {p}_jobs (id, kind, file_id, state, priority, run_at, attempt, lease_epoch, created_at)
        VALUES ($1, $2, $3, 'ready', $4, $5, 0, 0, $6)
        ON CONFLICT (file_id, kind) WHERE state IN ('ready', 'running') DO NOTHING",
    restore_job: "INSERT INTO {p}_jobs (id, kind, file_id, state, priority, run_at, attempt, lease_epoch, last_error,
        created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT DO NOTHING",
    // Locked, so that nobody takes the job over before what is done under this claim is committed.
    lease_holds: "SELECT 1 FROM {p}_jobs WHERE id = $1 AND lease_epoch = $2 AND state = 'running' FOR UPDATE",
    complete_job: "DELETE FROM {p}_jobs WHERE id = $1 AND lease_epoch = $2 AND state = 'running'",
    claim_jobs: concat!("WITH ready AS (SELECT id, priority, run_at FROM {p}_jobs
            WHERE state = 'ready' AND run_at <= $1 ORDER BY priority DESC, run_at, id LIMIT $4 FOR UPDATE SKIP LOCKED),
        lapsed AS (SELECT id, priority, run_at FROM {p}_jobs
            WHERE state = 'running' AND lease_until < $1 ORDER BY lease_until LIMIT $4 FOR UPDATE SKIP LOCKED),
        chosen AS (SELECT id FROM (SELECT * FROM ready UNION ALL SELECT * FROM lapsed) AS c
            ORDER BY priority DESC, run_at, id LIMIT $4)
        UPDATE {p}_jobs AS j SET state = 'running', attempt = attempt + 1, lease_epoch = lease_epoch + 1,
        lease_owner = $2, lease_until = $3 FROM chosen WHERE j.id = chosen.id RETURNING ", job_columns!()),
    extend_leases: "UPDATE {p}_jobs AS j SET lease_until = $3
        FROM unnest($1::uuid[], $2::bigint[]) AS t (id, epoch)
        WHERE j.id = t.id AND j.lease_epoch = t.epoch AND j.state = 'running' RETURNING j.id, j.lease_epoch",
    release_job: "UPDATE {p}_jobs SET state = $3, run_at = coalesce($4, run_at), attempt = greatest(0, attempt - $5),
        last_error = $6, lease_owner = NULL, lease_until = NULL
        WHERE id = $1 AND lease_epoch = $2 AND state = 'running'",
    next_job_at: "SELECT min((SELECT min(run_at) FROM {p}_jobs WHERE state = 'ready' AND priority = p.n))
        FROM unnest($1::smallint[]) AS p (n)",
    jobs: concat!("SELECT ", job_columns!(), " FROM {p}_jobs AS j WHERE j.id > $1 ORDER BY j.id LIMIT $2"),
    jobs_in_state: concat!("SELECT ", job_columns!(), " FROM {p}_jobs AS j WHERE j.id > $1 AND j.state = $3
        ORDER BY j.id LIMIT $2"),
    dead_jobs: concat!("SELECT ", job_columns!(), " FROM {p}_jobs AS j WHERE j.id > $1 AND j.state = 'dead'
        ORDER BY j.id LIMIT $2"),
    dead_job: "SELECT kind, file_id FROM {p}_jobs WHERE id = $1 AND state = 'dead' FOR UPDATE",
    live_job: "SELECT 1 FROM {p}_jobs WHERE file_id = $1 AND kind = $2 AND state IN ('ready', 'running')",
    revive_job: "UPDATE {p}_jobs SET state = 'ready', run_at = $2, attempt = 0 WHERE id = $1",
    discard_job: "DELETE FROM {p}_jobs WHERE id = $1 AND state = 'dead'",
    delete_live_jobs: "DELETE FROM {p}_jobs WHERE file_id = $1 AND state IN ('ready', 'running')",
    delete_dead_jobs: "DELETE FROM {p}_jobs WHERE file_id = $1 AND state = 'dead'",
    count_jobs: "SELECT state, count(*) FROM {p}_jobs GROUP BY state",

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

    // A write that changes nothing and is yet a write.
    touch: "UPDATE {p}_migrations SET applied_at = applied_at WHERE version = 1",
}
