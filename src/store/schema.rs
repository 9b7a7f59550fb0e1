//! The tables, for Diesel. The migrations are the truth; a conformance test reads every column.

diesel::table! {
    principals (id) {
        id -> BigInt,
        kind -> SmallInt,
        name -> Text,
        active -> Bool,
        username -> Nullable<Text>,
        email -> Nullable<Text>,
        has_account -> Bool,
        owner_id -> Nullable<BigInt>,
        visible_to_members -> Bool,
        search_text -> Text,
    }
}

diesel::table! {
    members (group_id, user_id) {
        group_id -> BigInt,
        user_id -> BigInt,
    }
}

diesel::table! {
    secrets (id) {
        id -> BigInt,
        owner_id -> BigInt,
        name -> Text,
        url -> Text,
        client_id -> Text,
        client_secret -> Nullable<Binary>,
        client_secret_key -> Nullable<Text>,
        identifier -> Nullable<Text>,
        method -> Text,
        notes -> Text,
        disabled -> Bool,
        search_text -> Text,
        updated_at -> BigInt,
    }
}

diesel::table! {
    secret_tags (secret_id, tag) {
        secret_id -> BigInt,
        tag -> Text,
    }
}

diesel::table! {
    grants (secret_id, principal_id) {
        secret_id -> BigInt,
        principal_id -> BigInt,
        permission -> SmallInt,
        view_job -> Nullable<BigInt>,
        edit_job -> Nullable<BigInt>,
        granted_at -> BigInt,
        edit_at -> Nullable<BigInt>,
    }
}

diesel::table! {
    jobs (id) {
        id -> BigInt,
        job_id -> Text,
        run -> Integer,
        state -> Text,
        reason -> Nullable<Text>,
        requested_by -> BigInt,
        selection -> Nullable<Text>,
        recipients -> Nullable<Text>,
        digest -> Nullable<Text>,
        idempotency_key -> Nullable<Text>,
        traceparent -> Text,
        secrets_total -> Nullable<Integer>,
        recipients_total -> Nullable<Integer>,
        pairs -> Nullable<BigInt>,
        has_snapshot -> Bool,
        open_lanes -> Integer,
        granted -> BigInt,
        upgraded -> BigInt,
        unchanged -> BigInt,
        rejected -> BigInt,
        rejections_total -> Nullable<BigInt>,
        attempts -> Integer,
        failures -> Integer,
        not_before -> Nullable<BigInt>,
        due_at -> Nullable<BigInt>,
        last_error -> Nullable<Text>,
        requested_at -> BigInt,
        started_at -> Nullable<BigInt>,
        finished_at -> Nullable<BigInt>,
        notice_due -> Bool,
        asked_here -> Bool,
        queued_at -> Nullable<BigInt>,
        kind -> Text,
        parent -> Nullable<Text>,
        undone_by -> Nullable<Text>,
        ended_by -> Nullable<BigInt>,
        as_operator -> Bool,
        note -> Nullable<Text>,
        expires_at -> Nullable<BigInt>,
        revoked -> Nullable<BigInt>,
        lowered -> Nullable<BigInt>,
        kept -> Nullable<BigInt>,
        untouched -> Nullable<BigInt>,
        ledger -> Bool,
    }
}

diesel::table! {
    job_secrets (job, segment) {
        job -> BigInt,
        segment -> Integer,
        ids -> Text,
    }
}

diesel::table! {
    lanes (job, lane) {
        job -> BigInt,
        lane -> Integer,
        turn -> Integer,
        position -> Integer,
        end_position -> Integer,
        open -> Bool,
        granted -> BigInt,
        upgraded -> BigInt,
        unchanged -> BigInt,
        rejected -> BigInt,
        attempts -> Integer,
        failures -> Integer,
        not_before -> Nullable<BigInt>,
        due_at -> BigInt,
        lease_ms -> BigInt,
        progress_at -> BigInt,
        last_error -> Nullable<Text>,
        revoked -> BigInt,
        lowered -> BigInt,
        kept -> BigInt,
        untouched -> BigInt,
        recorded -> BigInt,
    }
}

diesel::table! {
    job_rejections (job, side, kind, subject, lane) {
        job -> BigInt,
        side -> SmallInt,
        kind -> SmallInt,
        subject -> BigInt,
        lane -> Integer,
        reason -> Text,
        pairs -> BigInt,
    }
}

diesel::table! {
    claims (secret_id, job) {
        secret_id -> BigInt,
        job -> BigInt,
        at -> BigInt,
        among -> Nullable<Binary>,
    }
}

diesel::table! {
    heirs (secret_id, job) {
        secret_id -> BigInt,
        job -> BigInt,
        heir -> BigInt,
    }
}

diesel::table! {
    job_outcomes (job, position) {
        job -> BigInt,
        position -> Integer,
        end_position -> Integer,
        code -> Nullable<SmallInt>,
        pairs -> Nullable<Binary>,
    }
}

diesel::table! {
    job_parts (job, position) {
        job -> BigInt,
        position -> Integer,
        end_position -> Integer,
        among -> Nullable<Binary>,
    }
}

diesel::table! {
    notices (id) {
        id -> BigInt,
        job -> BigInt,
        run -> Integer,
        user_id -> BigInt,
        state -> Text,
        reason -> Nullable<Text>,
        pairs -> Nullable<BigInt>,
        granted -> BigInt,
        upgraded -> BigInt,
        unchanged -> BigInt,
        rejected -> BigInt,
        rejections_total -> BigInt,
        created_at -> BigInt,
        dismissed_at -> Nullable<BigInt>,
        revoked -> Nullable<BigInt>,
        lowered -> Nullable<BigInt>,
        kept -> Nullable<BigInt>,
        untouched -> Nullable<BigInt>,
    }
}

diesel::table! {
    outbox (id) {
        id -> BigInt,
        letter -> SmallInt,
        message_id -> Text,
        traceparent -> Text,
        body -> Binary,
        job -> Nullable<BigInt>,
        lane -> Nullable<Integer>,
        leased_until -> BigInt,
        created_at -> BigInt,
        tries -> Integer,
        asides -> Integer,
    }
}

diesel::table! {
    dead_letters (id) {
        id -> BigInt,
        dead_id -> Text,
        reason -> Text,
        detail -> Text,
        job_id -> Nullable<Text>,
        run -> Nullable<Integer>,
        message_id -> Nullable<Text>,
        origin -> Text,
        headers -> Text,
        body -> Binary,
        received_at -> BigInt,
        state -> Text,
        state_at -> Nullable<BigInt>,
        user_id -> Nullable<Text>,
        digest -> Nullable<Text>,
        body_bytes -> Nullable<Integer>,
    }
}

diesel::table! {
    pending_orders (id) {
        id -> BigInt,
        event_id -> Text,
        kind -> Text,
        job_id -> Text,
        requested_by -> BigInt,
        traceparent -> Text,
        body -> Binary,
        due_at -> BigInt,
        created_at -> BigInt,
    }
}

diesel::table! {
    received (id) {
        id -> BigInt,
        job -> BigInt,
        principal_id -> BigInt,
        shared_by -> BigInt,
        permission -> SmallInt,
        secrets -> Integer,
        created_at -> BigInt,
    }
}

diesel::table! {
    received_seen (user_id) {
        user_id -> BigInt,
        until -> BigInt,
    }
}

diesel::table! {
    broker_checks (queue) {
        queue -> Text,
        id -> Text,
        asked_at -> BigInt,
        taken_at -> Nullable<BigInt>,
        seen_at -> Nullable<BigInt>,
        stuck_since -> Nullable<BigInt>,
    }
}

diesel::table! {
    data_steps (name) {
        name -> Text,
        done_at -> Nullable<BigInt>,
    }
}

diesel::table! {
    write_checks (place) {
        place -> BigInt,
        at -> BigInt,
    }
}

diesel::table! {
    audit (id) {
        id -> BigInt,
        at -> BigInt,
        action -> Text,
        actor -> Nullable<BigInt>,
        secret_id -> Nullable<BigInt>,
        principal -> Nullable<BigInt>,
        job -> Nullable<Text>,
        other_job -> Nullable<Text>,
        detail -> Text,
        once -> Nullable<Text>,
    }
}

diesel::allow_tables_to_appear_in_same_query!(principals, members, secrets, secret_tags, grants);
diesel::allow_tables_to_appear_in_same_query!(
    jobs,
    job_secrets,
    lanes,
    job_rejections,
    job_outcomes,
    job_parts,
    claims,
    notices,
    outbox
);
