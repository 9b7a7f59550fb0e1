ALTER TABLE outbox DROP COLUMN tries;
DROP INDEX jobs_by_poison;
ALTER TABLE jobs DROP COLUMN asked_here;
ALTER TABLE dead_letters DROP COLUMN user_id;
