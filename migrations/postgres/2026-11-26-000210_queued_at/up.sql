-- When a replay queued the job again; null: it was queued when it was asked for. Due work waits from then on, or a
-- job that is replayed after a day would be overdue at once.
ALTER TABLE jobs ADD COLUMN queued_at BIGINT;
