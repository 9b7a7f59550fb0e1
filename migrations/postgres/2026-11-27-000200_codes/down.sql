ALTER TABLE jobs DROP CONSTRAINT jobs_state_is_known, DROP CONSTRAINT jobs_reason_is_known;
ALTER TABLE notices DROP CONSTRAINT notices_state_is_known, DROP CONSTRAINT notices_reason_is_known;
ALTER TABLE job_rejections DROP CONSTRAINT job_rejections_side_is_known,
    DROP CONSTRAINT job_rejections_kind_is_known, DROP CONSTRAINT job_rejections_reason_is_known;
ALTER TABLE outbox DROP CONSTRAINT outbox_letter_is_known;
ALTER TABLE dead_letters DROP CONSTRAINT dead_letters_state_is_known,
    DROP CONSTRAINT dead_letters_reason_is_known, DROP CONSTRAINT dead_letters_origin_is_known;
