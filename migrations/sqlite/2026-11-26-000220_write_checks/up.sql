-- Where processes write now and then to see whether anything can be written: readiness asks for it.
CREATE TABLE write_checks (
    place BIGINT NOT NULL PRIMARY KEY,
    at BIGINT NOT NULL
);
