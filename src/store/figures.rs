//! How things stand, in numbers: for metrics.

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Nullable, Text};

use crate::db::{Conn, DbError};
use crate::domain::{DeadReason, DeadState, JobState};

use crate::store::message::sending::TRIES;
use crate::store::transact::Store;

/// Numbers of the whole installation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Figures {
    /// Of each state that there are jobs in.
    pub jobs: Vec<(JobState, i64)>,
    pub dead_letters: Vec<(DeadReason, DeadState, i64)>,
    /// Messages that wait to be sent, and for how long the oldest has (0 where there is none).
    pub unsent: i64,
    pub unsent_for_ms: i64,
    /// Those of them that the broker has not taken in many tries.
    pub held: i64,
    /// How long ago the oldest job that has not ended was asked for (0 where there is none).
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
    /// Counts. Each statement reads an index and no rows, but for the outbox and the jobs that have
    /// not ended.
    ///
    /// # Errors
    /// Where the database fails.
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
    // These show as retrying, which is never stored.
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
        // Two statements: a job may have moved between them.
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
