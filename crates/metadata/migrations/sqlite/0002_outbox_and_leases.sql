-- Events that wait for their delivery; the facts themselves stand in the timeline. Rows come only while the store is
-- open with its outbox on. A row that nobody holds has no `lease_until`.
CREATE TABLE {p}_outbox (
    event_id BLOB NOT NULL PRIMARY KEY,
    file_id BLOB NOT NULL,
    version INTEGER NOT NULL,
    run_at INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    lease_epoch INTEGER NOT NULL,
    lease_owner TEXT,
    lease_until INTEGER,
    last_error TEXT
) STRICT, WITHOUT ROWID;

CREATE INDEX {p}_outbox_waiting ON {p}_outbox (run_at) WHERE lease_until IS NULL;
CREATE INDEX {p}_outbox_claimed ON {p}_outbox (lease_until) WHERE lease_until IS NOT NULL;

-- What only one node should do. A lease that was given back has no holder; the row stays, so that epochs only grow.
CREATE TABLE {p}_leases (
    name TEXT NOT NULL PRIMARY KEY,
    holder TEXT,
    epoch INTEGER NOT NULL,
    ends_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
