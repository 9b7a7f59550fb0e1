//! Finds who else asked for what a job gave: the claims of other jobs on its pairs.
//!
//! The table of claims has a row for each secret and each job that found access to it granted already, with a bit for
//! each of that job's recipients. The claims of a job that is undone do not count.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Binary, Nullable, Text};

use crate::db::{Conn, DbError, statement};
use crate::domain::outcome::is_among;
use crate::domain::undo::{Claim, Heirs, Undone, stand_in, undo};
use crate::domain::undo_outcome::UndoOutcome;
use crate::domain::unshare::Pair;
use crate::domain::{JobKey, Permission, PrincipalId, Recipient, SecretId, Taken};
use crate::store::codes::id;
use crate::store::vault::claims::{AT_ONCE, NOT_UNDONE, recipients_of_each};
use crate::store::vault::take_back::{Pairs, Row, all_rows, rows};

/// The most claims that are read at a time, and the most that stay in memory. A claim has a bit for each recipient of
/// its job, so up to 1,250 bytes.
const PAGE: usize = 5_000;
/// The most secrets whose claims one statement looks for.
const SECRETS: usize = 2_000;
/// How many recipients of claiming jobs are remembered before they are forgotten.
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
    /// Of each claiming job, by its key, its recipients who are ours.
    shared: HashMap<i64, Vec<Shared>>,
    remembered: usize,
    /// All claims on the pairs, once they were read and are so few that they can stay in memory.
    all: Option<Vec<ClaimRow>>,
}

/// What the claims of others change in an undo of these pairs.
#[derive(Default)]
pub(in crate::store) struct HandOver {
    /// The rows that have to be written, as they are to be. The job that is undone stands in none of them any more.
    pub(in crate::store) rows: Vec<Row>,
    /// The pairs whose rows stay as they are, since an heir stands in for the job in them.
    pub(in crate::store) kept: Vec<(SecretId, PrincipalId)>,
    /// The heir of each secret that has such pairs.
    pub(in crate::store) heirs: Vec<(SecretId, JobKey)>,
    /// What becomes of all these rows.
    pub(in crate::store) done: Taken,
    /// The same, pair by pair.
    pub(in crate::store) told: Vec<(Pair, UndoOutcome)>,
    /// What would become of them if there were no claims.
    pub(in crate::store) without: Taken,
}

/// Decides what the claims of others change. Only the rows are read that somebody claims, since there may be many
/// others; `grants` is the table, or a subquery in its place. `locking` is the end of the statement that locks the rows
/// that are to be written, or nothing. Pairs that are not in the answer are to be treated as if nobody claimed them.
///
/// The other rows are not locked. Since the secrets are, such a row can only become one of edit by another job meanwhile,
/// and then the heir stands in for the job in the view below it.
pub(in crate::store) fn hand_over(
    conn: &mut Conn,
    pairs: &Pairs<'_>,
    grants: &str,
    locking: &str,
) -> Result<HandOver, DbError> {
    let mut claims = Claims::new(pairs);
    let mut claimed: BTreeSet<(SecretId, PrincipalId)> = BTreeSet::new();
    claims.visit(conn, |secret, principal, _| {
        claimed.insert((secret, principal));
    })?;
    let mut over = HandOver::default();
    if claimed.is_empty() {
        return Ok(over);
    }
    let found = claimed_rows(conn, pairs, claimed, grants)?;
    let mut write = Vec::new();
    let mut kept: BTreeMap<SecretId, Vec<Changed>> = BTreeMap::new();
    for changed in claims.changed(conn, found)? {
        match stand_in(&changed.before.given, &changed.after.given, pairs.job) {
            Some(_) => kept.entry(changed.before.secret).or_default().push(changed),
            None => write.push((changed.before.secret, changed.before.principal)),
        }
    }
    for (secret, changed) in kept {
        let heir = |of: &Changed| stand_in(&of.before.given, &of.after.given, pairs.job);
        let Some(most) = most_frequent(changed.iter().filter_map(heir)) else { continue };
        over.heirs.push((secret, most));
        for of in changed {
            let pair = (of.before.secret, of.before.principal);
            if heir(&of) == Some(most) {
                over.count(&of);
                over.kept.push(pair);
            } else {
                write.push(pair);
            }
        }
    }
    if !write.is_empty() {
        write.sort_unstable();
        let found = rows(conn, pairs.job, &write, grants, locking)?;
        for changed in claims.changed(conn, found)? {
            over.count(&changed);
            over.rows.push(changed.after);
        }
    }
    Ok(over)
}

/// Reads the rows of these pairs that the job gave all or a part of, and maybe more of its rows. Where most of a rectangle
/// is claimed, it is read as ranges of the index, which is faster than a look-up for each pair.
fn claimed_rows(
    conn: &mut Conn,
    pairs: &Pairs<'_>,
    claimed: BTreeSet<(SecretId, PrincipalId)>,
    grants: &str,
) -> Result<Vec<Row>, DbError> {
    let secrets: BTreeSet<SecretId> = claimed.iter().map(|(secret, _)| *secret).collect();
    let principals: BTreeSet<PrincipalId> = claimed.iter().map(|(_, principal)| *principal).collect();
    let claimed: Vec<_> = claimed.into_iter().collect();
    if secrets.len() * principals.len() > 2 * claimed.len() {
        return rows(conn, pairs.job, &claimed, grants, "");
    }
    let secrets: Vec<SecretId> = secrets.into_iter().collect();
    let recipients: Vec<Recipient> =
        pairs.recipients.iter().filter(|of| principals.contains(&of.id)).copied().collect();
    let pairs = Pairs { job: pairs.job, secrets: &secrets, recipients: &recipients };
    all_rows(conn, &pairs, grants)
}

/// A row that becomes something else because of a claim.
struct Changed {
    before: Row,
    after: Row,
    with: Undone,
    without: Undone,
}

impl HandOver {
    fn count(&mut self, changed: &Changed) {
        let told =
            if matches!(changed.with, Undone::Kept(_)) { UndoOutcome::Kept } else { UndoOutcome::Lowered };
        self.told.push(((changed.before.secret, changed.before.principal), told));
        count(&mut self.done, changed.with);
        count(&mut self.without, changed.without);
    }
}

/// The job that comes most often. Of two that come as often, it is the one with the lower key.
fn most_frequent(jobs: impl Iterator<Item = JobKey>) -> Option<JobKey> {
    let mut times: BTreeMap<JobKey, usize> = BTreeMap::new();
    jobs.for_each(|job| *times.entry(job).or_default() += 1);
    times.into_iter().rev().max_by_key(|(_, times)| *times).map(|(job, _)| job)
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
        Self { pairs, ours, shared: HashMap::new(), remembered: 0, all: None }
    }

    /// Those of these rows that become something else because somebody claims them.
    fn changed(&mut self, conn: &mut Conn, rows: Vec<Row>) -> Result<Vec<Changed>, DbError> {
        let job = self.pairs.job;
        let mut heirs: HashMap<(SecretId, PrincipalId), (Row, Heirs)> =
            rows.into_iter().map(|row| ((row.secret, row.principal), (row, Heirs::default()))).collect();
        self.visit(conn, |secret, principal, claim| {
            if let Some((row, heirs)) = heirs.get_mut(&(secret, principal)) {
                heirs.add(&row.given, claim);
            }
        })?;
        let changed = heirs.into_values().filter_map(|(before, heirs)| {
            let (with, without) = (undo(before.given, job, heirs), undo(before.given, job, Heirs::default()));
            match with {
                Undone::Kept(given) | Undone::Lowered(given) if with != without => {
                    Some(Changed { before, after: Row { given, ..before }, with, without })
                }
                _ => None,
            }
        });
        Ok(changed.collect())
    }

    /// Calls `each` with every claim on every pair. The claims are read page by page, so that a secret may have any
    /// number of them.
    fn visit(
        &mut self,
        conn: &mut Conn,
        mut each: impl FnMut(SecretId, PrincipalId, &Claim),
    ) -> Result<(), DbError> {
        if let Some(all) = self.all.take() {
            self.tell(conn, &all, &mut each)?;
            self.all = Some(all);
            return Ok(());
        }
        let mut all = Some(Vec::new());
        for secrets in self.pairs.secrets.chunks(SECRETS) {
            let mut after = (0, 0);
            loop {
                let page = self.page(conn, secrets, after)?;
                self.tell(conn, &page, &mut each)?;
                let next = page.last().filter(|_| page.len() == PAGE).map(|last| (last.secret_id, last.job));
                match &mut all {
                    Some(rows) if rows.len() + page.len() <= PAGE => rows.extend(page),
                    _ => all = None,
                }
                match next {
                    Some(last) => after = last,
                    None => break,
                }
            }
        }
        self.all = all;
        Ok(())
    }

    /// Calls `each` with every pair of these claims.
    fn tell(
        &mut self,
        conn: &mut Conn,
        claims: &[ClaimRow],
        each: &mut impl FnMut(SecretId, PrincipalId, &Claim),
    ) -> Result<(), DbError> {
        for some in claims.chunks(AT_ONCE) {
            self.remember(conn, some)?;
            for ClaimRow { secret_id, job, at, among } in some {
                let (secret, claimant) = (id(*secret_id)?, id(*job)?);
                for (place, principal, asked) in self.shared.get(job).into_iter().flatten() {
                    if is_among(among.as_deref(), *place) {
                        each(secret, *principal, &Claim { job: claimant, at: *at, asked: *asked });
                    }
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

    /// Reads the recipients of the jobs of these claims who are ours, too, unless they are known.
    fn remember(&mut self, conn: &mut Conn, claims: &[ClaimRow]) -> Result<(), DbError> {
        if self.remembered > REMEMBERED {
            self.shared.clear();
            self.remembered = 0;
        }
        let unknown =
            claims.iter().map(|claim| claim.job).filter(|job| !self.shared.contains_key(job)).collect();
        for (job, recipients) in recipients_of_each(conn, unknown)? {
            let shared: Vec<Shared> = recipients
                .iter()
                .enumerate()
                .filter(|(_, of)| self.ours.contains(&of.id))
                .map(|(place, of)| (place, of.id, of.permission))
                .collect();
            self.remembered += shared.len();
            self.shared.insert(job, shared);
        }
        Ok(())
    }
}
