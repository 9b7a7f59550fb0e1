DROP INDEX dead_letters_by_state;
ALTER TABLE dead_letters DROP COLUMN state_at;
