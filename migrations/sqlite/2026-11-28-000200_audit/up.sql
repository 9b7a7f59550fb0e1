-- What people and operators did that no other table tells: a row is written in the transaction of what it tells, one for a
-- change however many pairs it has, and is never changed or deleted. What happened to jobs (asked, begun, ended) stands in
-- their own rows. No value of a secret is ever here.
CREATE TABLE audit (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    -- Milliseconds since 1970 by the database's clock.
    at BIGINT NOT NULL,
    action TEXT NOT NULL,
    -- The person who did it; 0 is the operator at the command line; null where nobody is known.
    actor BIGINT,
    secret_id BIGINT,
    -- Whose access it was about.
    principal BIGINT,
    -- The job_ids of the jobs that it was about, two at the most.
    job TEXT,
    other_job TEXT,
    -- What else there is to know, as a JSON object.
    detail TEXT NOT NULL,
    -- What may be told only once a minute has a key of the minute and the cause; null in all other rows.
    once TEXT
);
CREATE INDEX audit_by_time ON audit (at, id);
CREATE INDEX audit_by_actor ON audit (actor, at, id) WHERE actor IS NOT NULL;
CREATE INDEX audit_by_secret ON audit (secret_id, at, id) WHERE secret_id IS NOT NULL;
CREATE INDEX audit_by_principal ON audit (principal, at, id) WHERE principal IS NOT NULL;
CREATE INDEX audit_by_job ON audit (job) WHERE job IS NOT NULL;
CREATE INDEX audit_by_other_job ON audit (other_job) WHERE other_job IS NOT NULL;
CREATE UNIQUE INDEX audit_once ON audit (once) WHERE once IS NOT NULL;
