-- Events that wait for their delivery; the facts themselves stand in the timeline. Rows come only while the store is open
-- with its outbox on. A row that nobody holds has no `lease_until`.
CREATE TABLE {p}_outbox (
    event_id uuid NOT NULL PRIMARY KEY,
    file_id uuid NOT NULL,
    version bigint NOT NULL,
    run_at timestamptz NOT NULL,
    attempt bigint NOT NULL,
    lease_epoch bigint NOT NULL,
    lease_owner text,
    lease_until timestamptz,
    last_error text
);

CREATE INDEX {p}_outbox_waiting ON {p}_outbox (run_at, event_id) WHERE lease_until IS NULL;
CREATE INDEX {p}_outbox_claimed ON {p}_outbox (lease_until) WHERE lease_until IS NOT NULL;

-- What only one node should do. A lease that was given back has no holder; the row stays, so that epochs only grow.
CREATE TABLE {p}_leases (
    name text COLLATE "C" NOT NULL PRIMARY KEY,
    holder text,
    epoch bigint NOT NULL,
    ends_at timestamptz NOT NULL
) WITH (fillfactor = 50);
