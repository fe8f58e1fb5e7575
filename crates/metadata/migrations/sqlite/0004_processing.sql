-- Owners take turns: each has one job of a kind in every round, and rounds are a microsecond apart. A job that waits for
-- its time, or that an older version enqueued, has no turn yet; whoever claims gives it one.
ALTER TABLE {p}_jobs ADD COLUMN owner TEXT;
ALTER TABLE {p}_jobs ADD COLUMN turn_at INTEGER;
-- How far the attempt is that runs, `{"stage", "done", "total"}`.
ALTER TABLE {p}_jobs ADD COLUMN progress TEXT;

CREATE INDEX {p}_jobs_turn ON {p}_jobs (kind, turn_at, id) WHERE state = 'ready' AND turn_at IS NOT NULL;
CREATE INDEX {p}_jobs_owner ON {p}_jobs (kind, owner, turn_at) WHERE state = 'ready' AND turn_at IS NOT NULL;
CREATE INDEX {p}_jobs_waiting ON {p}_jobs (kind, run_at, id) WHERE state = 'ready' AND turn_at IS NULL;
