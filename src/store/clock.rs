//! Reads the database's clock.
//!
//! All times of jobs, leases and retries are by this clock, since the clocks of the processes may be hours apart.

use diesel::prelude::*;
use diesel::sql_types::BigInt;

use crate::db::{Conn, DbError, statement};

/// Milliseconds since 1970 by the database's clock.
pub(in crate::store) fn now(conn: &mut Conn) -> Result<i64, DbError> {
    Ok(statement("SELECT now_ms() AS now").get_result::<Now>(conn)?.now)
}

/// The time that a statement returns beside its other columns.
#[derive(QueryableByName)]
pub(in crate::store) struct Now {
    #[diesel(sql_type = BigInt)]
    pub(in crate::store) now: i64,
}
