-- A request that the worker can neither do nor record a failure of (somebody holds its row) is put back here with
-- a time of its own, so that the others go on: how often that has been done.
ALTER TABLE outbox ADD COLUMN asides INTEGER NOT NULL DEFAULT 0;
