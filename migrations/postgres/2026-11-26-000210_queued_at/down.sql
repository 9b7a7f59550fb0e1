ALTER TABLE jobs DROP COLUMN queued_at;
