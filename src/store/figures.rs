//! Counts jobs, dead letters and messages of the whole installation, for metrics.

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable, Text};

use crate::db::{Conn, DbError};
use crate::domain::{DeadReason, DeadState, JobState};

use crate::store::message::sending::TRIES;
use crate::store::transact::Store;

/// The numbers of the whole installation at one time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Figures {
    /// The number of jobs in each state that any job is in.
    pub jobs: Vec<(JobState, i64)>,
    /// The number of dead letters of each reason and state.
    pub dead_letters: Vec<(DeadReason, DeadState, i64)>,
    /// The number of messages that wait to be sent.
    pub unsent: i64,
    /// How long the oldest of these messages has waited, in milliseconds. It is 0 if there is none.
    pub unsent_for_ms: i64,
    /// The number of those among them that the broker did not take in [`TRIES`] tries.
    pub held: i64,
    /// How long ago the oldest job that has not ended was requested, in milliseconds. It is 0 if there is none.
    pub unfinished_for_ms: i64,
}

#[derive(QueryableByName)]
struct Group {
    #[diesel(sql_type = Text)]
    state: String,
    #[diesel(sql_type = Nullable<Text>)]
    reason: Option<String>,
    #[diesel(sql_type = BigInt)]
    n: i64,
}

#[derive(QueryableByName)]
struct Outbox {
    #[diesel(sql_type = BigInt)]
    n: i64,
    #[diesel(sql_type = Nullable<BigInt>)]
    oldest_ms: Option<i64>,
    #[diesel(sql_type = BigInt)]
    held: i64,
}

#[derive(QueryableByName)]
struct Age {
    #[diesel(sql_type = Nullable<BigInt>)]
    ms: Option<i64>,
}

impl Store {
    /// Counts everything. Each statement reads only an index, except for those about the outbox and about the jobs
    /// that have not ended, which are few.
    pub async fn figures(&self) -> Result<Figures, DbError> {
        self.db
            .read(|conn| {
                let sql = format!(
                    "SELECT COUNT(*) AS n, now_ms() - MIN(created_at) AS oldest_ms, \
                     COUNT(CASE WHEN tries >= {TRIES} THEN 1 END) AS held FROM outbox"
                );
                let outbox: Outbox = diesel::sql_query(sql).get_result(conn)?;
                let sql = "SELECT now_ms() - MIN(requested_at) AS ms FROM jobs WHERE finished_at IS NULL";
                let unfinished: Age = diesel::sql_query(sql).get_result(conn)?;
                Ok(Figures {
                    unfinished_for_ms: unfinished.ms.unwrap_or(0).max(0),
                    jobs: jobs(conn)?,
                    dead_letters: dead_letters(conn)?,
                    unsent: outbox.n,
                    held: outbox.held,
                    unsent_for_ms: outbox.oldest_ms.unwrap_or(0).max(0),
                })
            })
            .await
    }
}

fn jobs(conn: &mut Conn) -> Result<Vec<(JobState, i64)>, DbError> {
    let all = "SELECT state, NULL AS reason, COUNT(*) AS n FROM jobs GROUP BY state";
    // These jobs are shown as retrying. That state is never stored, so they are counted as retrying here and are taken
    // from the number of the state that is stored.
    let waiting = "SELECT state, NULL AS reason, COUNT(*) AS n FROM jobs j WHERE finished_at IS NULL \
                   AND (attempts > 0 OR EXISTS (SELECT 1 FROM lanes l WHERE l.job = j.id AND l.open AND l.attempts > 0)) \
                   GROUP BY state";
    let waiting: Vec<Group> = diesel::sql_query(waiting).load(conn)?;
    let all: Vec<Group> = diesel::sql_query(all).load(conn)?;
    let mut jobs = vec![(JobState::Retrying, waiting.iter().map(|group| group.n).sum())];
    for group in all {
        let state = JobState::from_name(&group.state)
            .ok_or_else(|| DbError::Corrupt(format!("jobs.state is {}", group.state)))?;
        let others: i64 = waiting.iter().filter(|of| of.state == group.state).map(|of| of.n).sum();
        // A job may have changed its state between the two statements, so the difference may be below zero.
        jobs.push((state, (group.n - others).max(0)));
    }
    Ok(jobs)
}

fn dead_letters(conn: &mut Conn) -> Result<Vec<(DeadReason, DeadState, i64)>, DbError> {
    let sql = "SELECT state, reason, COUNT(*) AS n FROM dead_letters GROUP BY state, reason";
    let groups: Vec<Group> = diesel::sql_query(sql).load(conn)?;
    groups
        .into_iter()
        .map(|group| {
            let reason = group.reason.as_deref().and_then(DeadReason::from_name);
            let (reason, state) = reason
                .zip(DeadState::from_name(&group.state))
                .ok_or_else(|| DbError::Corrupt("reason or state of a dead letter".to_owned()))?;
            Ok((reason, state, group.n))
        })
        .collect()
}
