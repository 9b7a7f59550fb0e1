#!/bin/sh
# The image of PostgreSQL runs this when it makes its database. It makes the roles of roles.sql and gives them the
# passwords of the two secrets. No password is an argument of a command, because other processes could read it there.
set -eu

psql -v ON_ERROR_STOP=1 --no-psqlrc --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" <<'SQL'
\i /deploy/roles.sql
\set owner `cat /run/secrets/postgres_owner_password`
\set run `cat /run/secrets/postgres_run_password`
ALTER ROLE batchshare_owner PASSWORD :'owner';
ALTER ROLE batchshare PASSWORD :'run';
SQL
