//! Keeps who else asked for access that was there already.
//!
//! A job whose pair came out unchanged gave nothing, but its requester was told that the secret is shared. A claim says
//! so: when the access is taken back from the job that gave it, the claim keeps it. No undo deletes a claim. It counts
//! only as long as its job is not undone, and only for rows that are not younger than it. A DELETE by hand
//! and an unshare strike the pairs that they take out of all claims ([`strike`]).

use std::collections::{BTreeSet, HashMap};

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Binary, Nullable, Text};
use serde_json::{Value, json};

use crate::contract;
use crate::db::{Conn, DbError, statement};
use crate::domain::hex::hex;
use crate::domain::outcome::{Claims, all_but};
use crate::domain::{JobKey, PrincipalId, Recipient, SecretId};

/// A condition on a job `k`: it is not undone. Any undo of it counts from the moment it is asked for, unless it failed or
/// was cancelled. `jobs.undone_by` names the latest, and an earlier one that was done counts all the same.
pub(in crate::store) const NOT_UNDONE: &str = "(k.undone_by IS NULL OR NOT EXISTS (SELECT 1 FROM jobs u \
    WHERE u.parent = k.job_id AND u.kind = 'undo' AND u.state NOT IN ('failed', 'cancelled')))";

/// Writes what these jobs claim as of the time `at` (microseconds). A claim of the same job on the same secret is
/// replaced: the job has come to the secret only now.
pub(in crate::store) fn write(conn: &mut Conn, claims: &[(JobKey, Claims)], at: i64) -> Result<(), DbError> {
    match claims {
        [(job, of)] if of.windows(2).all(|two| two[0].1 == two[1].1) => {
            let Some((_, among)) = of.first() else { return Ok(()) };
            let sql = format!(
                "INSERT INTO claims (secret_id, job, at, among) SELECT s.id, $2, $3, $4 FROM ({}) AS s WHERE true \
                 ORDER BY s.id {REPLACE}",
                conn.each_id("$1"),
            );
            statement(sql)
                .bind::<Text, _>(conn.id_list(of.iter().map(|(secret, _)| *secret)))
                .bind::<BigInt, _>(job.get())
                .bind::<BigInt, _>(at)
                .bind::<Nullable<Binary>, _>(among.as_deref())
                .execute(conn)?;
        }
        many => {
            let row = |job: &JobKey, (secret, among): &(SecretId, Option<Vec<u8>>)| {
                json!([secret, job.get(), among.as_deref().map(hex)])
            };
            let rows: Vec<Value> =
                many.iter().flat_map(|(job, of)| of.iter().map(move |claim| row(job, claim))).collect();
            if rows.is_empty() {
                return Ok(());
            }
            let columns = [("secret_id", "bigint"), ("job", "bigint"), ("among", "text")];
            let sql = format!(
                "INSERT INTO claims (secret_id, job, at, among) SELECT c.secret_id, c.job, $2, {} FROM ({}) AS c \
                 WHERE true ORDER BY c.secret_id, c.job {REPLACE}",
                conn.bytes_of("c.among"),
                conn.each_row("$1", &columns),
            );
            statement(sql)
                .bind::<Text, _>(Value::from(rows).to_string())
                .bind::<BigInt, _>(at)
                .execute(conn)?;
        }
    }
    Ok(())
}

const REPLACE: &str = "ON CONFLICT (secret_id, job) DO UPDATE SET at = excluded.at, among = excluded.among";

/// Writes that a job claims all its pairs of these secrets as of the time `at` (microseconds), where it has no claim
/// yet. It is for jobs of which nobody recorded what they found.
pub(in crate::store) fn write_all(
    conn: &mut Conn,
    job: JobKey,
    secrets: &[SecretId],
    at: i64,
) -> Result<(), DbError> {
    let sql = format!(
        "INSERT INTO claims (secret_id, job, at, among) SELECT s.id, $2, $3, NULL FROM ({}) AS s WHERE true \
         ORDER BY s.id ON CONFLICT (secret_id, job) DO NOTHING",
        conn.each_id("$1"),
    );
    statement(sql)
        .bind::<Text, _>(conn.id_list(secrets.iter().copied()))
        .bind::<BigInt, _>(job.get())
        .bind::<BigInt, _>(at)
        .execute(conn)?;
    Ok(())
}

/// The most claims that are in memory at a time. A claim has a bit for each recipient of its job, so up to 1,250 bytes.
const PAGE: usize = 5_000;
/// The most secrets whose claims one statement looks for.
const SECRETS: usize = 2_000;
/// The most jobs whose recipients are remembered, as far as they are among those who lose access.
const JOBS: usize = 1_000;
/// The most jobs whose recipients are read at once: a job has up to 10,000 of them.
pub(in crate::store) const AT_ONCE: usize = 50;

#[derive(QueryableByName)]
struct ClaimRow {
    #[diesel(sql_type = BigInt)]
    secret_id: i64,
    #[diesel(sql_type = BigInt)]
    job: i64,
    #[diesel(sql_type = Nullable<Binary>)]
    among: Option<Vec<u8>>,
}

/// Strikes these pairs out of all claims: what was asked for before ends when everything is taken away. The caller holds
/// the locks of the secrets.
///
/// The age of a claim alone would not do. A share reads its time when it begins, so a grant that it writes a moment later
/// may seem to be older than a claim that was made, and taken away with its access, in between.
pub(in crate::store) fn strike(
    conn: &mut Conn,
    secrets: &[SecretId],
    recipients: &[PrincipalId],
) -> Result<(), DbError> {
    if recipients.is_empty() {
        return Ok(());
    }
    let taken: BTreeSet<PrincipalId> = recipients.iter().copied().collect();
    let mut places: HashMap<i64, (Vec<usize>, usize)> = HashMap::new();
    let sql = format!(
        "SELECT secret_id, job, among FROM claims WHERE secret_id {} AND (secret_id, job) > ($2, $3) \
         ORDER BY secret_id, job LIMIT {PAGE}",
        conn.is_in("$1"),
    );
    for part in secrets.chunks(SECRETS) {
        let mut after = (0, 0);
        loop {
            let page: Vec<ClaimRow> = statement(sql.clone())
                .bind::<Text, _>(conn.id_list(part.iter().copied()))
                .bind::<BigInt, _>(after.0)
                .bind::<BigInt, _>(after.1)
                .load(conn)?;
            let mut changed = Vec::new();
            for some in page.chunks(AT_ONCE) {
                if places.len() > JOBS {
                    places.clear();
                }
                let unknown =
                    some.iter().map(|claim| claim.job).filter(|job| !places.contains_key(job)).collect();
                for (job, all) in recipients_of_each(conn, unknown)? {
                    let is_taken = |(place, of): (usize, &Recipient)| taken.contains(&of.id).then_some(place);
                    places.insert(job, (all.iter().enumerate().filter_map(is_taken).collect(), all.len()));
                }
                for ClaimRow { secret_id, job, among } in some {
                    let Some((struck, count)) = places.get(job) else { continue };
                    if let Some(left) = all_but(among.as_deref(), *count, struck) {
                        changed.push(json!([secret_id, job, hex(&left)]));
                    }
                }
            }
            replace(conn, changed)?;
            match page.last() {
                Some(last) if page.len() == PAGE => after = (last.secret_id, last.job),
                _ => break,
            }
        }
    }
    Ok(())
}

/// Replaces whom these claims are about: the secret, the job, and the bits of its recipients. A claim without any is
/// deleted.
fn replace(conn: &mut Conn, changed: Vec<Value>) -> Result<(), DbError> {
    if changed.is_empty() {
        return Ok(());
    }
    let columns = [("secret_id", "bigint"), ("job", "bigint"), ("among", "text")];
    let changed = Value::from(changed).to_string();
    let update = format!(
        "UPDATE claims SET among = {} FROM ({}) AS c WHERE claims.secret_id = c.secret_id AND claims.job = c.job",
        conn.bytes_of("c.among"),
        conn.each_row("$1", &columns),
    );
    statement(update).bind::<Text, _>(&changed).execute(conn)?;
    let delete = format!(
        "DELETE FROM claims WHERE (secret_id, job) IN (SELECT c.secret_id, c.job FROM ({}) AS c WHERE c.among = '')",
        conn.each_row("$1", &columns),
    );
    statement(delete).bind::<Text, _>(&changed).execute(conn)?;
    Ok(())
}

/// The recipients of a job, in the order in which they are stored.
pub(in crate::store) fn recipients_of(conn: &mut Conn, job: JobKey) -> Result<Vec<Recipient>, DbError> {
    let found = recipients_of_each(conn, BTreeSet::from([job.get()]))?.pop();
    found.map(|(_, recipients)| recipients).ok_or_else(|| DbError::Corrupt(format!("job {job} is not there")))
}

/// The recipients of each of these jobs, which are at most [`AT_ONCE`], by the keys of the jobs.
pub(in crate::store) fn recipients_of_each(
    conn: &mut Conn,
    jobs: BTreeSet<i64>,
) -> Result<Vec<(i64, Vec<Recipient>)>, DbError> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = BigInt)]
        id: i64,
        #[diesel(sql_type = Nullable<Text>)]
        recipients: Option<String>,
    }
    if jobs.is_empty() {
        return Ok(Vec::new());
    }
    let sql = format!("SELECT id, recipients FROM jobs WHERE id {}", conn.is_in("$1"));
    let rows: Vec<Row> = statement(sql).bind::<Text, _>(conn.id_list(jobs)).load(conn)?;
    let recipients = |Row { id, recipients }| {
        let corrupt = |what: String| DbError::Corrupt(format!("recipients of job {id}: {what}"));
        let text: String = recipients.ok_or_else(|| corrupt("none".to_owned()))?;
        let all = contract::recipients_from_json(&text).map_err(|error| corrupt(error.to_string()))?;
        Ok((id, all))
    };
    rows.into_iter().map(recipients).collect()
}
