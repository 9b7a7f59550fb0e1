DROP FUNCTION now_us();
ALTER TABLE dead_letters DROP CONSTRAINT dead_letters_reason_is_known,
    ADD CONSTRAINT dead_letters_reason_is_known CHECK (reason IN (
        'not_json', 'not_cloudevent', 'unknown_version', 'unknown_type', 'invalid_field', 'too_large',
        'publisher_not_allowed', 'id_conflict', 'attempts_exhausted', 'delivery_limit', 'expired', 'queue_full',
        'rejected', 'unexplained')) NOT VALID;
ALTER TABLE outbox DROP CONSTRAINT outbox_letter_is_known,
    ADD CONSTRAINT outbox_letter_is_known CHECK (letter IN (1, 2, 3, 4, 5, 6, 7)) NOT VALID;
ALTER TABLE notices DROP CONSTRAINT notices_reason_is_known,
    ADD CONSTRAINT notices_reason_is_known CHECK (reason IN (
        'requester_not_valid', 'nothing_to_share', 'limit_exceeded', 'invalid_request', 'attempts_exhausted')) NOT VALID;
ALTER TABLE jobs DROP CONSTRAINT jobs_kind_is_known, DROP CONSTRAINT jobs_reason_is_known,
    ADD CONSTRAINT jobs_reason_is_known CHECK (reason IN (
        'requester_not_valid', 'nothing_to_share', 'limit_exceeded', 'invalid_request', 'attempts_exhausted')) NOT VALID;
DROP TABLE job_outcomes;
DROP TABLE claims;
ALTER TABLE grants DROP COLUMN edit_at;
ALTER TABLE notices DROP COLUMN untouched;
ALTER TABLE notices DROP COLUMN kept;
ALTER TABLE notices DROP COLUMN lowered;
ALTER TABLE notices DROP COLUMN revoked;
ALTER TABLE lanes DROP COLUMN recorded;
ALTER TABLE lanes DROP COLUMN untouched;
ALTER TABLE lanes DROP COLUMN kept;
ALTER TABLE lanes DROP COLUMN lowered;
ALTER TABLE lanes DROP COLUMN revoked;
DROP INDEX jobs_without_ledger;
DROP INDEX jobs_by_parent;
ALTER TABLE jobs DROP COLUMN ledger;
ALTER TABLE jobs DROP COLUMN untouched;
ALTER TABLE jobs DROP COLUMN kept;
ALTER TABLE jobs DROP COLUMN lowered;
ALTER TABLE jobs DROP COLUMN revoked;
ALTER TABLE jobs DROP COLUMN expires_at;
ALTER TABLE jobs DROP COLUMN note;
ALTER TABLE jobs DROP COLUMN as_operator;
ALTER TABLE jobs DROP COLUMN ended_by;
ALTER TABLE jobs DROP COLUMN undone_by;
ALTER TABLE jobs DROP COLUMN parent;
ALTER TABLE jobs DROP COLUMN kind;
