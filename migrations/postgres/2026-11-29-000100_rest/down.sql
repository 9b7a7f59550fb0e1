ALTER TABLE audit DROP CONSTRAINT audit_action_is_known,
    ADD CONSTRAINT audit_action_is_known CHECK (action IN (
        'job_cancelled', 'job_undone', 'grant_revoked', 'secret_read', 'secret_changed', 'secret_disabled',
        'secret_enabled', 'sign_in_refused', 'dead_letter_replayed', 'dead_letter_discarded', 'import_done')) NOT VALID;
DROP TABLE job_parts;
