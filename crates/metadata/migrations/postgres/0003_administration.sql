-- A legal hold is a document, `{"by", "at", "reason"}`.
ALTER TABLE {p}_files ADD COLUMN legal_hold json;
ALTER TABLE {p}_files ADD COLUMN unarchived_at timestamptz;

-- What retention acts on: ready files in the order in which their time is over.
CREATE INDEX {p}_files_retained ON {p}_files (collection, (coalesce(unarchived_at, created_at)), id)
    WHERE state = 'ready' AND legal_hold IS NULL;
CREATE INDEX {p}_files_unlinked ON {p}_files (collection, (coalesce(unarchived_at, created_at)), id)
    WHERE state = 'ready' AND legal_hold IS NULL AND record_kind IS NULL;

-- There are intents that are about no single file.
ALTER TABLE {p}_wal ALTER COLUMN file_id DROP NOT NULL;
CREATE INDEX {p}_wal_status ON {p}_wal (status, started_at);
CREATE INDEX {p}_wal_file ON {p}_wal (file_id, started_at) WHERE file_id IS NOT NULL;
CREATE INDEX {p}_wal_data ON {p}_wal USING gin ((data::jsonb) jsonb_path_ops);

-- Attempts that ended with an error, beside those that were begun: a worker that dies says nothing about its job.
ALTER TABLE {p}_jobs ADD COLUMN failures bigint NOT NULL DEFAULT 0;

-- Long work that an administrator asked for: one of a kind at a time.
CREATE TABLE {p}_operations (
    id uuid NOT NULL PRIMARY KEY,
    kind text COLLATE "C" NOT NULL,
    state text COLLATE "C" NOT NULL,
    options json NOT NULL,
    done bigint NOT NULL,
    total bigint,
    place text,
    counts json NOT NULL,
    error text,
    actor text NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    finished_at timestamptz,
    lease_epoch bigint NOT NULL,
    lease_owner text,
    lease_until timestamptz
);

CREATE UNIQUE INDEX {p}_operations_unique ON {p}_operations (kind) WHERE state IN ('waiting', 'running');
CREATE INDEX {p}_operations_live ON {p}_operations (created_at, id) WHERE state IN ('waiting', 'running');
CREATE INDEX {p}_operations_finished ON {p}_operations (finished_at) WHERE finished_at IS NOT NULL;

-- The lines of a report, numbered from 0 without gaps.
CREATE TABLE {p}_findings (
    operation_id uuid NOT NULL REFERENCES {p}_operations (id) ON DELETE CASCADE,
    line bigint NOT NULL,
    kind text NOT NULL,
    bucket text,
    key text,
    file_id uuid,
    detail text NOT NULL,
    action text NOT NULL,
    PRIMARY KEY (operation_id, line)
);

-- Objects that nothing refers to. `upload_id` is empty but for multipart uploads.
CREATE TABLE {p}_garbage (
    bucket text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    upload_id text COLLATE "C" NOT NULL,
    reason text NOT NULL,
    state text COLLATE "C" NOT NULL,
    etag text NOT NULL,
    size_bytes bigint NOT NULL,
    file_id uuid,
    found_at timestamptz NOT NULL,
    purge_at timestamptz NOT NULL,
    PRIMARY KEY (bucket, key, upload_id)
);

CREATE INDEX {p}_garbage_state ON {p}_garbage (state, bucket, key, upload_id);
CREATE INDEX {p}_garbage_purge ON {p}_garbage (purge_at) WHERE state = 'trashed';

CREATE TABLE {p}_stores (
    name text COLLATE "C" NOT NULL PRIMARY KEY,
    mode text NOT NULL,
    epoch bigint NOT NULL,
    draining_until timestamptz,
    changed_at timestamptz NOT NULL,
    changed_by text NOT NULL
);

CREATE TABLE {p}_audit (
    id uuid NOT NULL PRIMARY KEY,
    at timestamptz NOT NULL,
    actor text NOT NULL,
    action text NOT NULL,
    subject text NOT NULL,
    data json NOT NULL
);
