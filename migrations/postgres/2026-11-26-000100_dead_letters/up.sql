-- Who published a dead letter, as the broker said; null where it does not say.
ALTER TABLE dead_letters ADD COLUMN user_id TEXT;
-- Whether a job was asked for over HTTP or from the command line. Only those count against a person's own limit:
-- who publishes messages chooses in whose name. An older binary beside this one leaves it false, which counts less.
ALTER TABLE jobs ADD COLUMN asked_here BOOLEAN NOT NULL DEFAULT FALSE;
-- Jobs that poison made have no digest. They are limited, for each person and hour: counting them must not read
-- all of the person's jobs.
CREATE INDEX jobs_by_poison ON jobs (requested_by, finished_at) WHERE digest IS NULL;
-- How often the broker has answered that it does not take a message. After ten it is kept aside.
ALTER TABLE outbox ADD COLUMN tries INTEGER NOT NULL DEFAULT 0;
