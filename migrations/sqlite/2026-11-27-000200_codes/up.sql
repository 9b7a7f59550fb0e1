-- On PostgreSQL the database refuses codes that the program does not know. SQLite adds no constraint to a table that is
-- there: the table would have to be written anew, for as long as that takes, and nobody could go back to an older
-- program meanwhile. The folders keep the same names.
SELECT 1;
