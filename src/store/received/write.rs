//! Writes who received something from jobs that have ended.

use std::collections::HashMap;

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Binary, Bool, Integer, Nullable, SmallInt, Text};
use serde_json::{Value, json};

use crate::contract;
use crate::db::{Conn, DbError, statement};
use crate::domain::outcome::PairOutcome;
use crate::domain::received::{Outcomes, Recorded, given};
use crate::domain::rest::Part;
use crate::domain::{JobKind, Permission};

/// A job whose notice is made now.
#[derive(QueryableByName)]
pub(in crate::store) struct EndedRun {
    #[diesel(sql_type = BigInt)]
    pub(in crate::store) id: i64,
    #[diesel(sql_type = Integer)]
    pub(in crate::store) run: i32,
    #[diesel(sql_type = Text)]
    kind: String,
    /// How many of its pairs were granted or upgraded.
    #[diesel(sql_type = BigInt)]
    given: i64,
    /// How many were unchanged or rejected.
    #[diesel(sql_type = BigInt)]
    others: i64,
    /// Whether it shares what another job left undone, so that each of its secrets may go to other recipients.
    #[diesel(sql_type = Bool)]
    has_parts: bool,
}

impl EndedRun {
    /// The columns of a job's row that make one.
    pub(in crate::store) const RETURNED: &'static str = "id, run, kind, granted + upgraded AS given, unchanged + rejected AS others, parent IS NOT NULL AS has_parts";
}

/// How many pairs' outcomes are in memory at once, unless a single job has more.
const PAIRS_AT_ONCE: i64 = 1_000_000;

/// The number of the lock under which rows get their ids, so that they are committed in the order of their ids: nobody
/// who has seen a row can miss one with a smaller id that comes later. It is the last lock that a transaction takes.
const IDS: i64 = 7_226_911_801;

/// Writes a row for each recipient of these jobs that was granted something or given more. The caller has the locks of
/// the jobs' rows, and has found that their notices were not made yet.
///
/// It is one statement for all jobs all of whose pairs were given, which most are. Other jobs have their outcomes read.
/// What a job of an older run gave is replaced where more was given since.
pub(in crate::store) fn write(conn: &mut Conn, ended: &[EndedRun]) -> Result<(), DbError> {
    let gave = ended.iter().filter(|run| run.kind == JobKind::Share.as_str() && run.given > 0);
    let (whole, mixed): (Vec<&EndedRun>, Vec<&EndedRun>) =
        gave.partition(|run| run.run == 1 && run.others == 0 && !run.has_parts);
    let mut rows = Vec::new();
    for jobs in groups(&mixed) {
        rows.extend(read(conn, jobs)?);
    }
    let rows = Value::from(rows).to_string();
    let again: Vec<i64> = mixed.iter().filter(|run| run.run > 1).map(|run| run.id).collect();
    if !again.is_empty() {
        forget(conn, again, &rows)?;
    }
    if !mixed.is_empty() {
        let sql = insert_statement(&conn.holding_number(IDS), &conn.each_row("$1", &COLUMNS));
        statement(sql).bind::<Text, _>(rows).execute(conn)?;
    }
    if !whole.is_empty() {
        let recipients = conn.each_in_column("j.recipients");
        let sql = whole_statement(&conn.holding_number(IDS), &recipients, &conn.each_id("$1"));
        let keys = conn.id_list(whole.iter().map(|run| run.id));
        statement(sql).bind::<Text, _>(keys).execute(conn)?;
    }
    Ok(())
}

/// Inserts a row for each recipient of the jobs in the list `keys`, all of whose pairs that they came to were granted
/// or upgraded: every recipient got the same number of secrets, since a chunk is whole secrets.
fn whole_statement(lock: &str, recipients: &str, keys: &str) -> String {
    let (view, edit) = (Permission::View.code(), Permission::Edit.code());
    let edits = Permission::Edit.as_str();
    format!(
        "INSERT INTO received (job, principal_id, shared_by, permission, secrets, created_at) \
         WITH ids AS MATERIALIZED ({lock}) \
         SELECT j.id, CAST(r.value ->> 'id' AS BIGINT), j.requested_by, \
         CASE r.value ->> 'permission' WHEN '{edits}' THEN {edit} ELSE {view} END, \
         (j.granted + j.upgraded) / j.recipients_total, now_ms() \
         FROM ids CROSS JOIN jobs j {recipients} WHERE j.id IN ({keys}) ON CONFLICT DO NOTHING"
    )
}

/// The columns of a row of a recipient whose number of secrets was counted.
const COLUMNS: [(&str, &str); 4] =
    [("job", "bigint"), ("principal_id", "bigint"), ("permission", "smallint"), ("secrets", "integer")];

/// Inserts these rows.
fn insert_statement(lock: &str, rows: &str) -> String {
    format!(
        "INSERT INTO received (job, principal_id, shared_by, permission, secrets, created_at) \
         WITH ids AS MATERIALIZED ({lock}) \
         SELECT n.job, n.principal_id, j.requested_by, n.permission, n.secrets, now_ms() \
         FROM ids CROSS JOIN ({rows}) AS n JOIN jobs j ON j.id = n.job WHERE true ON CONFLICT DO NOTHING"
    )
}

/// Removes the rows of an older run of these jobs, except those that are as they would be written now. So a recipient
/// to whom the newer run gave more finds the batch as a new one.
fn forget(conn: &mut Conn, jobs: Vec<i64>, rows: &str) -> Result<(), DbError> {
    let sql = format!(
        "DELETE FROM received WHERE job IN ({}) AND NOT EXISTS (SELECT 1 FROM ({}) AS n \
         WHERE n.job = received.job AND n.principal_id = received.principal_id AND n.secrets = received.secrets)",
        conn.each_id("$1"),
        conn.each_row("$2", &COLUMNS),
    );
    let jobs = conn.id_list(jobs);
    statement(sql).bind::<Text, _>(jobs).bind::<Text, _>(rows).execute(conn)?;
    Ok(())
}

/// The jobs in groups, each of which has not too many pairs.
fn groups<'a>(mixed: &'a [&'a EndedRun]) -> impl Iterator<Item = &'a [&'a EndedRun]> {
    let pairs = |run: &EndedRun| run.given.saturating_add(run.others);
    let mut sum = 0_i64;
    mixed.chunk_by(move |before, next| {
        sum = sum.saturating_add(pairs(before));
        let fits = sum.saturating_add(pairs(next)) <= PAIRS_AT_ONCE;
        if !fits {
            sum = 0;
        }
        fits
    })
}

#[derive(QueryableByName)]
struct JobFacts {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = Nullable<Text>)]
    recipients: Option<String>,
    #[diesel(sql_type = Nullable<Integer>)]
    secrets_total: Option<i32>,
}

#[derive(QueryableByName)]
struct LaneRow {
    #[diesel(sql_type = BigInt)]
    job: i64,
    #[diesel(sql_type = Integer)]
    position: i32,
    #[diesel(sql_type = Integer)]
    end_position: i32,
    /// How many pairs an older program has done, without a record of their outcomes.
    #[diesel(sql_type = BigInt)]
    unrecorded: i64,
}

#[derive(QueryableByName)]
struct RecordRow {
    #[diesel(sql_type = BigInt)]
    job: i64,
    #[diesel(sql_type = Integer)]
    position: i32,
    #[diesel(sql_type = Integer)]
    end_position: i32,
    #[diesel(sql_type = Nullable<SmallInt>)]
    code: Option<i16>,
    #[diesel(sql_type = Nullable<Binary>)]
    pairs: Option<Vec<u8>>,
}

#[derive(QueryableByName)]
struct PartRow {
    #[diesel(sql_type = BigInt)]
    job: i64,
    #[diesel(sql_type = Integer)]
    position: i32,
    #[diesel(sql_type = Integer)]
    end_position: i32,
    #[diesel(sql_type = Nullable<Binary>)]
    among: Option<Vec<u8>>,
}

fn place(position: i32) -> usize {
    usize::try_from(position).unwrap_or(0)
}

/// The rows of these jobs in a table, in the order of their positions, each job's by themselves.
fn by_job<T>(rows: Vec<T>, job: impl Fn(&T) -> i64) -> HashMap<i64, Vec<T>> {
    let mut found: HashMap<i64, Vec<T>> = HashMap::new();
    for row in rows {
        found.entry(job(&row)).or_default().push(row);
    }
    found
}

/// The rows of the recipients of these jobs, as [`COLUMNS`] has them.
fn read(conn: &mut Conn, jobs: &[&EndedRun]) -> Result<Vec<Value>, DbError> {
    let keys = conn.id_list(jobs.iter().map(|run| run.id));
    let ids = conn.each_id("$1");
    let sql = format!("SELECT id, recipients, secrets_total FROM jobs WHERE id IN ({ids})");
    let facts: Vec<JobFacts> = statement(sql).bind::<Text, _>(&keys).load(conn)?;
    let sql = format!(
        "SELECT job, position, end_position, granted + upgraded + unchanged + rejected - recorded AS unrecorded \
         FROM lanes WHERE job IN ({ids}) ORDER BY job, lane"
    );
    let lanes: Vec<LaneRow> = statement(sql).bind::<Text, _>(&keys).load(conn)?;
    let mut lanes = by_job(lanes, |lane| lane.job);
    let sql = format!(
        "SELECT job, position, end_position, code, pairs FROM job_outcomes WHERE job IN ({ids}) \
         ORDER BY job, position"
    );
    let records: Vec<RecordRow> = statement(sql).bind::<Text, _>(&keys).load(conn)?;
    let mut records = by_job(records, |record| record.job);
    let mut parts = HashMap::new();
    if jobs.iter().any(|run| run.has_parts) {
        let sql = format!(
            "SELECT job, position, end_position, among FROM job_parts WHERE job IN ({ids}) \
             ORDER BY job, position"
        );
        let rows: Vec<PartRow> = statement(sql).bind::<Text, _>(&keys).load(conn)?;
        parts = by_job(rows, |part| part.job);
    }
    let others: HashMap<i64, i64> = jobs.iter().map(|run| (run.id, run.others)).collect();
    let mut rows = Vec::new();
    for facts in facts {
        let lanes = lanes.remove(&facts.id).unwrap_or_default();
        let records = records.remove(&facts.id).unwrap_or_default();
        let parts = parts.remove(&facts.id).unwrap_or_default();
        let mixed = others.get(&facts.id).is_some_and(|others| *others > 0);
        // An older program has worked on it, and nobody knows who got what.
        let unknown =
            lanes.iter().any(|lane| lane.unrecorded > 0) || (lanes.is_empty() && mixed && records.is_empty());
        if unknown {
            tracing::info!(job = facts.id, "nobody is told of a job whose outcomes are not recorded");
            continue;
        }
        received(&facts, &lanes, parts, records, &mut rows)?;
    }
    Ok(rows)
}

/// Adds the rows of one job's recipients.
fn received(
    job: &JobFacts,
    lanes: &[LaneRow],
    parts: Vec<PartRow>,
    records: Vec<RecordRow>,
    rows: &mut Vec<Value>,
) -> Result<(), DbError> {
    let corrupt = |what: &str| DbError::Corrupt(format!("{what} of job {}", job.id));
    let recipients = job.recipients.as_deref().ok_or_else(|| corrupt("jobs.recipients"))?;
    let recipients =
        contract::recipients_from_json(recipients).map_err(|error| corrupt(&error.to_string()))?;
    let mut reached = Vec::with_capacity(lanes.len().max(1));
    // A lane begins where the one before it ends. A job without lanes is one chunk.
    let mut begin = 0;
    for lane in lanes {
        reached.push(begin..place(lane.position));
        begin = place(lane.end_position);
    }
    if lanes.is_empty() {
        reached.push(0..job.secrets_total.map_or(0, place));
    }
    let part =
        |row: PartRow| Part { from: place(row.position), to: place(row.end_position), among: row.among };
    let parts: Vec<Part> = parts.into_iter().map(part).collect();
    let recorded: Option<Vec<Recorded>> = records.into_iter().map(recorded).collect();
    let given = recorded.and_then(|recorded| given(recipients.len(), &reached, &parts, recorded));
    for (of, secrets) in recipients.iter().zip(given.ok_or_else(|| corrupt("job_outcomes"))?) {
        if secrets > 0 {
            rows.push(json!([job.id, of.id, of.permission.code(), secrets]));
        }
    }
    Ok(())
}

/// What a stored record says. `None` if nobody knows its code.
fn recorded(row: RecordRow) -> Option<Recorded> {
    let outcomes = match (row.code, row.pairs) {
        (Some(code), _) => Outcomes::Alike(PairOutcome::from_code(u8::try_from(code).ok()?)?),
        (None, pairs) => Outcomes::Packed(pairs?),
    };
    let (from, to) = (place(row.position), place(row.end_position));
    Some(Recorded { from, secrets: to.checked_sub(from)?, outcomes })
}
