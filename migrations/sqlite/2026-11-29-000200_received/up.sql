-- What a recipient was given by a share: one row for each recipient that got something, written with the notice of the
-- job's end. Whether it was taken back since is not copied here. It is read from the job's undos.
CREATE TABLE received (
    -- The order in which rows came to be seen: a row never appears behind one that was read already, so that a person
    -- has seen everything up to some id.
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    job BIGINT NOT NULL,
    -- The person or group that was shared with.
    principal_id BIGINT NOT NULL,
    shared_by BIGINT NOT NULL,
    -- What was asked for: 1 view, 2 edit.
    permission SMALLINT NOT NULL,
    -- Of how many secrets the recipient got access, or more access than before.
    secrets INTEGER NOT NULL,
    created_at BIGINT NOT NULL,
    UNIQUE (job, principal_id)
);
-- Whoever reads what they received looks only for their own ids, newest first.
CREATE INDEX received_by_principal ON received (principal_id, id);

-- Up to which row of received each person has seen what they and their groups received.
CREATE TABLE received_seen (
    user_id BIGINT PRIMARY KEY NOT NULL,
    until BIGINT NOT NULL
);
