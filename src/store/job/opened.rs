//! Opens a batch that somebody received: the secrets of which its recipient got access, or more access than before.

use diesel::prelude::*;
use diesel::sql_types::BigInt;

use crate::db::{Conn, DbError, statement};
use crate::domain::{PairOutcome, PrincipalId, SecretId};
use crate::store::codes::id;
use crate::store::job::about;
use crate::store::job::{outcomes, row};
use crate::store::people::membership::acting_as;
use crate::store::transact::Store;

/// How many pairs are in memory at once.
const PART: usize = 1_000_000;

impl Store {
    /// The secrets of an entry of what this person received, from this place in the job's list on, each with its place.
    /// `None` if the person has no such entry. Whether they can reach a secret today is not looked at.
    pub async fn received_secrets(
        &self,
        user: PrincipalId,
        entry: i64,
        from: usize,
        limit: usize,
    ) -> Result<Option<Vec<(usize, SecretId)>>, DbError> {
        self.db.read(move |conn| open(conn, user, entry, from, limit)).await
    }
}

#[derive(QueryableByName)]
struct EntryRow {
    #[diesel(sql_type = BigInt)]
    job: i64,
    #[diesel(sql_type = BigInt)]
    principal_id: i64,
}

fn open(
    conn: &mut Conn,
    user: PrincipalId,
    entry: i64,
    from: usize,
    limit: usize,
) -> Result<Option<Vec<(usize, SecretId)>>, DbError> {
    let sql = format!(
        "SELECT r.job, r.principal_id FROM ({}) AS me CROSS JOIN received r \
         WHERE r.principal_id = me.principal_id AND r.shared_by <> $1 AND r.id = $2",
        acting_as("$1"),
    );
    let query = statement(sql).bind::<BigInt, _>(user.get()).bind::<BigInt, _>(entry);
    let Some(entry) = query.get_result::<EntryRow>(conn).optional()? else { return Ok(None) };
    let job = row::read(conn, id(entry.job)?)?;
    let recipients = about::recipients(conn, &job)?;
    // Of two recipients with this id and different kinds, only the one of the right kind was given something.
    let places: Vec<usize> =
        (0..recipients.len()).filter(|place| recipients[*place].id.get() == entry.principal_id).collect();
    let (mut found, mut at) = (Vec::new(), from);
    let part = (PART / recipients.len().max(1)).max(1);
    let total = about::places(job.secrets_total);
    while at < total && found.len() < limit {
        let Some(outcomes) = outcomes::read(conn, &job, at, at + part)? else { break };
        for (place, pairs) in outcomes.chunks(recipients.len().max(1)).enumerate() {
            let given = places
                .iter()
                .any(|of| matches!(pairs.get(*of), Some(Some(PairOutcome::Granted | PairOutcome::Upgraded))));
            if given {
                found.push(at + place);
            }
        }
        at += part;
    }
    found.truncate(limit);
    let Some((first, last)) = found.first().copied().zip(found.last().copied()) else {
        return Ok(Some(Vec::new()));
    };
    let ids = about::secrets(conn, &job, first, last - first + 1)?;
    let of = |place: usize| ids.get(place - first).map(|id| (place, *id));
    Ok(Some(found.into_iter().filter_map(of).collect()))
}
