-- The embedded broker's queues: rows that a consumer takes by moving visible_at ahead.
CREATE TABLE queue_messages (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    queue TEXT NOT NULL,
    exchange SMALLINT NOT NULL,
    routing_key TEXT NOT NULL,
    message_id TEXT,
    type TEXT,
    traceparent TEXT,
    -- JSON object of the other headers.
    headers TEXT NOT NULL,
    body BLOB NOT NULL,
    visible_at BIGINT NOT NULL,
    -- The consumer that holds it.
    holder TEXT,
    deliveries INTEGER NOT NULL
);
CREATE INDEX queue_messages_ready ON queue_messages (queue, visible_at, id);
