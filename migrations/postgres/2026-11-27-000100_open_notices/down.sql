DROP INDEX notices_open;
