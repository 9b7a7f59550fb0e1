-- On SQLite now_ms() is a function of the program (src/db/conn.rs); the folders keep the same names.
SELECT 1;
