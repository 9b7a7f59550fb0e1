-- API secrets, and who may do what with them.
CREATE TABLE secrets (
    id BIGINT NOT NULL PRIMARY KEY CHECK (id BETWEEN 1 AND 9007199254740991),
    owner_id BIGINT NOT NULL,
    name TEXT NOT NULL,
    url TEXT NOT NULL,
    client_id TEXT NOT NULL,
    -- Encrypted: 24 bytes nonce, then XChaCha20-Poly1305 with the id as associated data.
    client_secret BLOB,
    -- Which key encrypted it.
    client_secret_key TEXT,
    -- The user's own string; unique where there is one.
    identifier TEXT UNIQUE,
    method TEXT NOT NULL,
    notes TEXT NOT NULL,
    disabled BOOLEAN NOT NULL,
    -- Name, identifier and URL in Unicode lower case, a line each.
    search_text TEXT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX secrets_by_owner ON secrets (owner_id);

CREATE TABLE secret_tags (
    secret_id BIGINT NOT NULL,
    tag TEXT NOT NULL,
    PRIMARY KEY (secret_id, tag)
);
CREATE INDEX secret_tags_by_tag ON secret_tags (tag);

-- No foreign keys and one index besides the key: each costs a third of the speed of a large job.
-- permission: 1 view, 2 edit. view_job and edit_job are the internal ids of the jobs that gave
-- them; a row with both was upgraded.
CREATE TABLE grants (
    secret_id BIGINT NOT NULL,
    principal_id BIGINT NOT NULL,
    permission SMALLINT NOT NULL,
    view_job BIGINT,
    edit_job BIGINT,
    granted_at BIGINT NOT NULL,
    PRIMARY KEY (secret_id, principal_id)
) WITHOUT ROWID;
-- "What was shared with me."
CREATE INDEX grants_by_principal ON grants (principal_id);
