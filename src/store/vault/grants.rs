//! Applies grants: one statement writes all pairs of a chunk, or of many small jobs.

use std::collections::HashMap;

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Nullable, Text};
use serde_json::{Value, json};

use crate::db::{Conn, DbError, statement};
use crate::domain::outcome::PairsGiven;
use crate::domain::plan::ChunkPlan;
use crate::domain::{Counts, JobKey, PairOutcome, Permission};
use crate::store::codes::id;

#[derive(QueryableByName)]
struct Applied {
    #[diesel(sql_type = BigInt)]
    granted: i64,
    #[diesel(sql_type = BigInt)]
    upgraded: i64,
}

/// Applies the plans of these jobs, and returns the counts of each job's pairs, the rejected ones included, in the
/// order of the plans. No two plans may have a pair in common.
///
/// Applying a plan twice changes nothing, since a row that gives at least as much is left alone. The columns
/// `view_job` and `edit_job` name the job that gave the permission, and a row that has both was upgraded from view to
/// edit. `view_job = 0`: the view was there before, and no job is known for it. `now` is in microseconds. `granted_at`
/// says when the row came and stays when it is upgraded; `edit_at` then says when its edit came.
///
/// With `repeats`, the caller guesses that most of the rows are there already. The guess only chooses the faster way:
/// the result is the same.
pub(in crate::store) fn apply(
    conn: &mut Conn,
    plans: &[(JobKey, &ChunkPlan)],
    now: i64,
    repeats: bool,
) -> Result<Vec<Counts>, DbError> {
    match plans {
        [] => Ok(Vec::new()),
        [(job, plan)] => Ok(vec![apply_one(conn, *job, plan, now, repeats)?]),
        many => apply_many(conn, many, now),
    }
}

/// Applies one plan. Its ids go to the database as lists.
#[allow(clippy::cast_sign_loss)] // the database returns numbers of rows
fn apply_one(
    conn: &mut Conn,
    job: JobKey,
    plan: &ChunkPlan,
    now: i64,
    repeats: bool,
) -> Result<Counts, DbError> {
    let mut counts = Counts { rejected: plan.rejected(), ..Counts::default() };
    if plan.pairs_to_apply() > 0 {
        let applied = if conn.is_pg() {
            apply_postgres(conn, job, plan, now, repeats)?
        } else {
            apply_sqlite(conn, job, plan, now)?
        };
        counts.granted = applied.granted as u64;
        counts.upgraded = applied.upgraded as u64;
    }
    let valid = plan.pairs_to_apply() + plan.owners.len() as u64;
    counts.unchanged = valid - counts.granted - counts.upgraded;
    Ok(counts)
}

/// Applies the plans of several small jobs by one statement. Their ids go to the database as rows, each with its job.
fn apply_many(conn: &mut Conn, plans: &[(JobKey, &ChunkPlan)], now: i64) -> Result<Vec<Counts>, DbError> {
    let mut changed: HashMap<i64, (u64, u64)> = HashMap::new();
    if plans.iter().any(|(_, plan)| plan.pairs_to_apply() > 0) {
        let (secrets, recipients) = rows_of(plans);
        let sql = format!(
            "{} {} RETURNING view_job, edit_job",
            pairs_of_many(conn),
            upsert(
                conn,
                "s.job",
                "FROM s JOIN p ON p.job = s.job WHERE p.id <> s.owner ORDER BY s.id, p.id",
                "$3"
            ),
        );
        let rows: Vec<Changed> = statement(sql)
            .bind::<Text, _>(secrets)
            .bind::<Text, _>(recipients)
            .bind::<BigInt, _>(now)
            .load(conn)?;
        for row in rows {
            // A changed row has its latest permission from one of these jobs. If it has an edit, that is the latest.
            let (granted, upgraded) = changed.entry(row.edit_job.or(row.view_job).unwrap_or(0)).or_default();
            *if row.view_job.is_some() && row.edit_job.is_some() { upgraded } else { granted } += 1;
        }
    }
    let counts = plans.iter().map(|(job, plan)| {
        let (granted, upgraded) = changed.get(&job.get()).copied().unwrap_or_default();
        let valid = plan.pairs_to_apply() + plan.owners.len() as u64;
        Counts { granted, upgraded, unchanged: valid - granted - upgraded, rejected: plan.rejected() }
    });
    Ok(counts.collect())
}

/// Reads which pairs of these plans have their permission from the plan's job. All others were there already. The answers
/// are in the order of the plans.
pub(in crate::store) fn given_by(
    conn: &mut Conn,
    plans: &[(JobKey, &ChunkPlan)],
) -> Result<Vec<PairsGiven>, DbError> {
    let rows: Vec<Row> = match plans {
        [] => return Ok(Vec::new()),
        [(job, plan)] => {
            let sql = format!(
                "{} SELECT CAST($4 AS bigint) AS job, {ROW} FROM s CROSS JOIN p \
                 JOIN grants g ON g.secret_id = s.id AND g.principal_id = p.id \
                 WHERE (p.permission = 1 AND g.view_job = $4) OR (p.permission = 2 AND g.edit_job = $4)",
                pairs(conn),
            );
            let [secrets, viewers, editors] = lists(conn, plan);
            let query =
                statement(sql).bind::<Text, _>(secrets).bind::<Text, _>(viewers).bind::<Text, _>(editors);
            query.bind::<BigInt, _>(job.get()).load(conn)?
        }
        many => {
            let (secrets, recipients) = rows_of(many);
            let sql = format!(
                "{} SELECT s.job, {ROW} FROM s JOIN p ON p.job = s.job \
                 JOIN grants g ON g.secret_id = s.id AND g.principal_id = p.id \
                 WHERE (p.permission = 1 AND g.view_job = s.job) OR (p.permission = 2 AND g.edit_job = s.job)",
                pairs_of_many(conn),
            );
            statement(sql).bind::<Text, _>(secrets).bind::<Text, _>(recipients).load(conn)?
        }
    };
    let mut given: HashMap<i64, PairsGiven> = HashMap::new();
    for Row { job, secret_id, principal_id, upgraded } in rows {
        let outcome = if upgraded { PairOutcome::Upgraded } else { PairOutcome::Granted };
        given.entry(job).or_default().insert((id(secret_id)?, id(principal_id)?), outcome);
    }
    Ok(plans.iter().map(|(job, _)| given.remove(&job.get()).unwrap_or_default()).collect())
}

/// The columns of a pair that [`given_by`] found. An edit that has a view beside it was an upgrade.
const ROW: &str = "g.secret_id, g.principal_id, (p.permission = 2 AND g.view_job IS NOT NULL) AS upgraded";

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = BigInt)]
    job: i64,
    #[diesel(sql_type = BigInt)]
    secret_id: i64,
    #[diesel(sql_type = BigInt)]
    principal_id: i64,
    #[diesel(sql_type = Bool)]
    upgraded: bool,
}

/// The two texts to bind for the plans of many jobs: each secret and each recipient with its job.
fn rows_of(plans: &[(JobKey, &ChunkPlan)]) -> (String, String) {
    let mut secrets = Vec::new();
    let mut recipients = Vec::new();
    for (job, plan) in plans.iter().filter(|(_, plan)| plan.pairs_to_apply() > 0) {
        let owners: HashMap<_, _> = plan.owners.iter().copied().collect();
        let owner = |secret| owners.get(secret).map_or(0, |owner| owner.get());
        secrets.extend(plan.secrets.iter().map(|secret| json!([job.get(), secret, owner(secret)])));
        recipients.extend(plan.recipients.iter().map(|(id, get)| json!([job.get(), id, get.code()])));
    }
    (Value::from(secrets).to_string(), Value::from(recipients).to_string())
}

/// Subqueries for the secrets `s` and the recipients `p` of many jobs. They read the two texts of [`rows_of`], which are
/// bound to $1 and $2.
fn pairs_of_many(conn: &Conn) -> String {
    format!(
        "WITH s AS MATERIALIZED ({}), p AS MATERIALIZED ({})",
        conn.each_row("$1", &[("job", "bigint"), ("id", "bigint"), ("owner", "bigint")]),
        conn.each_row("$2", &[("job", "bigint"), ("id", "bigint"), ("permission", "smallint")]),
    )
}

#[derive(QueryableByName)]
struct Changed {
    #[diesel(sql_type = Nullable<BigInt>)]
    view_job: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    edit_job: Option<i64>,
}

/// Applies one plan on PostgreSQL, by one statement that also counts what it did.
fn apply_postgres(
    conn: &mut Conn,
    job: JobKey,
    plan: &ChunkPlan,
    now: i64,
    repeats: bool,
) -> Result<Applied, DbError> {
    let mut source = all_but_owners(plan).to_owned();
    let mut there = "";
    if repeats {
        // Pairs that are granted already are left out of the upsert, which would otherwise lock each of their rows.
        // The upsert still decides about the others, since rows may change between the two. There are two ways to
        // read what is there (docs/performance.md): one range of the index for each secret, or one look-up for each
        // pair.
        if are_close(plan) {
            there = ", there AS MATERIALIZED (SELECT g.* FROM s CROSS JOIN LATERAL \
                     (SELECT secret_id, principal_id, permission FROM grants WHERE secret_id = s.id \
                      AND principal_id BETWEEN (SELECT min(id) FROM p) AND (SELECT max(id) FROM p) OFFSET 0) g)";
            source.push_str(
                " AND NOT EXISTS (SELECT 1 FROM there t WHERE t.secret_id = s.id AND t.principal_id = p.id \
                 AND t.permission >= p.permission)",
            );
        } else {
            source.push_str(
                " AND COALESCE((SELECT t.permission FROM grants t \
                 WHERE t.secret_id = s.id AND t.principal_id = p.id), 0) < p.permission",
            );
        }
    }
    source.push_str(" ORDER BY s.id, p.id");
    let insert = upsert(conn, "$5", &source, "$4");
    let [secrets, viewers, editors] = lists(conn, plan);
    // These are not prepared statements, so that PostgreSQL plans each for the number of ids that it runs with.
    let query = |sql: String| {
        diesel::sql_query(sql)
            .bind::<Text, _>(secrets)
            .bind::<Text, _>(viewers)
            .bind::<Text, _>(editors)
            .bind::<BigInt, _>(now)
            .bind::<BigInt, _>(job.get())
    };
    if !gives_edit(plan) {
        // A view upgrades no row, so every changed row is new, and PostgreSQL returns their number without reading
        // them.
        let granted = query(format!("{}{there} {insert}", pairs(conn))).execute(conn)?;
        return Ok(Applied { granted: i64::try_from(granted).unwrap_or(i64::MAX), upgraded: 0 });
    }
    let sql = format!(
        "{}{there}, applied AS ({insert} RETURNING view_job, edit_job) \
         SELECT count(*) FILTER (WHERE view_job IS NULL OR edit_job IS NULL) AS granted, \
                count(*) FILTER (WHERE view_job IS NOT NULL AND edit_job IS NOT NULL) AS upgraded FROM applied",
        pairs(conn),
    );
    Ok(query(sql).get_result(conn)?)
}

/// Whether the range from the lowest to the highest of the recipients' ids has few other ids in it, so that reading
/// the whole range is cheap.
fn are_close(plan: &ChunkPlan) -> bool {
    let ids = || plan.recipients.iter().map(|(id, _)| id.get());
    let (Some(first), Some(last)) = (ids().min(), ids().max()) else { return false };
    last - first < 2 * i64::try_from(plan.recipients.len()).unwrap_or(i64::MAX / 2)
}

/// Whether any recipient of the plan gets edit, so that a row may be upgraded.
fn gives_edit(plan: &ChunkPlan) -> bool {
    plan.recipients.iter().any(|(_, permission)| *permission == Permission::Edit)
}

/// Applies one plan on SQLite, which cannot count what a statement changed in the same statement. The rows that will
/// be upgraded are therefore counted first. Nobody else writes during this transaction, so the number stays right.
fn apply_sqlite(conn: &mut Conn, job: JobKey, plan: &ChunkPlan, now: i64) -> Result<Applied, DbError> {
    let [secrets, viewers, editors] = lists(conn, plan);
    let mut upgraded = 0;
    if gives_edit(plan) {
        let sql = format!(
            "{}, a AS (SELECT s.id, p.id AS principal_id, p.permission {}) \
             SELECT 0 AS granted, count(*) AS upgraded FROM a \
             JOIN grants g ON g.secret_id = a.id AND g.principal_id = a.principal_id \
             WHERE g.permission < a.permission",
            pairs(conn),
            all_but_owners(plan),
        );
        let query =
            statement(sql).bind::<Text, _>(&secrets).bind::<Text, _>(&viewers).bind::<Text, _>(&editors);
        upgraded = query.get_result::<Applied>(conn)?.upgraded;
    }
    let sql = format!("{} {}", pairs(conn), upsert(conn, "$5", all_but_owners(plan), "$4"));
    let query = statement(sql).bind::<Text, _>(secrets).bind::<Text, _>(viewers).bind::<Text, _>(editors);
    let changed = query.bind::<BigInt, _>(now).bind::<BigInt, _>(job.get()).execute(conn)?;
    Ok(Applied { granted: i64::try_from(changed).unwrap_or(0) - upgraded, upgraded })
}

/// Subqueries for the secrets `s` and for the recipients `p`, with the permission that each gets. They read the three
/// texts of [`lists`], which are bound to $1, $2 and $3.
fn pairs(conn: &Conn) -> String {
    format!(
        "WITH s AS MATERIALIZED ({}), p AS MATERIALIZED \
         (SELECT id, 1 AS permission FROM ({}) v UNION ALL SELECT id, 2 FROM ({}) e)",
        conn.each_id("$1"),
        conn.each_id("$2"),
        conn.each_id("$3"),
    )
}

/// The part of a statement that makes the pairs to apply. The owner of a secret may do everything with it, so an
/// owner among the recipients gets no row. (A row from before they owned the secret stays as it is.) No two
/// principals of any kind have the same id, so comparing ids is enough. If the plan has no such pair, the owners are
/// not looked up.
fn all_but_owners(plan: &ChunkPlan) -> &'static str {
    if plan.owners.is_empty() {
        "FROM s CROSS JOIN p WHERE true"
    } else {
        "FROM s JOIN secrets x ON x.id = s.id CROSS JOIN p WHERE p.id <> x.owner_id"
    }
}

/// The statement that writes the pairs `s`, `p` of `source` for `job`, at the time `now`. A row is changed only if it
/// gives less than the job does, so that a grant is never taken back and a repetition changes nothing.
///
/// If others may write at the same time, `source` is in the order of the key, so that two chunks with the same pairs
/// lock their rows in the same order. The `0` is the `view_job` of a view for which no job is known (see [`apply`]).
///
/// The time of an edit is read after its row is locked. `now` is from before the wait for that lock, in which another job
/// may have claimed an earlier edit of the row, and somebody may have lowered it: such a claim must be older than the
/// new edit, since it ended with the lowering.
fn upsert(conn: &Conn, job: &str, source: &str, now: &str) -> String {
    let greatest = conn.greatest();
    format!(
        "INSERT INTO grants (secret_id, principal_id, permission, view_job, edit_job, granted_at) \
         SELECT s.id, p.id, p.permission, CASE p.permission WHEN 1 THEN {job} END, \
                CASE p.permission WHEN 2 THEN {job} END, {now} \
         {source} \
         ON CONFLICT (secret_id, principal_id) DO UPDATE SET \
         permission = excluded.permission, view_job = COALESCE(grants.view_job, 0), \
         edit_job = excluded.edit_job, edit_at = {greatest}({now}, now_us()) \
         WHERE grants.permission < excluded.permission"
    )
}

/// Three lists of ids, as texts to bind: the secrets, the recipients who get view, and the recipients who get edit.
fn lists(conn: &Conn, plan: &ChunkPlan) -> [String; 3] {
    let with = |wanted: Permission| {
        conn.id_list(
            plan.recipients.iter().filter(|(_, permission)| *permission == wanted).map(|(id, _)| *id),
        )
    };
    [conn.id_list(plan.secrets.iter().copied()), with(Permission::View), with(Permission::Edit)]
}
