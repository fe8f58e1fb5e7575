-- Ids are 16-byte BLOBs, times are microseconds since 1970 UTC, JSON is TEXT.

-- Files. An upload that nobody confirmed is `open = 1` and stands only in the two small indexes for open uploads:
-- signing is the hot path, and the large indexes are paid for at confirm.
CREATE TABLE {p}_files (
    seq INTEGER PRIMARY KEY,
    id BLOB NOT NULL UNIQUE,
    open INTEGER NOT NULL,
    owner TEXT NOT NULL,
    created_by_username TEXT NOT NULL,
    created_by_full_name TEXT,
    collection TEXT NOT NULL,
    bucket TEXT NOT NULL,
    state TEXT NOT NULL,
    version INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    record_kind TEXT,
    record_id TEXT,
    filename TEXT NOT NULL,
    description TEXT,
    metadata TEXT NOT NULL,
    declared_content_type TEXT NOT NULL,
    declared_size_bytes INTEGER,
    declared_sha256 BLOB,
    staged_size_bytes INTEGER,
    staged_etag TEXT,
    staged_generation TEXT,
    verified_sha256 BLOB,
    verified_size_bytes INTEGER,
    verified_content_type TEXT,
    key TEXT NOT NULL,
    facts TEXT NOT NULL,
    error_code TEXT,
    error_message TEXT,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    uploaded_at INTEGER,
    confirmed_at INTEGER,
    processed_at INTEGER,
    trash_from TEXT,
    trashed_at INTEGER,
    purge_at INTEGER
) STRICT;

CREATE INDEX {p}_files_open_owner ON {p}_files (owner, created_at, id) WHERE open = 1;
CREATE INDEX {p}_files_open_created ON {p}_files (created_at, id) WHERE open = 1;
CREATE INDEX {p}_files_owner ON {p}_files (owner, created_at, id) WHERE open = 0;
CREATE INDEX {p}_files_created ON {p}_files (created_at, id) WHERE open = 0;
CREATE INDEX {p}_files_collection ON {p}_files (collection, created_at, id) WHERE open = 0;
CREATE INDEX {p}_files_state ON {p}_files (state, created_at, id) WHERE open = 0;
CREATE INDEX {p}_files_record ON {p}_files (record_kind, record_id, created_at, id) WHERE record_kind IS NOT NULL;
CREATE INDEX {p}_files_purge ON {p}_files (purge_at) WHERE purge_at IS NOT NULL;

CREATE TABLE {p}_uploads (
    file_id BLOB NOT NULL PRIMARY KEY REFERENCES {p}_files (id) ON DELETE CASCADE,
    open INTEGER NOT NULL,
    method TEXT NOT NULL,
    staging_key TEXT NOT NULL,
    expires_at INTEGER NOT NULL,
    multipart_id TEXT,
    part_size_bytes INTEGER,
    request_digest BLOB,
    reserved_bytes INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX {p}_uploads_expiry ON {p}_uploads (expires_at) WHERE open = 1;

-- Either made (`key` and what follows) or failed (`error`).
CREATE TABLE {p}_derivatives (
    file_id BLOB NOT NULL REFERENCES {p}_files (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    key TEXT,
    content_type TEXT,
    size_bytes INTEGER,
    width INTEGER,
    height INTEGER,
    error TEXT,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (file_id, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE {p}_records (
    seq INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    owner TEXT NOT NULL,
    parent_kind TEXT,
    parent_id TEXT,
    payload TEXT NOT NULL,
    meta TEXT NOT NULL,
    version INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    UNIQUE (kind, id)
) STRICT;

CREATE INDEX {p}_records_parent ON {p}_records (parent_kind, parent_id, kind, id) WHERE parent_kind IS NOT NULL;

-- The outbox and the timeline. The key makes two events of one version impossible, and it outlives the file, so an
-- id that was purged cannot be used again.
CREATE TABLE {p}_events (
    file_id BLOB NOT NULL,
    version INTEGER NOT NULL,
    id BLOB NOT NULL,
    kind TEXT NOT NULL,
    state TEXT NOT NULL,
    actor TEXT NOT NULL,
    data TEXT NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (file_id, version)
) STRICT, WITHOUT ROWID;

CREATE TABLE {p}_jobs (
    id BLOB NOT NULL PRIMARY KEY,
    kind TEXT NOT NULL,
    file_id BLOB NOT NULL,
    state TEXT NOT NULL,
    priority INTEGER NOT NULL,
    run_at INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    lease_epoch INTEGER NOT NULL,
    lease_owner TEXT,
    lease_until INTEGER,
    last_error TEXT,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX {p}_jobs_unique ON {p}_jobs (file_id, kind) WHERE state IN ('ready', 'running');
CREATE INDEX {p}_jobs_ready ON {p}_jobs (priority DESC, run_at) WHERE state = 'ready';
CREATE INDEX {p}_jobs_running ON {p}_jobs (lease_until) WHERE state = 'running';
CREATE INDEX {p}_jobs_dead ON {p}_jobs (file_id) WHERE state = 'dead';

CREATE TABLE {p}_wal (
    id BLOB NOT NULL PRIMARY KEY,
    kind TEXT NOT NULL,
    status TEXT NOT NULL,
    file_id BLOB NOT NULL,
    epoch INTEGER NOT NULL,
    data TEXT NOT NULL,
    actor TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    lease_until INTEGER NOT NULL,
    completed_at INTEGER,
    error TEXT
) STRICT, WITHOUT ROWID;

CREATE INDEX {p}_wal_pending ON {p}_wal (lease_until) WHERE status = 'PENDING';
CREATE INDEX {p}_wal_completed ON {p}_wal (completed_at) WHERE completed_at IS NOT NULL;

CREATE TABLE {p}_usage (
    owner TEXT NOT NULL PRIMARY KEY,
    reserved_bytes INTEGER NOT NULL,
    stored_bytes INTEGER NOT NULL,
    files INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE {p}_service_tokens (
    id BLOB NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    role TEXT NOT NULL,
    collections TEXT,
    secret_sha256 BLOB NOT NULL UNIQUE,
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    revoked_at INTEGER
) STRICT, WITHOUT ROWID;

CREATE TABLE {p}_settings (
    name TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Top-level scalars of the metadata of files that are not open, in the order of lists.
CREATE TABLE {p}_file_metadata (
    k TEXT NOT NULL,
    v TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    id BLOB NOT NULL,
    seq INTEGER NOT NULL,
    PRIMARY KEY (k, v, created_at, id)
) STRICT, WITHOUT ROWID;

-- Words of files that are not open; the rowid is `seq` of the file. Words come split and folded, so the simplest
-- tokenizer is the right one. The owner is there as a digest, so that a search within one owner's files does not
-- walk through everybody's.
CREATE VIRTUAL TABLE {p}_search USING fts5 (
    owner, words, content = '', contentless_delete = 1, detail = column, tokenize = 'ascii'
);
