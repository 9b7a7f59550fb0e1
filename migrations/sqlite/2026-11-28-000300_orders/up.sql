-- Orders that came by message about a job that is not there yet: with several workers, an order may overtake its job.
-- Due work looks for the job again, and after a while the order becomes a dead letter. An order never makes a row in
-- jobs: the job's own request would find its id taken.
CREATE TABLE pending_orders (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    -- The id of the event, so that a second delivery of the order is no second order.
    event_id TEXT NOT NULL UNIQUE,
    -- cancel or undo.
    kind TEXT NOT NULL,
    -- The public id of the job that the order is about.
    job_id TEXT NOT NULL,
    requested_by BIGINT NOT NULL,
    traceparent TEXT NOT NULL,
    -- As it came, for the dead letter.
    body BLOB NOT NULL,
    -- When due work looks for the job next.
    due_at BIGINT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX pending_orders_due ON pending_orders (due_at);
-- How many orders one person has waiting, which is limited.
CREATE INDEX pending_orders_by_requester ON pending_orders (requested_by);
