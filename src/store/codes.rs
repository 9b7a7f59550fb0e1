//! Converts values of the program into those of columns, and back.

use std::time::Duration;

use crate::db::DbError;
use crate::domain::Counts;

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
