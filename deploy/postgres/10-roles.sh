#!/bin/sh
# Run by the image of PostgreSQL when it makes its database: the roles of roles.sql, with the passwords of
# the two secrets. A password goes through no argument, which other processes could read.
set -eu

psql -v ON_ERROR_STOP=1 --no-psqlrc --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" <<'SQL'
\i /deploy/roles.sql
\set owner `cat /run/secrets/postgres_owner_password`
\set run `cat /run/secrets/postgres_run_password`
ALTER ROLE batchshare_owner PASSWORD :'owner';
ALTER ROLE batchshare PASSWORD :'run';
SQL
