-- Messages to be sent: written in the transaction of what they tell, deleted when the broker has
-- confirmed them. A row is born leased to its process; when the lease ran out, any relay takes it.
CREATE TABLE outbox (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    -- What it is, which says where it goes: 1 request, 2 step, 3 accepted, 4 progress, 5 completed,
    -- 6 failed, 7 cancelled.
    letter SMALLINT NOT NULL,
    message_id TEXT NOT NULL,
    traceparent TEXT NOT NULL,
    body BLOB NOT NULL,
    -- What it is about, so that due work does not send what is on its way already.
    job BIGINT,
    lane INTEGER,
    leased_until BIGINT NOT NULL,
    created_at BIGINT NOT NULL
);

-- Due work asks for each job whether something about it is on its way.
CREATE INDEX outbox_by_job ON outbox (job, letter);

-- Messages that could not be handled, with the reason. Nothing is thrown away.
CREATE TABLE dead_letters (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    -- Ours where we published it; digest and time for the broker's own.
    dead_id TEXT NOT NULL UNIQUE,
    reason TEXT NOT NULL,
    detail TEXT NOT NULL,
    job_id TEXT,
    run INTEGER,
    message_id TEXT,
    -- What it was to be: request, step, event or unknown.
    origin TEXT NOT NULL,
    headers TEXT NOT NULL,
    body BLOB NOT NULL,
    received_at BIGINT NOT NULL,
    state TEXT NOT NULL
);
