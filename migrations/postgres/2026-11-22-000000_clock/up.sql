-- Milliseconds since 1970 by this server's clock: leases and due times of all processes agree then.
CREATE FUNCTION now_ms() RETURNS BIGINT LANGUAGE sql VOLATILE AS
    $$ SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint $$;
