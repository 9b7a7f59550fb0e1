DROP FUNCTION now_ms();
