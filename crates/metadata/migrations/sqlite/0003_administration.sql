-- A legal hold is a document, `{"by", "at", "reason"}`.
ALTER TABLE {p}_files ADD COLUMN legal_hold TEXT;
ALTER TABLE {p}_files ADD COLUMN unarchived_at INTEGER;

-- What retention acts on: ready files in the order in which their time is over.
CREATE INDEX {p}_files_retained ON {p}_files (collection, coalesce(unarchived_at, created_at), id)
    WHERE state = 'ready' AND legal_hold IS NULL;
CREATE INDEX {p}_files_unlinked ON {p}_files (collection, coalesce(unarchived_at, created_at), id)
    WHERE state = 'ready' AND legal_hold IS NULL AND record_kind IS NULL;

-- The same table again, for the engine cannot take back that a column is NOT NULL: there are intents that are about no
-- single file.
CREATE TABLE {p}_wal_next (
    id BLOB NOT NULL PRIMARY KEY,
    kind TEXT NOT NULL,
    status TEXT NOT NULL,
    file_id BLOB,
    epoch INTEGER NOT NULL,
    data TEXT NOT NULL,
    actor TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    lease_until INTEGER NOT NULL,
    completed_at INTEGER,
    error TEXT
) STRICT, WITHOUT ROWID;

INSERT INTO {p}_wal_next (id, kind, status, file_id, epoch, data, actor, started_at, lease_until, completed_at, error)
    SELECT id, kind, status, file_id, epoch, data, actor, started_at, lease_until, completed_at, error FROM {p}_wal;
DROP TABLE {p}_wal;
ALTER TABLE {p}_wal_next RENAME TO {p}_wal;

CREATE INDEX {p}_wal_pending ON {p}_wal (lease_until) WHERE status = 'PENDING';
CREATE INDEX {p}_wal_completed ON {p}_wal (completed_at) WHERE completed_at IS NOT NULL;
CREATE INDEX {p}_wal_status ON {p}_wal (status, started_at);
CREATE INDEX {p}_wal_file ON {p}_wal (file_id, started_at) WHERE file_id IS NOT NULL;

-- Attempts that ended with an error, beside those that were begun: a worker that dies says nothing about its job.
ALTER TABLE {p}_jobs ADD COLUMN failures INTEGER NOT NULL DEFAULT 0;

-- Long work that an administrator asked for: one of a kind at a time.
CREATE TABLE {p}_operations (
    id BLOB NOT NULL PRIMARY KEY,
    kind TEXT NOT NULL,
    state TEXT NOT NULL,
    options TEXT NOT NULL,
    done INTEGER NOT NULL,
    total INTEGER,
    place TEXT,
    counts TEXT NOT NULL,
    error TEXT,
    actor TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    finished_at INTEGER,
    lease_epoch INTEGER NOT NULL,
    lease_owner TEXT,
    lease_until INTEGER
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX {p}_operations_unique ON {p}_operations (kind) WHERE state IN ('waiting', 'running');
CREATE INDEX {p}_operations_live ON {p}_operations (created_at, id) WHERE state IN ('waiting', 'running');
CREATE INDEX {p}_operations_finished ON {p}_operations (finished_at) WHERE finished_at IS NOT NULL;

-- The lines of a report, numbered from 0 without gaps.
CREATE TABLE {p}_findings (
    operation_id BLOB NOT NULL REFERENCES {p}_operations (id) ON DELETE CASCADE,
    line INTEGER NOT NULL,
    kind TEXT NOT NULL,
    bucket TEXT,
    key TEXT,
    file_id BLOB,
    detail TEXT NOT NULL,
    action TEXT NOT NULL,
    PRIMARY KEY (operation_id, line)
) STRICT, WITHOUT ROWID;

-- Objects that nothing refers to. `upload_id` is empty but for multipart uploads.
CREATE TABLE {p}_garbage (
    bucket TEXT NOT NULL,
    key TEXT NOT NULL,
    upload_id TEXT NOT NULL,
    reason TEXT NOT NULL,
    state TEXT NOT NULL,
    etag TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    file_id BLOB,
    found_at INTEGER NOT NULL,
    purge_at INTEGER NOT NULL,
    PRIMARY KEY (bucket, key, upload_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX {p}_garbage_state ON {p}_garbage (state, bucket, key, upload_id);
CREATE INDEX {p}_garbage_purge ON {p}_garbage (purge_at) WHERE state = 'trashed';

CREATE TABLE {p}_stores (
    name TEXT NOT NULL PRIMARY KEY,
    mode TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    draining_until INTEGER,
    changed_at INTEGER NOT NULL,
    changed_by TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE {p}_audit (
    id BLOB NOT NULL PRIMARY KEY,
    at INTEGER NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    subject TEXT NOT NULL,
    data TEXT NOT NULL
) STRICT, WITHOUT ROWID;
