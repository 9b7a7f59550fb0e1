//! Keeps what a job is about: its request, and the list of its secrets as it was when the job was made or begun.

use diesel::prelude::*;

use crate::contract;
use crate::db::{Conn, DbError};
use crate::domain::share::pairs_of;
use crate::domain::{JobKey, SecretId, ShareRequest};
use crate::store::codes::stored;
use crate::store::job::row::JobRow;
use crate::store::schema::{job_secrets, jobs};

/// The number of ids in one segment of a job's list. A chunk reads only the segments that it needs.
pub(in crate::store) const SEGMENT: usize = 1_000;

/// Writes the number of a job's secrets and pairs, once it is known.
pub(in crate::store) fn set_totals(
    conn: &mut Conn,
    job: JobKey,
    secrets: usize,
    recipients: usize,
) -> Result<(), DbError> {
    diesel::update(jobs::table.filter(jobs::id.eq(job.get())))
        .set((
            jobs::secrets_total.eq(i32::try_from(secrets).unwrap_or(i32::MAX)),
            jobs::pairs.eq(stored(pairs_of(secrets, recipients))),
        ))
        .execute(conn)?;
    Ok(())
}

/// Writes the list of a job's secrets.
pub(in crate::store) fn write_snapshot(
    conn: &mut Conn,
    job: JobKey,
    ids: &[SecretId],
) -> Result<(), DbError> {
    for (ids, segment) in ids.chunks(SEGMENT).zip(0_i32..) {
        diesel::insert_into(job_secrets::table)
            .values((
                job_secrets::job.eq(job.get()),
                job_secrets::segment.eq(segment),
                job_secrets::ids.eq(serde_json::json!(ids).to_string()),
            ))
            .execute(conn)?;
    }
    diesel::update(jobs::table.filter(jobs::id.eq(job.get())))
        .set(jobs::has_snapshot.eq(true))
        .execute(conn)?;
    Ok(())
}

/// The secrets in a job's list from position `from` up to position `to`, which is not included.
pub(in crate::store) fn read_snapshot(
    conn: &mut Conn,
    job: JobKey,
    from: usize,
    to: usize,
) -> Result<Vec<SecretId>, DbError> {
    let segment = |position: usize| i32::try_from(position / SEGMENT).unwrap_or(i32::MAX);
    let rows: Vec<String> = job_secrets::table
        .filter(job_secrets::job.eq(job.get()))
        .filter(job_secrets::segment.between(segment(from), segment(to.saturating_sub(1))))
        .order(job_secrets::segment)
        .select(job_secrets::ids)
        .load(conn)?;
    let mut ids: Vec<SecretId> = Vec::with_capacity(rows.len() * SEGMENT);
    for row in rows {
        let part: Vec<SecretId> =
            serde_json::from_str(&row).map_err(|error| DbError::Corrupt(format!("job_secrets: {error}")))?;
        ids.extend(part);
    }
    let skipped = from - from % SEGMENT;
    let part = ids.get(from - skipped..to - skipped);
    part.map(<[_]>::to_vec).ok_or_else(|| DbError::Corrupt(format!("job_secrets of job {job} ends early")))
}

/// The request that a job's row keeps. `None` for a job whose message could not be read.
pub(in crate::store) fn stored_request(
    conn: &mut Conn,
    row: &JobRow,
) -> Result<Option<ShareRequest>, DbError> {
    let (selection, recipients): (Option<String>, Option<String>) = jobs::table
        .filter(jobs::id.eq(row.key.get()))
        .select((jobs::selection, jobs::recipients))
        .first(conn)?;
    let corrupt = |error: contract::Invalid| DbError::Corrupt(format!("job {}: {error}", row.job_id));
    let Some((selection, recipients)) = selection.zip(recipients) else { return Ok(None) };
    Ok(Some(ShareRequest {
        kind: row.kind,
        requested_by: row.requested_by,
        selection: contract::selection_from_json(&selection).map_err(corrupt)?,
        recipients: contract::recipients_from_json(&recipients).map_err(corrupt)?,
        note: row.note.clone(),
    }))
}
