//! Reads the database's clock, and knows the unit of the times that are stored.
//!
//! All times of jobs, leases and retries are by this clock, since the clocks of the processes may be hours apart.

use diesel::prelude::*;
use diesel::sql_types::BigInt;

use crate::db::{Conn, DbError, statement};

/// Milliseconds since 1970 by the database's clock.
pub(in crate::store) fn now(conn: &mut Conn) -> Result<i64, DbError> {
    Ok(statement("SELECT now_ms() AS now").get_result::<Now>(conn)?.now)
}

/// Microseconds since 1970 by the database's clock. Most callers want [`crate::store::tx::Tx::now_us`], which never goes
/// back.
pub(in crate::store) fn now_us(conn: &mut Conn) -> Result<i64, DbError> {
    Ok(statement("SELECT now_us() AS now").get_result::<Now>(conn)?.now)
}

/// The time that a statement returns beside its other columns, in the unit of the function that the statement calls.
#[derive(QueryableByName)]
pub(in crate::store) struct Now {
    #[diesel(sql_type = BigInt)]
    pub(in crate::store) now: i64,
}

/// `grants.granted_at` is in microseconds. Rows that the release before has written are in milliseconds: those are the
/// values below this one, which is a time in the year 5138 if it is milliseconds, and one in 1973 if it is microseconds.
const FIRST_MICROS: i64 = 100_000_000_000_000;

/// A stored time of a grant in microseconds, whichever unit it is stored in.
pub(in crate::store) fn micros(stored: i64) -> i64 {
    if stored < FIRST_MICROS { stored.saturating_mul(1_000) } else { stored }
}

/// A stored time of a grant in milliseconds, whichever unit it is stored in.
pub(in crate::store) fn millis_of(stored: i64) -> i64 {
    if stored < FIRST_MICROS { stored } else { stored / 1_000 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_the_same_in_either_unit() {
        for ms in [0, 1, 1_700_000_000_000, FIRST_MICROS / 1_000] {
            assert_eq!(micros(ms), ms * 1_000);
            assert_eq!(millis_of(ms), ms);
        }
        for us in [FIRST_MICROS, 1_700_000_000_000_999] {
            assert_eq!(micros(us), us);
            assert_eq!(millis_of(us), us / 1_000);
        }
    }
}
