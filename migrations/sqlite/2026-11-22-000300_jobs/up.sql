-- One row a job. Times are milliseconds since 1970.
CREATE TABLE jobs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    job_id TEXT NOT NULL UNIQUE,
    run INTEGER NOT NULL,
    state TEXT NOT NULL,
    reason TEXT,
    requested_by BIGINT NOT NULL,
    -- The normalised request in two parts, since lanes need the recipients only. Null in a job that
    -- an invalid message made.
    selection TEXT,
    recipients TEXT,
    digest TEXT,
    idempotency_key TEXT,
    traceparent TEXT NOT NULL,
    secrets_total INTEGER,
    recipients_total INTEGER,
    pairs BIGINT,
    -- Whether job_secrets holds the snapshot of the secrets.
    has_snapshot BOOLEAN NOT NULL,
    open_lanes INTEGER NOT NULL,
    granted BIGINT NOT NULL,
    upgraded BIGINT NOT NULL,
    unchanged BIGINT NOT NULL,
    rejected BIGINT NOT NULL,
    -- Lines of the report; null until the job has ended.
    rejections_total BIGINT,
    -- Consecutive failures before the job began, and all failures of the run.
    attempts INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    not_before BIGINT,
    -- When due work looks after a job that has not begun; null once it has.
    due_at BIGINT,
    last_error TEXT,
    requested_at BIGINT NOT NULL,
    started_at BIGINT,
    finished_at BIGINT,
    -- The job has ended and its notice is still to be made.
    notice_due BOOLEAN NOT NULL
);
CREATE UNIQUE INDEX jobs_by_key ON jobs (requested_by, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX jobs_by_requester ON jobs (requested_by, id);
CREATE INDEX jobs_unfinished ON jobs (requested_by) WHERE finished_at IS NULL;
CREATE INDEX jobs_due ON jobs (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX jobs_notice_due ON jobs (finished_at) WHERE notice_due;

-- The snapshot of a job's secrets: segments of 1,000 ids as JSON, in the order of the job.
CREATE TABLE job_secrets (
    job BIGINT NOT NULL,
    segment INTEGER NOT NULL,
    ids TEXT NOT NULL,
    PRIMARY KEY (job, segment)
);

-- An independent part of a large job: the secrets at position (from 0) up to end_position.
CREATE TABLE lanes (
    job BIGINT NOT NULL,
    lane INTEGER NOT NULL,
    turn INTEGER NOT NULL,
    position INTEGER NOT NULL,
    end_position INTEGER NOT NULL,
    open BOOLEAN NOT NULL,
    granted BIGINT NOT NULL,
    upgraded BIGINT NOT NULL,
    unchanged BIGINT NOT NULL,
    rejected BIGINT NOT NULL,
    -- Consecutive failures at this position, and all failures of the run.
    attempts INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    not_before BIGINT,
    due_at BIGINT NOT NULL,
    lease_ms BIGINT NOT NULL,
    progress_at BIGINT NOT NULL,
    last_error TEXT,
    PRIMARY KEY (job, lane)
);
CREATE INDEX lanes_due ON lanes (due_at) WHERE open;

-- Why pairs were not shared: a line per secret or recipient, kept per lane, merged on reading.
-- side: 1 secret, 2 recipient; kind: of the recipient, 0 for a secret.
CREATE TABLE job_rejections (
    job BIGINT NOT NULL,
    side SMALLINT NOT NULL,
    kind SMALLINT NOT NULL,
    subject BIGINT NOT NULL,
    lane INTEGER NOT NULL,
    reason TEXT NOT NULL,
    pairs BIGINT NOT NULL,
    PRIMARY KEY (job, side, kind, subject, lane)
);

-- What a requester is told when a job has ended: one a run, the latest run's only.
CREATE TABLE notices (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    job BIGINT NOT NULL,
    run INTEGER NOT NULL,
    user_id BIGINT NOT NULL,
    state TEXT NOT NULL,
    reason TEXT,
    pairs BIGINT,
    granted BIGINT NOT NULL,
    upgraded BIGINT NOT NULL,
    unchanged BIGINT NOT NULL,
    rejected BIGINT NOT NULL,
    rejections_total BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    dismissed_at BIGINT,
    UNIQUE (job, run)
);
CREATE INDEX notices_by_user ON notices (user_id, id);
