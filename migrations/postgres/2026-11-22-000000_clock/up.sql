-- Milliseconds since 1970 by this server's clock: leases and due times of all processes agree then.
-- STABLE, one time a statement: an index is not used with a function that may change from row to row.
CREATE FUNCTION now_ms() RETURNS BIGINT LANGUAGE sql STABLE AS
    $$ SELECT (extract(epoch FROM statement_timestamp()) * 1000)::bigint $$;
