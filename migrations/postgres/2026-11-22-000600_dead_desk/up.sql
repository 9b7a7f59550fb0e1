-- When a dead letter was replayed or discarded; null while it is kept.
ALTER TABLE dead_letters ADD COLUMN state_at BIGINT;
-- "What is still to be looked at", one reason at a time, oldest first; and how many there are.
CREATE INDEX dead_letters_by_state ON dead_letters (state, reason, id);
