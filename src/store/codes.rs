//! Converts values of the program into those of columns, and back.

use std::time::Duration;

use crate::db::DbError;
use crate::domain::{Counts, EndedBy, Taken};

/// A stored id as a value of its type. A number that cannot be an id is reported as corrupt data.
pub(in crate::store) fn id<T: TryFrom<i64, Error = String>>(number: i64) -> Result<T, DbError> {
    T::try_from(number).map_err(DbError::Corrupt)
}

/// A duration in milliseconds, as the database keeps it.
pub(in crate::store) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// Stored counts as [`Counts`].
#[allow(clippy::cast_sign_loss)] // the store writes these columns, from numbers of rows
pub(in crate::store) fn counts(granted: i64, upgraded: i64, unchanged: i64, rejected: i64) -> Counts {
    Counts {
        granted: granted as u64,
        upgraded: upgraded as u64,
        unchanged: unchanged as u64,
        rejected: rejected as u64,
    }
}

/// A number of rows as the database keeps it. The limits on requests keep it far below the largest number that fits.
pub(in crate::store) fn stored(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Stored counts of a job that takes access away, as [`Taken`]. They are null where the job is a share.
#[allow(clippy::cast_sign_loss)] // the store writes these columns, from numbers of rows
pub(in crate::store) fn taken(
    revoked: Option<i64>,
    lowered: Option<i64>,
    kept: Option<i64>,
    untouched: Option<i64>,
) -> Taken {
    let count = |stored: Option<i64>| stored.unwrap_or(0) as u64;
    Taken { revoked: count(revoked), lowered: count(lowered), kept: count(kept), untouched: count(untouched) }
}

/// The number that `jobs.ended_by` has for the operator.
const OPERATOR: i64 = 0;

/// Who ended a job, from the column.
pub(in crate::store) fn ended_by(stored: Option<i64>) -> Result<Option<EndedBy>, DbError> {
    Ok(match stored {
        None => None,
        Some(OPERATOR) => Some(EndedBy::Operator),
        Some(person) => Some(EndedBy::Person(id(person)?)),
    })
}

/// Who ended a job, for the column.
pub(in crate::store) fn stored_ender(by: EndedBy) -> i64 {
    match by {
        EndedBy::Operator => OPERATOR,
        EndedBy::Person(person) => person.get(),
    }
}
