//! Keeps the parts of a job that shares what another left undone: which of its recipients each of its secrets goes to.
//! Every other job is one rectangle, and has none.

use std::sync::Arc;

use diesel::prelude::*;
use diesel::sql_types::Text;
use serde_json::{Value, json};

use crate::db::{Conn, DbError, statement};
use crate::domain::hex::hex;
use crate::domain::rest::{Part, places};
use crate::domain::{JobKey, Recipient};
use crate::store::schema::job_parts;

/// The most parts that one statement writes.
const ROWS: usize = 10_000;

/// Writes the parts of a new job.
pub(in crate::store) fn write(conn: &mut Conn, job: JobKey, parts: &[Part]) -> Result<(), DbError> {
    let columns =
        [("job", "bigint"), ("position", "integer"), ("end_position", "integer"), ("among", "text")];
    let sql = format!(
        "INSERT INTO job_parts (job, position, end_position, among) \
         SELECT o.job, o.position, o.end_position, {} FROM ({}) AS o",
        conn.bytes_of("o.among"),
        conn.each_row("$1", &columns),
    );
    for parts in parts.chunks(ROWS) {
        let row = |part: &Part| json!([job.get(), part.from, part.to, part.among.as_deref().map(hex)]);
        let rows: Value = parts.iter().map(row).collect();
        statement(sql.clone()).bind::<Text, _>(rows.to_string()).execute(conn)?;
    }
    Ok(())
}

/// Secrets at the positions up to `to`, which is not included, and the places of their recipients among the job's.
pub(in crate::store) struct Placed {
    pub(in crate::store) to: usize,
    pub(in crate::store) places: Vec<usize>,
}

/// The parts of a job that have secrets at the positions from `from` up to `to`, which is not included, in their order.
/// `recipients` is the number of the job's recipients.
pub(in crate::store) fn read(
    conn: &mut Conn,
    job: JobKey,
    recipients: usize,
    from: usize,
    to: usize,
) -> Result<Vec<Placed>, DbError> {
    let place = |position: usize| i32::try_from(position).unwrap_or(i32::MAX);
    let rows: Vec<(i32, Option<Vec<u8>>)> = job_parts::table
        .filter(job_parts::job.eq(job.get()))
        .filter(job_parts::position.lt(place(to)))
        .filter(job_parts::end_position.gt(place(from)))
        .order(job_parts::position)
        .select((job_parts::end_position, job_parts::among))
        .load(conn)?;
    let placed = |(to, among): (i32, Option<Vec<u8>>)| Placed {
        to: usize::try_from(to).unwrap_or(0),
        places: places(among.as_deref(), recipients),
    };
    Ok(rows.into_iter().map(placed).collect())
}

/// The secrets of a job from a position on that go to the same recipients.
#[derive(Debug, Clone)]
pub(in crate::store) struct Section {
    /// The position behind the last of them.
    pub(in crate::store) to: usize,
    pub(in crate::store) recipients: Arc<[Recipient]>,
    /// The places of these recipients among the job's. `None`: they are all of them.
    pub(in crate::store) places: Option<Vec<usize>>,
}

/// The secrets from the position `from` on that go to the same recipients. `parts` is the job that has the parts, if
/// there are any, and `recipients` are its recipients.
pub(in crate::store) fn section(
    conn: &mut Conn,
    parts: Option<JobKey>,
    recipients: &Arc<[Recipient]>,
    from: usize,
) -> Result<Section, DbError> {
    let Some(job) = parts else {
        return Ok(Section { to: usize::MAX, recipients: Arc::clone(recipients), places: None });
    };
    let part = read(conn, job, recipients.len(), from, from.saturating_add(1))?.pop();
    let Placed { to, places } =
        part.ok_or_else(|| DbError::Corrupt(format!("job_parts of job {job} at {from}")))?;
    let of_part = places.iter().filter_map(|place| recipients.get(*place).copied()).collect();
    Ok(Section { to, recipients: of_part, places: Some(places) })
}
