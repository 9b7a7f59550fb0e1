-- Metrics count jobs by state, and must not read the jobs for it.
CREATE INDEX jobs_by_state ON jobs (state);
