-- What a stream's snapshot and the page's list show, newest first: without it, a person's dismissed notices are all
-- read to find the few that are open (100,000 of them: 100 ms and more on a busy server, every 10 s for each stream).
CREATE INDEX notices_open ON notices (user_id, id) WHERE dismissed_at IS NULL;
