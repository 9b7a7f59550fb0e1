DROP INDEX jobs_by_state;
