//! Lists the audit: its own rows and what the rows of jobs tell, merged by time.

use diesel::sql_types::{BigInt, Nullable, Text};
use diesel::{QueryableByName, RunQueryDsl as _, sql_query};

use crate::db::{Conn, DbError};
use crate::domain::Actor;
use crate::store::audit::item::{AuditCursor, AuditFilter, AuditItem, Placed, in_page};
use crate::store::audit::jobs;
use crate::store::codes::id;
use crate::store::transact::Store;

/// The rank of the audit's own rows among items of the same millisecond. Those of jobs are lower.
const RANK: i64 = 4;

impl Store {
    /// A page of what happened, newest first, of at most `limit` items. `after` is the cursor that came with the page
    /// before. Returns the cursor of the next page, if there is one.
    ///
    /// Without a job, a person or a secret in the filter, it looks at the rows of all jobs there ever were, because an
    /// index by their times would make every job slower.
    pub async fn audit(
        &self,
        filter: AuditFilter,
        after: Option<AuditCursor>,
        limit: usize,
    ) -> Result<(Vec<AuditItem>, Option<AuditCursor>), DbError> {
        self.db
            .read(move |conn| {
                // Each source gives one item more than the page needs, which shows whether there is a next page.
                let mut items = rows(conn, &filter, after, limit + 1)?;
                items.extend(jobs::events(conn, &filter, after, limit + 1)?);
                items.sort_unstable_by_key(|(place, _)| std::cmp::Reverse(*place));
                let more = items.len() > limit;
                items.truncate(limit);
                let next = items.last().filter(|_| more);
                let next = next.map(|(place, _)| AuditCursor::behind(*place));
                Ok((items.into_iter().map(|(_, item)| item).collect(), next))
            })
            .await
    }
}

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = BigInt)]
    at: i64,
    #[diesel(sql_type = Text)]
    action: String,
    #[diesel(sql_type = Nullable<BigInt>)]
    actor: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    secret_id: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    principal: Option<i64>,
    #[diesel(sql_type = Nullable<Text>)]
    job: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    other_job: Option<String>,
    #[diesel(sql_type = Text)]
    detail: String,
}

impl TryFrom<Row> for Placed {
    type Error = DbError;

    fn try_from(row: Row) -> Result<Self, DbError> {
        let corrupt = |what: &str| DbError::Corrupt(format!("audit.{what} of row {}", row.id));
        let jobs = row.job.iter().chain(&row.other_job);
        let item = AuditItem {
            at: row.at,
            by: Actor::from_code(row.actor).map_err(DbError::Corrupt)?,
            secret: row.secret_id.map(id).transpose()?,
            principal: row.principal.map(id).transpose()?,
            jobs: jobs.map(|job| job.parse().map_err(|()| corrupt("job"))).collect::<Result<_, _>>()?,
            detail: serde_json::from_str(&row.detail).map_err(|_| corrupt("detail"))?,
            action: row.action,
        };
        Ok(((row.at, RANK, row.id), item))
    }
}

/// The newest rows of the audit that match.
fn rows(
    conn: &mut Conn,
    filter: &AuditFilter,
    after: Option<AuditCursor>,
    limit: usize,
) -> Result<Vec<Placed>, DbError> {
    let mut matching = in_page(filter, after, ("at", &RANK.to_string(), "id"));
    if let Some(secret) = filter.secret {
        matching.push_str(&format!(" AND secret_id = {secret}"));
    }
    if let Some(job) = filter.job {
        matching.push_str(&format!(" AND (job = '{job}' OR other_job = '{job}')"));
    }
    // A person's rows are found by two indexes, each in the order of time.
    let of_person = filter.person.map_or_else(
        || vec!["true".to_owned()],
        |person| {
            let own = format!("actor = {person}");
            vec![format!("principal = {person} AND (actor IS NULL OR actor <> {person})"), own]
        },
    );
    let mut parts = Vec::new();
    for (number, whose) in of_person.iter().enumerate() {
        parts.push(format!(
            "SELECT * FROM (SELECT id, at, action, actor, secret_id, principal, job, other_job, detail FROM audit \
             WHERE {whose} {matching} ORDER BY at DESC, id DESC LIMIT {limit}) AS part{number}"
        ));
    }
    let rows: Vec<Row> = sql_query(parts.join(" UNION ALL ")).load(conn)?;
    rows.into_iter().map(Placed::try_from).collect()
}
