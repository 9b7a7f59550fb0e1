//! A small company that job tests share, and a worker without a broker: it reads the outbox itself.

use std::collections::VecDeque;
use std::time::Duration;

use batchshare::contract;
use batchshare::contract::{Asked, JobRequested, Step};
use batchshare::domain::event::{EventKind, Rejection, Subject};
use batchshare::domain::{
    Counts, JobId, JobSnapshot, Limits, Permission, PrincipalId, PrincipalKind, Recipient, SecretId,
    Selection, ShareRequest,
};
use batchshare::store::{
    BeginOptions, Begun, ChunkDone, DueOptions, LaneFound, LaneOptions, MessageKind, OutboxRow, Store,
};
use batchshare::worker::WorkerOptions;
use serde_json::Value;

use crate::support::{Kind, TestDb};

/// Who shares in most tests: active, with an account, member of groups 11, 12 (inactive) and 22, 23.
pub const ANA: i64 = 1;
pub const BRUNO: i64 = 2;
pub const CARLA_NO_ACCOUNT: i64 = 3;
pub const DAVI_INACTIVE: i64 = 4;
pub const EVA: i64 = 5;
/// User group of bruno.
pub const PAYMENTS: i64 = 10;
/// User group of ana.
pub const ANAS_TEAM: i64 = 11;
/// Inactive user group of ana and bruno.
pub const OLD_TEAM_INACTIVE: i64 = 12;
/// Personal group of ana, who is not a member; eva is.
pub const ANAS_OWN: i64 = 20;
/// Personal group of ana, inactive.
pub const ANAS_OLD_INACTIVE: i64 = 21;
/// Personal group of bruno: ana is a member and may see it.
pub const BRUNOS_SEEN: i64 = 22;
/// Personal group of bruno: ana is a member and may not see it.
pub const BRUNOS_HIDDEN: i64 = 23;

pub struct World {
    pub test: TestDb,
    pub store: Store,
    pub options: BeginOptions,
}

impl World {
    pub async fn new(kind: Kind) -> Self {
        let world = Self::empty(kind).await;
        world.people().await;
        world
    }

    /// A company of nobody.
    pub async fn empty(kind: Kind) -> Self {
        let test = TestDb::new(kind).await;
        let store = Store::new(test.db.clone());
        let lane = LaneOptions { chunk_pairs: 10_000, lease: Duration::from_secs(30) };
        let options = BeginOptions { limits: Limits::default(), chunk_pairs: 10_000, lanes: 2, lane };
        Self { test, store, options }
    }

    /// The same with chunks of so many pairs.
    pub async fn with_chunks(kind: Kind, chunk_pairs: u64) -> Self {
        let mut world = Self::new(kind).await;
        world.set_chunks(chunk_pairs);
        world
    }

    pub fn set_chunks(&mut self, chunk_pairs: u64) {
        self.options.chunk_pairs = chunk_pairs;
        self.options.lane.chunk_pairs = chunk_pairs;
    }

    async fn people(&self) {
        let mut sql = String::new();
        for (id, name, active, account) in [
            (ANA, "ana", true, true),
            (BRUNO, "bruno", true, true),
            (CARLA_NO_ACCOUNT, "carla", true, false),
            (DAVI_INACTIVE, "davi", false, true),
            (EVA, "eva", true, true),
        ] {
            sql.push_str(&format!(
                "INSERT INTO principals (id, kind, name, active, username, email, has_account, visible_to_members, search_text) \
                 VALUES ({id}, 1, '{name}', {active}, '{name}', '{name}@example.com', {account}, false, '{name}');"
            ));
        }
        for (id, kind, owner, active, visible, members) in [
            (PAYMENTS, 2, None, true, false, &[BRUNO][..]),
            (ANAS_TEAM, 2, None, true, false, &[ANA]),
            (OLD_TEAM_INACTIVE, 2, None, false, false, &[ANA, BRUNO]),
            (ANAS_OWN, 3, Some(ANA), true, false, &[EVA]),
            (ANAS_OLD_INACTIVE, 3, Some(ANA), false, false, &[]),
            (BRUNOS_SEEN, 3, Some(BRUNO), true, true, &[ANA]),
            (BRUNOS_HIDDEN, 3, Some(BRUNO), true, false, &[ANA]),
        ] {
            let owner = owner.map_or("NULL".to_owned(), |owner: i64| owner.to_string());
            sql.push_str(&format!(
                "INSERT INTO principals (id, kind, name, active, has_account, owner_id, visible_to_members, search_text) \
                 VALUES ({id}, {kind}, 'group {id}', {active}, false, {owner}, {visible}, 'group {id}');"
            ));
            for member in members {
                sql.push_str(&format!("INSERT INTO members (group_id, user_id) VALUES ({id}, {member});"));
            }
        }
        self.test.sql(&sql).await;
    }

    /// Secrets with these ids, all of one owner.
    pub async fn secrets(&self, owner: i64, ids: impl IntoIterator<Item = i64>) {
        let mut sql = String::new();
        for id in ids {
            sql.push_str(&format!(
                "INSERT INTO secrets (id, owner_id, name, url, client_id, method, notes, disabled, search_text, updated_at) \
                 VALUES ({id}, {owner}, 'secret {id}', 'https://{id}.example', 'ci', 'GET', '', false, 'secret {id}\n\nhttps://{id}.example', 0);"
            ));
        }
        self.test.sql(&sql).await;
    }

    pub async fn grant(&self, secret: i64, principal: i64, permission: Permission) {
        let code = permission.code();
        self.test
            .sql(&format!(
                "INSERT INTO grants (secret_id, principal_id, permission, granted_at) VALUES ({secret}, {principal}, {code}, 0)"
            ))
            .await;
    }

    /// The permission in the pair's own row: 0 none, 1 view, 2 edit.
    pub async fn permission(&self, secret: i64, principal: i64) -> i64 {
        self.test
            .number(&format!(
                "SELECT COALESCE((SELECT permission FROM grants WHERE secret_id = {secret} AND principal_id = {principal}), 0)"
            ))
            .await
    }

    pub async fn begin(&self, asked: &JobRequested) -> Begun {
        self.store.begin_one(asked.clone(), self.options.clone()).await.expect("begin")
    }

    /// Runs a job to its end, through its lanes where it has some, and returns it.
    pub async fn run(&self, asked: &JobRequested) -> JobSnapshot {
        self.begin(asked).await;
        self.drain().await;
        self.job(asked.job_id).await
    }

    pub async fn job(&self, id: JobId) -> JobSnapshot {
        self.store.job(id).await.expect("job").expect("the job is there")
    }

    /// Everything in the outbox, as a relay takes it.
    pub async fn take_messages(&self) -> Vec<OutboxRow> {
        let rows = self.store.take_unsent(1_000, Duration::from_secs(60)).await.expect("outbox");
        self.store.remove_sent(rows.iter().map(|row| row.id).collect()).await.expect("outbox");
        rows
    }

    /// Works on every step until there is none; returns the events that came out, as JSON.
    pub async fn drain(&self) -> Vec<(EventKind, Value)> {
        let mut events = Vec::new();
        let mut messages: VecDeque<OutboxRow> = self.take_messages().await.into();
        while let Some(row) = messages.pop_front() {
            match row.kind {
                MessageKind::Step => {
                    let step = contract::decode_step(&row.body).expect("a step");
                    self.step(&step).await;
                    messages.extend(self.take_messages().await);
                }
                MessageKind::Event(_, kind) => {
                    events.push((kind, serde_json::from_slice(&row.body).expect("an event")));
                }
                MessageKind::Request => panic!("a request in the outbox"),
            }
        }
        events
    }

    /// One chunk with a next step, as the worker's last of a slice.
    pub async fn step(&self, step: &Step) -> Option<ChunkDone> {
        match self.store.lane(step.clone(), self.options.lane).await.expect("lane") {
            LaneFound::Stale => None,
            LaneFound::Work(work) => {
                let done = self.store.chunk((*work).clone(), true, self.options.lane).await.expect("chunk");
                if matches!(done, ChunkDone::RequesterNotValid) {
                    self.store.requester_lost(*work).await.expect("fail the job");
                }
                Some(done)
            }
        }
    }

    pub fn due_options(&self) -> DueOptions {
        DueOptions { longest_lease: Duration::from_secs(3_600), unbegun_patience: Duration::from_secs(3_600) }
    }

    /// Lets so much time pass for everything that waits.
    pub async fn time_passes(&self, seconds: i64) {
        let ms = seconds * 1_000;
        self.test
            .sql(&format!(
                "UPDATE lanes SET due_at = due_at - {ms}, not_before = not_before - {ms}; \
                 UPDATE jobs SET due_at = due_at - {ms}, not_before = not_before - {ms}, finished_at = finished_at - {ms}, \
                 requested_at = requested_at - {ms}, queued_at = queued_at - {ms}; UPDATE outbox SET leased_until = leased_until - {ms}; \
                 UPDATE pending_orders SET due_at = due_at - {ms}, created_at = created_at - {ms};"
            ))
            .await;
    }
}

/// One thing at a time, in chunks of 4 pairs and two lanes; a step goes on to its lane's end, and what is tried
/// again is due at once.
pub fn worker_options() -> WorkerOptions {
    let chunk_pairs = 4;
    let lane = LaneOptions { chunk_pairs, lease: Duration::from_secs(30) };
    let hour = Duration::from_secs(3_600);
    WorkerOptions {
        begin: BeginOptions { limits: Limits::default(), chunk_pairs, lanes: 2, lane },
        due: DueOptions { longest_lease: hour, unbegun_patience: hour },
        slice: hour,
        due_interval: hour,
        retry_delays: vec![Duration::ZERO; 4],
        allowed_publishers: Vec::new(),
        prefetch: 1,
        check_interval: Duration::ZERO,
        order_patience: Duration::from_secs(600),
        together: 1,
        request_concurrency: 1,
        step_concurrency: 1,
    }
}

/// The share that a message asks for.
pub fn asked_in(body: &[u8]) -> JobRequested {
    match contract::decode_asked(body, usize::MAX).expect("a request") {
        Asked::Share(asked) => asked,
        other => panic!("{other:?}"),
    }
}

pub fn secret(id: i64) -> SecretId {
    SecretId::new(id).expect("an id")
}

pub fn principal(id: i64) -> PrincipalId {
    PrincipalId::new(id).expect("an id")
}

/// A recipient of the kind that its id has in this world.
pub fn to(id: i64, permission: Permission) -> Recipient {
    let kind = match id {
        10..20 => PrincipalKind::UserGroup,
        20..30 => PrincipalKind::PersonalGroup,
        _ => PrincipalKind::User,
    };
    Recipient { kind, id: principal(id), permission }
}

/// Ana shares these secrets with these recipients, all with view.
pub fn share(secrets: impl IntoIterator<Item = i64>, recipients: &[i64]) -> JobRequested {
    let recipients = recipients.iter().map(|id| to(*id, Permission::View)).collect::<Vec<_>>();
    share_as(ANA, Selection::Ids(secrets.into_iter().map(secret).collect()), recipients)
}

pub fn share_as(requester: i64, selection: Selection, recipients: Vec<Recipient>) -> JobRequested {
    JobRequested {
        job_id: JobId::generate(),
        request: ShareRequest::new(principal(requester), selection, recipients),
        traceparent: None,
    }
}

pub fn counts(granted: u64, upgraded: u64, unchanged: u64, rejected: u64) -> Counts {
    Counts { granted, upgraded, unchanged, rejected }
}

/// A rejection as `(kind, id, reason, pairs)`.
pub fn line(rejection: &Rejection) -> (&'static str, i64, &'static str, u64) {
    let (kind, id) = match rejection.subject {
        Subject::Secret(id) => ("secret", id.get()),
        Subject::Recipient(kind, id) => (kind.as_str(), id.get()),
    };
    (kind, id, rejection.reason.as_str(), rejection.pairs)
}
