//! Finds who else asked for what a job gave: the claims of other jobs on its pairs.
//!
//! The table of claims has a row for each secret and each job that found access to it granted already, with a bit for
//! each of that job's recipients. The claims of a job that is undone do not count.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Binary, Nullable, Text};

use crate::contract;
use crate::db::{Conn, DbError, statement};
use crate::domain::outcome::is_among;
use crate::domain::undo::{Claim, Heirs, Undone, undo};
use crate::domain::{JobKey, Permission, PrincipalId, Recipient, SecretId, Taken};
use crate::store::codes::id;
use crate::store::vault::claims::NOT_UNDONE;
use crate::store::vault::take_back::{Pairs, Row, rows};

/// The most claims that are in memory at a time. A claim has a bit for each recipient of its job, so up to 1,250 bytes.
const PAGE: usize = 5_000;
/// The most secrets whose claims one statement looks for.
const SECRETS: usize = 2_000;
/// The most recipients of claiming jobs that are remembered.
const REMEMBERED: usize = 500_000;

#[derive(QueryableByName)]
struct ClaimRow {
    #[diesel(sql_type = BigInt)]
    secret_id: i64,
    #[diesel(sql_type = BigInt)]
    job: i64,
    #[diesel(sql_type = BigInt)]
    at: i64,
    #[diesel(sql_type = Nullable<Binary>)]
    among: Option<Vec<u8>>,
}

/// A recipient of a claiming job who is one of ours, too: the recipient's place among those of the claiming job, and
/// what that job asked for.
type Shared = (usize, PrincipalId, Permission);

/// Reads claims on the pairs of one chunk.
struct Claims<'a> {
    pairs: &'a Pairs<'a>,
    ours: BTreeSet<PrincipalId>,
    /// Of each claiming job, its recipients who are ours.
    shared: HashMap<JobKey, Arc<[Shared]>>,
    remembered: usize,
}

/// What the claims of others change in an undo of these pairs.
pub(in crate::store) struct HandOver {
    /// The rows as they are to be. The job that is undone stands in none of them any more.
    pub(in crate::store) rows: Vec<Row>,
    /// What becomes of these rows.
    pub(in crate::store) done: Taken,
    /// What would become of them if there were no claims.
    pub(in crate::store) without: Taken,
}

/// Decides what the claims of others change. Only the rows are read that somebody claims, since there may be many
/// others; `locking` is the end of the statement that locks them, or nothing. Pairs that are not in the answer are to be
/// treated as if nobody claimed them.
pub(in crate::store) fn hand_over(
    conn: &mut Conn,
    pairs: &Pairs<'_>,
    locking: &str,
) -> Result<HandOver, DbError> {
    let mut claims = Claims::new(pairs);
    let mut claimed: BTreeSet<(SecretId, PrincipalId)> = BTreeSet::new();
    claims.visit(conn, |secret, principal, _| {
        claimed.insert((secret, principal));
    })?;
    let mut over = HandOver { rows: Vec::new(), done: Taken::default(), without: Taken::default() };
    if claimed.is_empty() {
        return Ok(over);
    }
    let claimed: Vec<_> = claimed.into_iter().collect();
    let found = rows(conn, pairs.job, &claimed, locking)?;
    let mut heirs: HashMap<(SecretId, PrincipalId), (Row, Heirs)> =
        found.into_iter().map(|row| ((row.secret, row.principal), (row, Heirs::default()))).collect();
    claims.visit(conn, |secret, principal, claim| {
        if let Some((row, heirs)) = heirs.get_mut(&(secret, principal)) {
            heirs.add(&row.given, claim);
        }
    })?;
    for (row, heirs) in heirs.into_values() {
        let (with, without) =
            (undo(row.given, pairs.job, heirs), undo(row.given, pairs.job, Heirs::default()));
        if let (true, Undone::Kept(given) | Undone::Lowered(given)) = (with != without, with) {
            count(&mut over.done, with);
            count(&mut over.without, without);
            over.rows.push(Row { given, ..row });
        }
    }
    Ok(over)
}

/// Counts an outcome. What is untouched is counted by the caller, who knows how many pairs there are.
fn count(taken: &mut Taken, outcome: Undone) {
    match outcome {
        Undone::Revoked => taken.revoked += 1,
        Undone::Lowered(_) => taken.lowered += 1,
        Undone::Kept(_) => taken.kept += 1,
        Undone::Untouched => {}
    }
}

impl<'a> Claims<'a> {
    fn new(pairs: &'a Pairs<'a>) -> Self {
        let ours = pairs.recipients.iter().map(|recipient| recipient.id).collect();
        Self { pairs, ours, shared: HashMap::new(), remembered: 0 }
    }

    /// Calls `each` with every claim on every pair. The claims are read page by page, so that a secret may have any
    /// number of them.
    fn visit(
        &mut self,
        conn: &mut Conn,
        mut each: impl FnMut(SecretId, PrincipalId, &Claim),
    ) -> Result<(), DbError> {
        for secrets in self.pairs.secrets.chunks(SECRETS) {
            let mut after = (0, 0);
            loop {
                let page = self.page(conn, secrets, after)?;
                for ClaimRow { secret_id, job, at, among } in &page {
                    let (secret, job) = (id(*secret_id)?, id(*job)?);
                    for (place, principal, asked) in self.shared(conn, job)?.iter() {
                        if is_among(among.as_deref(), *place) {
                            each(secret, *principal, &Claim { job, at: *at, asked: *asked });
                        }
                    }
                }
                match page.last() {
                    Some(last) if page.len() == PAGE => after = (last.secret_id, last.job),
                    _ => break,
                }
            }
        }
        Ok(())
    }

    /// The claims of other jobs that are not undone on these secrets, in the order of their keys, behind `after`.
    fn page(
        &self,
        conn: &mut Conn,
        secrets: &[SecretId],
        after: (i64, i64),
    ) -> Result<Vec<ClaimRow>, DbError> {
        let sql = format!(
            "SELECT c.secret_id, c.job, c.at, c.among FROM claims c JOIN jobs k ON k.id = c.job \
             WHERE c.secret_id {} AND (c.secret_id, c.job) > ($2, $3) AND c.job <> $4 AND {NOT_UNDONE} \
             ORDER BY c.secret_id, c.job LIMIT {PAGE}",
            conn.is_in("$1"),
        );
        Ok(statement(sql)
            .bind::<Text, _>(conn.id_list(secrets.iter().copied()))
            .bind::<BigInt, _>(after.0)
            .bind::<BigInt, _>(after.1)
            .bind::<BigInt, _>(self.pairs.job.get())
            .load(conn)?)
    }

    /// The recipients of a claiming job who are ours, too.
    fn shared(&mut self, conn: &mut Conn, job: JobKey) -> Result<Arc<[Shared]>, DbError> {
        if let Some(shared) = self.shared.get(&job) {
            return Ok(Arc::clone(shared));
        }
        let shared: Arc<[Shared]> = recipients(conn, job)?
            .iter()
            .enumerate()
            .filter(|(_, of)| self.ours.contains(&of.id))
            .map(|(place, of)| (place, of.id, of.permission))
            .collect();
        self.remembered += shared.len();
        if self.remembered > REMEMBERED {
            self.shared.clear();
            self.remembered = shared.len();
        }
        self.shared.insert(job, Arc::clone(&shared));
        Ok(shared)
    }
}

/// The recipients of a job, in the order in which they are stored.
pub(in crate::store) fn recipients(conn: &mut Conn, job: JobKey) -> Result<Vec<Recipient>, DbError> {
    use crate::store::schema::jobs::dsl;
    let text: Option<String> = dsl::jobs.filter(dsl::id.eq(job.get())).select(dsl::recipients).first(conn)?;
    let corrupt = |what: String| DbError::Corrupt(format!("recipients of job {job}: {what}"));
    let text = text.ok_or_else(|| corrupt("none".to_owned()))?;
    contract::recipients_from_json(&text).map_err(|error| corrupt(error.to_string()))
}
