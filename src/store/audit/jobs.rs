//! What the rows of jobs tell: that a job was asked for, begun, and ended. It is not written into the audit a second time.
//! A job that was replayed tells of its latest run.

use diesel::sql_types::{BigInt, Bool, Integer, Nullable, Text};
use diesel::{QueryableByName, RunQueryDsl as _, sql_query};
use serde_json::{Value, json};

use crate::db::{Conn, DbError};
use crate::domain::{Actor, SecretId};
use crate::store::audit::item::{AuditCursor, AuditFilter, AuditItem, Placed, in_page};
use crate::store::codes::id;

/// The ranks of what happened to a job among items of the same millisecond, which is the order in which it happens. The
/// end has 3.
const ASKED: i64 = 1;
const BEGUN: i64 = 2;

/// Three rows for a job, with the rank and the time of each.
const EVENTS: &str = "SELECT j.id, e.rank, CASE e.rank WHEN 1 THEN j.requested_at WHEN 2 THEN j.started_at \
     ELSE j.finished_at END AS at FROM jobs j \
     CROSS JOIN (SELECT 1 AS rank UNION ALL SELECT 2 UNION ALL SELECT 3) AS e";

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = BigInt)]
    rank: i64,
    #[diesel(sql_type = BigInt)]
    at: i64,
    #[diesel(sql_type = Text)]
    job_id: String,
    #[diesel(sql_type = BigInt)]
    requested_by: i64,
    #[diesel(sql_type = Bool)]
    as_operator: bool,
    #[diesel(sql_type = Text)]
    kind: String,
    #[diesel(sql_type = Nullable<Text>)]
    parent: Option<String>,
    #[diesel(sql_type = Nullable<BigInt>)]
    pairs: Option<i64>,
    #[diesel(sql_type = Integer)]
    run: i32,
    #[diesel(sql_type = Text)]
    state: String,
    #[diesel(sql_type = Nullable<Text>)]
    reason: Option<String>,
}

impl Row {
    /// The name of what happened, who did it, and what else there is to know.
    fn told(&self) -> Result<(&'static str, Actor, Value), DbError> {
        Ok(match self.rank {
            ASKED => {
                let detail = json!({"kind": self.kind, "pairs": self.pairs, "parent": self.parent});
                let by =
                    if self.as_operator { Actor::Operator } else { Actor::Person(id(self.requested_by)?) };
                ("job_asked", by, detail)
            }
            BEGUN => ("job_begun", Actor::Nobody, json!({"run": self.run})),
            _ => {
                let detail = json!({"reason": self.reason, "run": self.run, "state": self.state});
                ("job_ended", Actor::Nobody, detail)
            }
        })
    }
}

impl TryFrom<Row> for Placed {
    type Error = DbError;

    fn try_from(row: Row) -> Result<Self, DbError> {
        let (action, by, detail) = row.told()?;
        let corrupt = |()| DbError::Corrupt(format!("jobs.job_id of {}", row.id));
        let item = AuditItem {
            at: row.at,
            action: action.to_owned(),
            by,
            secret: None,
            principal: None,
            jobs: vec![row.job_id.parse().map_err(corrupt)?],
            detail,
        };
        Ok(((row.at, row.rank, row.id), item))
    }
}

/// The newest that happened to the jobs that match.
pub(in crate::store) fn events(
    conn: &mut Conn,
    filter: &AuditFilter,
    after: Option<AuditCursor>,
    limit: usize,
) -> Result<Vec<Placed>, DbError> {
    let mut which = "true".to_owned();
    if let Some(job) = filter.job {
        which.push_str(&format!(" AND j.job_id = '{job}'"));
    }
    if let Some(person) = filter.person {
        which.push_str(&format!(" AND j.requested_by = {person}"));
    }
    if let Some(secret) = filter.secret {
        which.push_str(&format!(" AND j.id IN ({})", jobs_of(secret)));
    }
    // The places are found first, in narrow rows, and the other columns are read for the page only.
    let sql = format!(
        "SELECT j.id, CAST(x.rank AS BIGINT) AS rank, x.at, j.job_id, j.requested_by, j.as_operator, j.kind, j.parent, j.pairs, \
         j.run, j.state, j.reason FROM (SELECT id, rank, at FROM ({EVENTS} WHERE {which}) AS e \
         WHERE at IS NOT NULL {in_page} ORDER BY at DESC, rank DESC, id DESC LIMIT {limit}) AS x \
         JOIN jobs j ON j.id = x.id",
        in_page = in_page(filter, after, ("at", "rank", "id")),
    );
    let rows: Vec<Row> = sql_query(sql).load(conn)?;
    rows.into_iter().map(Placed::try_from).collect()
}

/// A query for the jobs by which somebody has access to the secret now: those that gave it or stand in for the job that
/// did, and those that asked for what was there already.
fn jobs_of(secret: SecretId) -> String {
    let giver = |column: &str| {
        format!(
            "SELECT COALESCE((SELECT h.heir FROM heirs h WHERE h.secret_id = g.secret_id AND h.job = g.{column}), g.{column}) \
             FROM grants g WHERE g.secret_id = {secret}"
        )
    };
    format!(
        "{} UNION {} AND g.edit_job IS NOT NULL UNION SELECT job FROM claims WHERE secret_id = {secret}",
        giver("view_job"),
        giver("edit_job"),
    )
}
