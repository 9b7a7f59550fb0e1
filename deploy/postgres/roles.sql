-- The two roles that batchshare needs in its database, on PostgreSQL 15 or newer. Neither is a superuser, and
-- neither may make databases or roles. A superuser runs this once, in the database of batchshare, before the
-- first `batchshare migrate`, and then gives each role a password: ALTER ROLE … PASSWORD '…'.

-- This role brings the database up to date, and owns the tables that it makes. Only `batchshare migrate` uses it.
CREATE ROLE batchshare_owner LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION;

-- This role serves, works and imports. It reads and writes rows, and can neither make nor change nor drop a table.
CREATE ROLE batchshare LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION;

REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE, CREATE ON SCHEMA public TO batchshare_owner;
GRANT USAGE ON SCHEMA public TO batchshare;

-- These privileges also hold for tables and sequences that later migrations make.
ALTER DEFAULT PRIVILEGES FOR ROLE batchshare_owner IN SCHEMA public
    GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO batchshare;
ALTER DEFAULT PRIVILEGES FOR ROLE batchshare_owner IN SCHEMA public
    GRANT USAGE ON SEQUENCES TO batchshare;

-- Nobody else may connect. The owner has CREATE on the database for extensions that PostgreSQL itself trusts.
DO $$
BEGIN
    EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO batchshare_owner, batchshare', current_database());
    EXECUTE format('GRANT CREATE ON DATABASE %I TO batchshare_owner', current_database());
END
$$;
