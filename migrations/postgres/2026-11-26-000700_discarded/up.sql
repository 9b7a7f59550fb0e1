-- A discarded letter's body is freed: it may be megabytes, and hold what nobody should keep. What stays says what it was:
-- its SHA-256 in lower-case hex, and its bytes. Both are null where the body is in the row still, as it is for a letter
-- that an older binary discarded.
ALTER TABLE dead_letters ADD COLUMN digest TEXT;
ALTER TABLE dead_letters ADD COLUMN body_bytes INTEGER;
