-- The embedded broker lives in SQLite only; the folders keep the same names.
SELECT 1;
