-- Who can hold a grant. Users, user groups and personal groups draw their ids from one space, so
-- they are one table: an id cannot be two things.
-- kind: 1 user, 2 user group, 3 personal group.
CREATE TABLE principals (
    id BIGINT NOT NULL PRIMARY KEY CHECK (id BETWEEN 1 AND 9007199254740991),
    kind SMALLINT NOT NULL CHECK (kind IN (1, 2, 3)),
    name TEXT NOT NULL,
    active BOOLEAN NOT NULL,
    -- Users only.
    username TEXT UNIQUE,
    email TEXT,
    has_account BOOLEAN NOT NULL,
    -- Personal groups only.
    owner_id BIGINT,
    visible_to_members BOOLEAN NOT NULL,
    -- Name, username and e-mail in Unicode lower case, folded by us: both databases agree then.
    search_text TEXT NOT NULL
);

CREATE TABLE members (
    group_id BIGINT NOT NULL,
    user_id BIGINT NOT NULL,
    PRIMARY KEY (group_id, user_id)
);
-- "Which groups is this person in" is asked with every check of a right.
CREATE INDEX members_by_user ON members (user_id);
