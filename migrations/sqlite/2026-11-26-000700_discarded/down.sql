-- The bodies that were freed do not come back: their letters are as of empty messages then.
ALTER TABLE dead_letters DROP COLUMN body_bytes;
ALTER TABLE dead_letters DROP COLUMN digest;
