//! Makes, reads and dismisses notices. A notice tells the requester of a job that the job has ended. With it the job's
//! recipients are told what they received ([`crate::store::received`]).

use diesel::prelude::*;
use diesel::sql_types::{SmallInt, Text};
use serde_json::{Value, json};

use crate::db::{Conn, DbError, statement};
use crate::domain::{Counts, FailReason, JobId, JobKind, JobState, PrincipalId, PrincipalKind, Taken};
use crate::store::clock;
use crate::store::codes::{counts, taken};
use crate::store::received::write as received;
use crate::store::received::write::EndedRun;
use crate::store::schema::{jobs as jobs_table, notices};
use crate::store::transact::{LOCKS_OF_RECORDS, Store};

/// A notice, with the job as it was when it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    pub id: i64,
    pub job_id: JobId,
    pub run: i32,
    pub kind: JobKind,
    /// The job that an undo took back.
    pub parent: Option<JobId>,
    /// The latest undo of the job.
    pub undone_by: Option<JobId>,
    /// What the share told its recipients.
    pub note: Option<String>,
    pub state: JobState,
    pub reason: Option<FailReason>,
    /// The number of secrets that the job is about. `None` if its request could not be read, as with the two below.
    pub secrets: Option<i32>,
    pub recipients: Option<i32>,
    pub pairs: Option<u64>,
    pub counts: Counts,
    /// What a job did that takes access away.
    pub taken: Taken,
    pub rejections_total: u64,
    /// Milliseconds since 1970, as is `dismissed_at`.
    pub created_at: i64,
    pub dismissed_at: Option<i64>,
}

#[derive(Queryable)]
struct NoticeColumns {
    id: i64,
    job_id: String,
    run: i32,
    state: String,
    reason: Option<String>,
    secrets: Option<i32>,
    recipients: Option<i32>,
    pairs: Option<i64>,
    granted: i64,
    upgraded: i64,
    unchanged: i64,
    rejected: i64,
    rejections_total: i64,
    created_at: i64,
    dismissed_at: Option<i64>,
    taken: (Option<i64>, Option<i64>, Option<i64>, Option<i64>),
    kind: String,
    parent: Option<String>,
    undone_by: Option<String>,
    note: Option<String>,
}

impl TryFrom<NoticeColumns> for Notice {
    type Error = DbError;

    fn try_from(row: NoticeColumns) -> Result<Self, DbError> {
        let corrupt = |what: &str| DbError::Corrupt(format!("notices.{what} of notice {}", row.id));
        let related = |id: &Option<String>, what: &str| {
            id.as_deref().map(|id| id.parse::<JobId>().map_err(|()| corrupt(what))).transpose()
        };
        let (revoked, lowered, kept, untouched) = row.taken;
        Ok(Self {
            id: row.id,
            job_id: row.job_id.parse().map_err(|()| corrupt("job"))?,
            run: row.run,
            state: JobState::from_name(&row.state).ok_or_else(|| corrupt("state"))?,
            reason: row.reason.as_deref().and_then(FailReason::from_name),
            secrets: row.secrets,
            recipients: row.recipients,
            pairs: row.pairs.and_then(|pairs| u64::try_from(pairs).ok()),
            counts: counts(row.granted, row.upgraded, row.unchanged, row.rejected),
            taken: taken(revoked, lowered, kept, untouched),
            kind: JobKind::from_name(&row.kind).ok_or_else(|| corrupt("kind"))?,
            parent: related(&row.parent, "parent")?,
            undone_by: related(&row.undone_by, "undone_by")?,
            note: row.note,
            rejections_total: u64::try_from(row.rejections_total).unwrap_or(0),
            created_at: row.created_at,
            dismissed_at: row.dismissed_at,
        })
    }
}

/// Marks the notices of the jobs in `ended` as made, and returns the jobs whose notice was still to be made.
///
/// Two notifiers may have the same jobs at the same time, if an event is delivered twice. The rows are locked in the
/// order of their keys (`locking`), so that the two never wait for each other in a circle, and only the first finds a
/// notice due.
fn take_due_statement(ended: &str, locking: &str) -> String {
    format!(
        "UPDATE jobs SET notice_due = false WHERE id IN (SELECT j.id FROM jobs j JOIN ({ended}) AS e \
         ON j.job_id = e.job_id AND j.run = e.run WHERE j.notice_due ORDER BY j.id {locking}) RETURNING {}",
        EndedRun::RETURNED
    )
}

/// Inserts the notices of the jobs whose ids are in the list `keys`, with the counts that their rows have. The
/// requester has to be a known user ($2), since nobody else could read the notice.
fn insert_statement(keys: &str) -> String {
    format!(
        "INSERT INTO notices (job, run, user_id, state, reason, pairs, granted, upgraded, unchanged, rejected, \
         rejections_total, created_at, revoked, lowered, kept, untouched) \
         SELECT j.id, j.run, j.requested_by, j.state, j.reason, j.pairs, j.granted, j.upgraded, j.unchanged, \
         j.rejected, COALESCE(j.rejections_total, 0), now_ms(), j.revoked, j.lowered, j.kept, j.untouched \
         FROM jobs j JOIN principals p ON p.id = j.requested_by WHERE j.id IN ({keys}) AND p.kind = $2 ORDER BY j.id \
         ON CONFLICT DO NOTHING"
    )
}

/// Makes the notices of these jobs, given by id and run, unless they were made before. A job that has been replayed
/// and is in another run gets no notice for the older run, and a job whose requester is unknown gets none at all. The
/// notice of a newer run replaces that of the older run.
///
/// What the recipients received is written in the same transaction, and so exactly once as well.
pub(super) fn make(conn: &mut Conn, ended: &[(JobId, i32)]) -> Result<(), DbError> {
    let rows: Vec<Value> = ended.iter().map(|(job, run)| json!([job, run])).collect();
    let rows_of_ended = conn.each_row("$1", &[("job_id", "text"), ("run", "integer")]);
    let sql = take_due_statement(&rows_of_ended, conn.for_update());
    let ended: Vec<EndedRun> = statement(sql).bind::<Text, _>(Value::from(rows).to_string()).load(conn)?;
    for row in ended.iter().filter(|row| row.run > 1) {
        let older = notices::table.filter(notices::job.eq(row.id)).filter(notices::run.lt(row.run));
        diesel::delete(older).execute(conn)?;
    }
    if ended.is_empty() {
        return Ok(());
    }
    let sql = insert_statement(&conn.each_id("$1"));
    let keys = conn.id_list(ended.iter().map(|row| row.id));
    statement(sql).bind::<Text, _>(keys).bind::<SmallInt, _>(PrincipalKind::User.code()).execute(conn)?;
    received::write(conn, &ended)
}

/// The query of a person's notices, with the columns of [`NoticeColumns`] in their order.
#[diesel::dsl::auto_type(no_type_alias)]
fn of(user: i64) -> _ {
    notices::table
        .inner_join(jobs_table::table.on(jobs_table::id.eq(notices::job)))
        .filter(notices::user_id.eq(user))
        .select((
            notices::id,
            jobs_table::job_id,
            notices::run,
            notices::state,
            notices::reason,
            jobs_table::secrets_total,
            jobs_table::recipients_total,
            notices::pairs,
            notices::granted,
            notices::upgraded,
            notices::unchanged,
            notices::rejected,
            notices::rejections_total,
            notices::created_at,
            notices::dismissed_at,
            (notices::revoked, notices::lowered, notices::kept, notices::untouched),
            jobs_table::kind,
            jobs_table::parent,
            jobs_table::undone_by,
            jobs_table::note,
        ))
}

impl Store {
    /// Makes the notices of jobs that have ended, given by id and run, unless they were made before. The job of an
    /// event that is of an older run gets no notice.
    pub async fn make_notices(&self, ended: Vec<(JobId, i32)>) -> Result<(), DbError> {
        if ended.is_empty() {
            return Ok(());
        }
        let db = self.db.waiting_for_locks(LOCKS_OF_RECORDS);
        db.write(move |conn| make(conn, &ended)).await
    }

    /// A page of a person's notices, newest first: those that were dismissed, or those that were not. `before` is the
    /// cursor that came with the page before. Returns the cursor of the next page, if there is one.
    pub async fn notices(
        &self,
        user: PrincipalId,
        dismissed: bool,
        before: Option<i64>,
        limit: i64,
    ) -> Result<(Vec<Notice>, Option<i64>), DbError> {
        self.db
            .read(move |conn| {
                let query = of(user.get()).into_boxed();
                // The index of open notices has exactly this condition. PostgreSQL uses it only if it finds the same
                // words here.
                let mut query = match dismissed {
                    true => query.filter(notices::dismissed_at.is_not_null()),
                    false => query.filter(notices::dismissed_at.is_null()),
                };
                if let Some(before) = before {
                    query = query.filter(notices::id.lt(before));
                }
                let mut rows: Vec<NoticeColumns> =
                    query.order(notices::id.desc()).limit(limit + 1).load(conn)?;
                let more = rows.len() > usize::try_from(limit).unwrap_or(0);
                rows.truncate(usize::try_from(limit).unwrap_or(0));
                let next = rows.last().map(|row| row.id).filter(|_| more);
                Ok((rows.into_iter().map(Notice::try_from).collect::<Result<_, _>>()?, next))
            })
            .await
    }

    /// The notice that a person has of a job. `None` if there is none.
    pub async fn notice_of(&self, user: PrincipalId, job: JobId) -> Result<Option<Notice>, DbError> {
        self.db
            .read(move |conn| {
                let mine = of(user.get()).filter(jobs_table::job_id.eq(job.to_string()));
                let row: Option<NoticeColumns> = mine.order(notices::run.desc()).first(conn).optional()?;
                row.map(Notice::try_from).transpose()
            })
            .await
    }

    /// Dismisses all notices of a person whose ids are at most `until`.
    pub async fn dismiss_notices(&self, user: PrincipalId, until: i64) -> Result<(), DbError> {
        self.db
            .write(move |conn| {
                let now = clock::now(conn)?;
                let mine =
                    notices::table.filter(notices::user_id.eq(user.get())).filter(notices::id.le(until));
                let open = mine.filter(notices::dismissed_at.is_null());
                diesel::update(open).set(notices::dismissed_at.eq(now)).execute(conn)?;
                Ok(())
            })
            .await
    }

    /// Dismisses a notice of a person. True also if it was dismissed before; false if the person has no such notice.
    pub async fn dismiss_notice(&self, user: PrincipalId, id: i64) -> Result<bool, DbError> {
        self.db
            .write(move |conn| {
                let now = clock::now(conn)?;
                let mine = notices::table.filter(notices::id.eq(id)).filter(notices::user_id.eq(user.get()));
                let open = mine.filter(notices::dismissed_at.is_null());
                diesel::update(open).set(notices::dismissed_at.eq(now)).execute(conn)?;
                Ok(mine.count().get_result::<i64>(conn)? == 1)
            })
            .await
    }
}
