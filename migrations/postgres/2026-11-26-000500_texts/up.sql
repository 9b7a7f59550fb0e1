-- Texts are folded anew by the program (without accents, in one normal form), which SQL cannot do. What is left
-- to do stands here: migrate does it in parts, and can go on where it was stopped. An empty database has nothing to do.
CREATE TABLE data_steps (
    name TEXT NOT NULL PRIMARY KEY,
    -- Null: still to be done.
    done_at BIGINT
);
INSERT INTO data_steps (name) SELECT 'fold texts'
    WHERE EXISTS (SELECT 1 FROM principals) OR EXISTS (SELECT 1 FROM secrets);

-- What is folded by today's rule ends with a tab, which no text of a row can have. These indexes hold only the other
-- rows: those from before, and those that an older program writes while it still runs beside this one.
CREATE INDEX principals_to_fold ON principals (id) WHERE rtrim(search_text, chr(9)) = search_text;
CREATE INDEX secrets_to_fold ON secrets (id) WHERE rtrim(search_text, chr(9)) = search_text;
