-- The pairs of a job that shares what another left undone: they are a set and no rectangle. The secrets at the positions
-- [position, end_position) of the job's list go to these of its recipients: a bit for each, in the order in which they
-- are stored; null: all. No other job has rows here. A program of the release before knows nothing of them, and it
-- cannot read the recipients of such a job.
CREATE TABLE job_parts (
    job BIGINT NOT NULL,
    position INTEGER NOT NULL,
    end_position INTEGER NOT NULL,
    among BYTEA,
    PRIMARY KEY (job, position)
);

-- The code that this release adds (see 2026-11-27-000200_codes).
ALTER TABLE audit DROP CONSTRAINT audit_action_is_known,
    ADD CONSTRAINT audit_action_is_known CHECK (action IN (
        'job_cancelled', 'job_undone', 'rest_shared', 'grant_revoked', 'secret_read', 'secret_changed', 'secret_disabled',
        'secret_enabled', 'sign_in_refused', 'dead_letter_replayed', 'dead_letter_discarded', 'import_done')) NOT VALID;
