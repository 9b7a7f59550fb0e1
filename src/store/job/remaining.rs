//! Lists who still has access to the secrets of a job that took access away, and why.

use std::time::{Duration, Instant};

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};

use crate::db::{Conn, DbError, statement};
use crate::domain::access::Access;
use crate::domain::{JobId, PrincipalId, PrincipalKind, Reach, SecretId};
use crate::store::codes::id;
use crate::store::job::about;
use crate::store::people::membership::{acting_as, may_act};
use crate::store::transact::Store;
use crate::store::vault::secret::reach_of;
use crate::store::vault::why::{Explained, explain};

/// A page ends when it took this long, however few lines it has: most secrets of a large job may have nobody left.
const TIME: Duration = Duration::from_secs(1);
/// How many secrets are read at once.
const PART: usize = 100;

/// Where a page begins: at the secret at this place of the job's list, behind the person with this id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LeftCursor {
    pub place: usize,
    /// 0 stands before everybody.
    pub after: i64,
}

/// A person who still has access to a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Left {
    pub secret: SecretId,
    pub user: PrincipalId,
    pub access: Access,
}

impl Store {
    /// The people among the job's recipients, and among the members of its groups, who still have access to its secrets,
    /// secret by secret and in the order of their ids. Secrets that the reader may not edit are passed over, because the
    /// reader may not know who has access to them. Also returns where the next page begins: a page has at most `limit`
    /// lines, and may have fewer, or none, before the last.
    ///
    /// The list is empty if there is no such job, or if its request could not be read.
    pub async fn access_left(
        &self,
        reader: PrincipalId,
        job: JobId,
        from: LeftCursor,
        limit: usize,
    ) -> Result<(Vec<Left>, Option<LeftCursor>), DbError> {
        self.db.read(move |conn| left(conn, reader, job, from, limit)).await
    }
}

fn left(
    conn: &mut Conn,
    reader: PrincipalId,
    job: JobId,
    from: LeftCursor,
    limit: usize,
) -> Result<(Vec<Left>, Option<LeftCursor>), DbError> {
    let began = Instant::now();
    let mut lines = Vec::new();
    let Some((_, asked)) = about::asked(conn, job)? else { return Ok((lines, None)) };
    let recipients = about::recipients(conn, &asked)?;
    let ids =
        |kinds: fn(PrincipalKind) -> bool| recipients.iter().filter(move |of| kinds(of.kind)).map(|of| of.id);
    let users = conn.id_list(ids(|kind| kind == PrincipalKind::User));
    let groups = conn.id_list(ids(|kind| kind != PrincipalKind::User));
    let mut at = from;
    loop {
        let part = about::secrets(conn, &asked, at.place, PART)?;
        let whole = part.len() == PART;
        for secret in part {
            if began.elapsed() > TIME {
                return Ok((lines, Some(at)));
            }
            let seen = reach_of(conn, reader, secret)?.is_some_and(Reach::may_edit);
            let wanted = if seen { limit - lines.len() + 1 } else { 0 };
            for user in people(conn, secret, &users, &groups, at.after, wanted)? {
                if lines.len() == limit {
                    return Ok((lines, Some(at)));
                }
                if let Explained::Access(access) = explain(conn, Some(reader), secret, user)? {
                    lines.push(Left { secret, user, access });
                }
                at.after = user.get();
            }
            at = LeftCursor { place: at.place + 1, after: 0 };
        }
        if !whole {
            return Ok((lines, None));
        }
    }
}

#[derive(QueryableByName)]
struct Person {
    #[diesel(sql_type = BigInt)]
    id: i64,
}

/// The people behind `after` who are asked about and have access to the secret, in the order of their ids. It costs some
/// look-ups by key for each of them, whatever others have access.
fn people(
    conn: &mut Conn,
    secret: SecretId,
    users: &str,
    groups: &str,
    after: i64,
    limit: usize,
) -> Result<Vec<PrincipalId>, DbError> {
    if limit == 0 {
        return Ok(Vec::new());
    }
    let sql = format!(
        "SELECT p.id FROM (SELECT u.id FROM ({users}) AS u UNION \
         SELECT m.user_id FROM ({groups}) AS o JOIN members m ON m.group_id = o.id) AS n \
         JOIN principals p ON p.id = n.id JOIN secrets s ON s.id = $3 \
         WHERE p.id > $4 AND {may_act} AND (s.owner_id = p.id OR EXISTS (SELECT 1 FROM ({acting}) AS me \
         CROSS JOIN grants g WHERE g.secret_id = s.id AND g.principal_id = me.principal_id)) \
         ORDER BY p.id LIMIT $5",
        users = conn.each_id("$1"),
        groups = conn.each_id("$2"),
        may_act = may_act("p"),
        acting = acting_as("p.id"),
    );
    let rows: Vec<Person> = statement(sql)
        .bind::<Text, _>(users)
        .bind::<Text, _>(groups)
        .bind::<BigInt, _>(secret.get())
        .bind::<BigInt, _>(after)
        .bind::<BigInt, _>(i64::try_from(limit).unwrap_or(i64::MAX))
        .load(conn)?;
    rows.into_iter().map(|row| id(row.id)).collect()
}
