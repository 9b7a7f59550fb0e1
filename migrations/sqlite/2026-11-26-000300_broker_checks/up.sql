-- RabbitMQ can stop moving dead letters out of a queue, without a word. So a message is sent through each queue now and
-- then, only to become a dead letter; here stands how far the last one came, for all workers together.
CREATE TABLE broker_checks (
    -- The suffix of the queue's name.
    queue TEXT NOT NULL PRIMARY KEY,
    -- The message that is under way, or was the last.
    id TEXT NOT NULL,
    asked_at BIGINT NOT NULL,
    -- A worker took it from the queue and rejected it.
    taken_at BIGINT,
    -- It came out of the dead queue.
    seen_at BIGINT,
    -- Since when the queue's dead letters are known not to come.
    stuck_since BIGINT
);
