-- Who stands in for a job that is undone: on this secret, a grant that names `job` is one of `heir` now, who had asked for
-- it, too. So an undo writes a row a secret for what others keep, and not each of their grants. Every other grant of
-- the secret that named the job was deleted or rewritten by the undo.
CREATE TABLE heirs (
    secret_id BIGINT NOT NULL,
    job BIGINT NOT NULL,
    heir BIGINT NOT NULL,
    PRIMARY KEY (secret_id, job)
) WITHOUT ROWID;
