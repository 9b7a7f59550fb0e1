//! Imports a file of people, groups and secrets in one transaction.
//!
//! The lines may be in any order. They are written in batches while they are read, so the memory that an import needs
//! is that of one batch, and 16 bytes for the id of each line and of each user that is referred to. Some things are
//! known only at the end of the file: the line of a member may come later, and a username may pass from one person to
//! another. These are checked at the end of the transaction. If anything is wrong, the error names a line and nothing
//! is changed.

use std::collections::HashMap;
use std::io::BufRead;

use diesel::sql_types::BigInt;
use diesel::{RunQueryDsl, sql_query};

use crate::db::{Conn, DbError, Flow};
use crate::domain::Actor;
use crate::domain::import::ImportLine;
use crate::store::audit::entry::Entry;
use crate::store::audit::write as audit;
use crate::store::people::import::batch::Batch;
use crate::store::people::import::kinds::ImportError;
use crate::store::people::import::kinds::Imported;
use crate::store::people::import::kinds::Numbered;
use crate::store::people::import::kinds::Sealer;
use crate::store::people::import::lines::Lines;
use crate::store::people::import::unsettled::Unsettled;
use crate::store::transact::Store;

impl Store {
    /// Imports JSON Lines in one transaction, as the operator. A line replaces the row with its id, members and tags included, so the
    /// same file can be imported again. A line of a secret without a client secret keeps the client secret that the
    /// row has. Two lines with the same id are refused, since it is not clear which of them counts. Blank lines are
    /// skipped.
    ///
    /// # Errors
    /// The first line that is wrong and why, or an error of reading or of the database. Nothing was changed.
    pub async fn import(
        &self,
        lines: impl BufRead + Send + 'static,
        sealer: Option<Sealer>,
    ) -> Result<Imported, ImportError> {
        self.in_one_transaction(move |conn| run(conn, Lines::new(lines), sealer, Actor::Operator)).await
    }

    /// Does what [`Store::import`] does with these lines, but only if there is no principal and no secret yet.
    /// Otherwise nothing is changed, and the answer is `None`. The audit says that nobody did it, since the program does
    /// so by itself.
    ///
    /// # Errors
    /// The errors are those of [`Store::import`].
    pub async fn import_if_empty(
        &self,
        lines: impl IntoIterator<Item = ImportLine> + Send + 'static,
        sealer: Option<Sealer>,
    ) -> Result<Option<Imported>, ImportError> {
        self.in_one_transaction(move |conn| {
            take_turns(conn)?;
            if !is_empty(conn)? {
                return Ok(None);
            }
            run(conn, (1..).zip(lines).map(Ok), sealer, Actor::Nobody).map(Some)
        })
        .await
    }

    async fn in_one_transaction<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Conn) -> Result<T, ImportError> + Send + 'static,
    ) -> Result<T, ImportError> {
        self.db
            .unhurried()
            .write_or_not(move |conn| match work(conn) {
                Ok(value) => Ok(Flow::Commit(Ok(value))),
                Err(ImportError::Db(error)) => Err(error),
                Err(refused) => Ok(Flow::Rollback(Err(refused))),
            })
            .await?
    }
}

#[derive(diesel::QueryableByName)]
struct AnyId {
    #[diesel(sql_type = BigInt, column_name = id)]
    _id: i64,
}

/// Whether there is no principal and no secret.
fn is_empty(conn: &mut Conn) -> Result<bool, DbError> {
    let any = "SELECT id FROM principals UNION ALL SELECT id FROM secrets LIMIT 1";
    Ok(sql_query(any).load::<AnyId>(conn)?.is_empty())
}

/// Waits until no other import is under way. Two imports at the same time would lock each other's rows in different
/// orders. On SQLite there is only one write transaction at a time anyway.
fn take_turns(conn: &mut Conn) -> Result<(), DbError> {
    conn.lock_number_unhurried(7_220_231)
}

fn run(
    conn: &mut Conn,
    lines: impl Iterator<Item = Numbered>,
    sealer: Option<Sealer>,
    by: Actor,
) -> Result<Imported, ImportError> {
    take_turns(conn)?;
    let mut importer = Importer {
        sealer,
        batch: Batch::default(),
        open: Unsettled::default(),
        ids: Ids::default(),
        imported: Imported::default(),
    };
    for line in lines {
        let (number, line) = line?;
        importer.take(conn, number, &line)?;
    }
    importer.batch.flush(conn, &mut importer.open)?;
    importer.open.check(conn)?;
    let imported = importer.imported;
    if imported.lines() > 0 {
        let Imported { users, user_groups, personal_groups, secrets } = imported;
        audit::write(conn, &Entry::ImportDone { by, users, user_groups, personal_groups, secrets })?;
    }
    Ok(imported)
}

struct Importer {
    sealer: Option<Sealer>,
    batch: Batch,
    open: Unsettled,
    ids: Ids,
    imported: Imported,
}

/// The ids of the lines that were read so far, each with the number of its line.
#[derive(Default)]
struct Ids {
    principals: HashMap<i64, u64>,
    secrets: HashMap<i64, u64>,
}

impl Ids {
    fn take(&mut self, number: u64, line: &ImportLine) -> Result<(), ImportError> {
        let (ids, id) = match line {
            ImportLine::User(user) => (&mut self.principals, user.id.get()),
            ImportLine::UserGroup(group) => (&mut self.principals, group.id.get()),
            ImportLine::PersonalGroup(group) => (&mut self.principals, group.id.get()),
            ImportLine::Secret(secret) => (&mut self.secrets, secret.id.get()),
        };
        match ids.insert(id, number) {
            None => Ok(()),
            Some(first) => Err(ImportError::line(number, format!("id {id} is that of line {first} already"))),
        }
    }
}

impl Importer {
    fn take(&mut self, conn: &mut Conn, number: u64, line: &ImportLine) -> Result<(), ImportError> {
        self.ids.take(number, line)?;
        if self.batch.is_full() || self.batch.overlaps(line) {
            self.batch.flush(conn, &mut self.open)?;
        }
        match line {
            ImportLine::User(user) => {
                self.batch.add_user(number, user);
                self.imported.users += 1;
            }
            ImportLine::UserGroup(group) => {
                self.open.refer(number, group.members.iter());
                self.batch.add_user_group(number, group);
                self.imported.user_groups += 1;
            }
            ImportLine::PersonalGroup(group) => {
                self.open.refer(number, group.members.iter().chain([&group.owner]));
                self.batch.add_personal_group(number, group);
                self.imported.personal_groups += 1;
            }
            ImportLine::Secret(secret) => {
                self.open.refer(number, [&secret.owner]);
                let sealed = match (&secret.client_secret, &self.sealer) {
                    (None, _) => None,
                    (Some(_), None) => return Err(ImportError::NoKey { line: number }),
                    (Some(value), Some(seal)) => {
                        Some(seal(secret.id, value).map_err(|problem| ImportError::line(number, problem))?)
                    }
                };
                self.batch.add_secret(number, secret, sealed);
                self.imported.secrets += 1;
            }
        }
        Ok(())
    }
}
