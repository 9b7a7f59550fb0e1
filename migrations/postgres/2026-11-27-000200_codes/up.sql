-- The database itself refuses a code that the program does not know, so that a mistake of a statement is an error where
-- it is made, and not a row that nobody can read later. `grants` has none of these: its rows are what a large job writes.
-- NOT VALID: only what is written from now on is checked, so nothing is read and the lock lasts for a moment.
-- SQLite cannot add a constraint to a table that is there, so these are on PostgreSQL only (ARCHITECTURE.md).
-- Who adds a code replaces the constraint, in a migration that adds: drop it, and add the longer one, NOT VALID.
ALTER TABLE jobs
    ADD CONSTRAINT jobs_state_is_known CHECK (state IN (
        'queued', 'running', 'completed', 'completed_with_rejections', 'failed', 'cancelled')) NOT VALID,
    ADD CONSTRAINT jobs_reason_is_known CHECK (reason IN (
        'requester_not_valid', 'nothing_to_share', 'limit_exceeded', 'invalid_request', 'attempts_exhausted')) NOT VALID;
ALTER TABLE notices
    ADD CONSTRAINT notices_state_is_known CHECK (state IN (
        'completed', 'completed_with_rejections', 'failed', 'cancelled')) NOT VALID,
    ADD CONSTRAINT notices_reason_is_known CHECK (reason IN (
        'requester_not_valid', 'nothing_to_share', 'limit_exceeded', 'invalid_request', 'attempts_exhausted')) NOT VALID;
ALTER TABLE job_rejections
    ADD CONSTRAINT job_rejections_side_is_known CHECK (side IN (1, 2)) NOT VALID,
    ADD CONSTRAINT job_rejections_kind_is_known CHECK (kind IN (0, 1, 2, 3)) NOT VALID,
    ADD CONSTRAINT job_rejections_reason_is_known CHECK (reason IN (
        'not_found', 'not_allowed', 'disabled', 'inactive', 'no_account')) NOT VALID;
ALTER TABLE outbox
    ADD CONSTRAINT outbox_letter_is_known CHECK (letter IN (1, 2, 3, 4, 5, 6, 7)) NOT VALID;
ALTER TABLE dead_letters
    ADD CONSTRAINT dead_letters_state_is_known CHECK (state IN ('kept', 'replayed', 'discarded')) NOT VALID,
    ADD CONSTRAINT dead_letters_reason_is_known CHECK (reason IN (
        'not_json', 'not_cloudevent', 'unknown_version', 'unknown_type', 'invalid_field', 'too_large',
        'publisher_not_allowed', 'id_conflict', 'attempts_exhausted', 'delivery_limit', 'expired', 'queue_full',
        'rejected', 'unexplained')) NOT VALID,
    ADD CONSTRAINT dead_letters_origin_is_known CHECK (origin IN ('request', 'step', 'event', 'unknown')) NOT VALID;
