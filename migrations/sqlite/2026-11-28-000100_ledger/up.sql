-- What a batch did, pair by pair, so that it can be stopped, undone and explained. What is not recorded when it happens
-- cannot be made up later. Everything here is added: the release before goes on beside this one.

-- share, undo or unshare.
ALTER TABLE jobs ADD COLUMN kind TEXT NOT NULL DEFAULT 'share';
-- The job_id of the job that an undo takes back.
ALTER TABLE jobs ADD COLUMN parent TEXT;
-- The job_id of the latest undo of this job. The job is undone if it has any undo that neither failed nor was cancelled.
ALTER TABLE jobs ADD COLUMN undone_by TEXT;
-- Who cancelled the job; 0 is the operator.
ALTER TABLE jobs ADD COLUMN ended_by BIGINT;
-- The operator asked for it, so no right is checked.
ALTER TABLE jobs ADD COLUMN as_operator BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE jobs ADD COLUMN note TEXT;
ALTER TABLE jobs ADD COLUMN expires_at BIGINT;
-- What a job did that takes access away. Null in all other jobs.
ALTER TABLE jobs ADD COLUMN revoked BIGINT;
ALTER TABLE jobs ADD COLUMN lowered BIGINT;
ALTER TABLE jobs ADD COLUMN kept BIGINT;
ALTER TABLE jobs ADD COLUMN untouched BIGINT;
-- Outcomes and claims of all its pairs are recorded. A job that an older program worked on has false, and due work
-- writes its claims once it has ended.
ALTER TABLE jobs ADD COLUMN ledger BOOLEAN NOT NULL DEFAULT FALSE;
-- The undos of a job.
CREATE INDEX jobs_by_parent ON jobs (parent) WHERE parent IS NOT NULL;
CREATE INDEX jobs_without_ledger ON jobs (id) WHERE NOT ledger AND unchanged > 0 AND finished_at IS NOT NULL;

ALTER TABLE lanes ADD COLUMN revoked BIGINT NOT NULL DEFAULT 0;
ALTER TABLE lanes ADD COLUMN lowered BIGINT NOT NULL DEFAULT 0;
ALTER TABLE lanes ADD COLUMN kept BIGINT NOT NULL DEFAULT 0;
ALTER TABLE lanes ADD COLUMN untouched BIGINT NOT NULL DEFAULT 0;
-- How many of the lane's done pairs have their outcomes recorded: all, unless an older program did some of them.
ALTER TABLE lanes ADD COLUMN recorded BIGINT NOT NULL DEFAULT 0;

ALTER TABLE notices ADD COLUMN revoked BIGINT;
ALTER TABLE notices ADD COLUMN lowered BIGINT;
ALTER TABLE notices ADD COLUMN kept BIGINT;
ALTER TABLE notices ADD COLUMN untouched BIGINT;

-- When the edit of a grant came, in microseconds; null where edit came with the row. From now on granted_at has
-- microseconds, too, and stays when a grant is upgraded: what is below 100000000000000 has milliseconds.
ALTER TABLE grants ADD COLUMN edit_at BIGINT;

-- Who else asked for access that was there already: the job found pairs of this secret unchanged at that time
-- (microseconds). among has a bit for each recipient of the job, in the order in which they are stored; null: all.
CREATE TABLE claims (
    secret_id BIGINT NOT NULL,
    job BIGINT NOT NULL,
    at BIGINT NOT NULL,
    among BLOB,
    PRIMARY KEY (secret_id, job)
) WITHOUT ROWID;

-- What became of each pair of the secrets at the positions [position, end_position) of a job: one code for all, or two
-- bits a pair (0 granted, 1 upgraded, 2 unchanged, 3 rejected), secret by secret, recipients in their stored order.
-- Where all were granted there is no row, nor for a job of one chunk whose pairs all came out alike: its counts say it.
CREATE TABLE job_outcomes (
    job BIGINT NOT NULL,
    position INTEGER NOT NULL,
    end_position INTEGER NOT NULL,
    code SMALLINT,
    pairs BLOB,
    PRIMARY KEY (job, position)
);
