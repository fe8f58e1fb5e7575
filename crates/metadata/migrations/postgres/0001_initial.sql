-- Counterpart of the SQLite step of this number. Text that is compared, sorted or indexed has the collation "C", so that
-- order and ranges are those of the bytes, as on SQLite. JSON documents are `json`, which keeps them letter by letter
-- (`jsonb` would write 1e16 as a whole number); what is searched by value is indexed as `jsonb`.

-- Files, each with its upload (columns `upload_...`): one row and one key less to write for each signature. An upload
-- that nobody confirmed is `open` and stands only in the three small indexes for open uploads: signing is the hot path,
-- and the large indexes are paid for at confirm.
CREATE TABLE {p}_files (
    id uuid NOT NULL PRIMARY KEY,
    open boolean NOT NULL,
    owner text COLLATE "C" NOT NULL,
    created_by_username text NOT NULL,
    created_by_full_name text,
    collection text COLLATE "C" NOT NULL,
    bucket text NOT NULL,
    state text COLLATE "C" NOT NULL,
    version bigint NOT NULL,
    epoch bigint NOT NULL,
    record_kind text COLLATE "C",
    record_id text COLLATE "C",
    filename text COLLATE "C" NOT NULL,
    description text,
    metadata json NOT NULL,
    declared_content_type text COLLATE "C" NOT NULL,
    declared_size_bytes bigint,
    declared_sha256 bytea,
    staged_size_bytes bigint,
    staged_etag text,
    staged_generation text,
    verified_sha256 bytea,
    verified_size_bytes bigint,
    verified_content_type text COLLATE "C",
    key text NOT NULL,
    facts json NOT NULL,
    error_code text,
    error_message text,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    uploaded_at timestamptz,
    confirmed_at timestamptz,
    processed_at timestamptz,
    trash_from text,
    trashed_at timestamptz,
    purge_at timestamptz,
    upload_method text,
    upload_staging_key text,
    upload_expires_at timestamptz,
    upload_multipart_id text,
    upload_part_size_bytes bigint,
    upload_request_digest bytea,
    upload_reserved_bytes bigint,
    -- Words of name and description, split and folded before they come here; NULL while the upload is open.
    words tsvector
);

CREATE INDEX {p}_files_open_owner ON {p}_files (owner, created_at, id) WHERE open;
CREATE INDEX {p}_files_open_created ON {p}_files (created_at, id) WHERE open;
CREATE INDEX {p}_files_open_expiry ON {p}_files (upload_expires_at) WHERE open;
CREATE INDEX {p}_files_owner ON {p}_files (owner, created_at, id) WHERE NOT open;
CREATE INDEX {p}_files_created ON {p}_files (created_at, id) WHERE NOT open;
CREATE INDEX {p}_files_collection ON {p}_files (collection, created_at, id) WHERE NOT open;
CREATE INDEX {p}_files_state ON {p}_files (state, created_at, id) WHERE NOT open;
CREATE INDEX {p}_files_filename ON {p}_files (filename) WHERE NOT open;
CREATE INDEX {p}_files_record ON {p}_files (record_kind, record_id, created_at, id) WHERE record_kind IS NOT NULL;
CREATE INDEX {p}_files_purge ON {p}_files (purge_at) WHERE state = 'trashed';
CREATE INDEX {p}_files_words ON {p}_files USING gin (words) WHERE NOT open;
CREATE INDEX {p}_files_metadata ON {p}_files USING gin ((metadata::jsonb) jsonb_path_ops) WHERE NOT open;
-- The planner must know common words and values from rare ones: the former are met while walking the list in order, the
-- latter are looked up. Of a partial index it takes no statistics, so the expression has its own.
ALTER TABLE {p}_files ALTER COLUMN words SET STATISTICS 500;
CREATE STATISTICS {p}_files_metadata_values ON (metadata::jsonb) FROM {p}_files;
ALTER STATISTICS {p}_files_metadata_values SET STATISTICS 500;
CREATE STATISTICS {p}_files_open_states (mcv) ON open, state FROM {p}_files;

-- Either made (`key` and what follows) or failed (`error`).
CREATE TABLE {p}_derivatives (
    file_id uuid NOT NULL REFERENCES {p}_files (id) ON DELETE CASCADE,
    name text COLLATE "C" NOT NULL,
    key text,
    content_type text,
    size_bytes bigint,
    width bigint,
    height bigint,
    error text,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (file_id, name)
);

CREATE TABLE {p}_records (
    kind text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    owner text NOT NULL,
    parent_kind text COLLATE "C",
    parent_id text COLLATE "C",
    payload json NOT NULL,
    meta json NOT NULL,
    version bigint NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (kind, id)
);

CREATE INDEX {p}_records_parent ON {p}_records (parent_kind, parent_id, kind, id) WHERE parent_kind IS NOT NULL;

-- The timeline. The key makes two events of one version impossible, and it outlives the file, so an id that was purged
-- cannot be used again.
CREATE TABLE {p}_events (
    file_id uuid NOT NULL,
    version bigint NOT NULL,
    id uuid NOT NULL,
    kind text NOT NULL,
    state text NOT NULL,
    actor text NOT NULL,
    data json NOT NULL,
    at timestamptz NOT NULL,
    PRIMARY KEY (file_id, version)
);

CREATE TABLE {p}_jobs (
    id uuid NOT NULL PRIMARY KEY,
    kind text COLLATE "C" NOT NULL,
    file_id uuid NOT NULL,
    state text COLLATE "C" NOT NULL,
    priority smallint NOT NULL,
    run_at timestamptz NOT NULL,
    attempt bigint NOT NULL,
    lease_epoch bigint NOT NULL,
    lease_owner text,
    lease_until timestamptz,
    last_error text,
    created_at timestamptz NOT NULL
);

CREATE UNIQUE INDEX {p}_jobs_unique ON {p}_jobs (file_id, kind) WHERE state IN ('ready', 'running');
CREATE INDEX {p}_jobs_ready ON {p}_jobs (priority DESC, run_at, id) WHERE state = 'ready';
CREATE INDEX {p}_jobs_running ON {p}_jobs (lease_until) WHERE state = 'running';
CREATE INDEX {p}_jobs_dead ON {p}_jobs (id) WHERE state = 'dead';
CREATE INDEX {p}_jobs_dead_file ON {p}_jobs (file_id) WHERE state = 'dead';

CREATE TABLE {p}_wal (
    id uuid NOT NULL PRIMARY KEY,
    kind text NOT NULL,
    status text NOT NULL,
    file_id uuid NOT NULL,
    epoch bigint NOT NULL,
    data json NOT NULL,
    actor text NOT NULL,
    started_at timestamptz NOT NULL,
    lease_until timestamptz NOT NULL,
    completed_at timestamptz,
    error text
);

CREATE INDEX {p}_wal_pending ON {p}_wal (lease_until) WHERE status = 'PENDING';
CREATE INDEX {p}_wal_completed ON {p}_wal (completed_at) WHERE completed_at IS NOT NULL;

-- Rows change with every upload: room in each page lets a change stay in its page and out of the index.
CREATE TABLE {p}_usage (
    owner text COLLATE "C" NOT NULL PRIMARY KEY,
    reserved_bytes bigint NOT NULL,
    stored_bytes bigint NOT NULL,
    files bigint NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE {p}_service_tokens (
    id uuid NOT NULL PRIMARY KEY,
    name text NOT NULL,
    role text NOT NULL,
    collections json,
    secret_sha256 bytea NOT NULL UNIQUE,
    created_at timestamptz NOT NULL,
    expires_at timestamptz,
    revoked_at timestamptz
);

CREATE TABLE {p}_settings (
    name text COLLATE "C" NOT NULL PRIMARY KEY,
    value json NOT NULL
);
