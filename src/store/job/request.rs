//! Sends the request of a job that has not begun once more.

use diesel::prelude::*;

use crate::contract;
use crate::db::{Conn, DbError};
use crate::domain::{DeadState, ShareRequest};
use crate::store::job::row::JobRow;
use crate::store::job::selection::stored_request;
use crate::store::outbox::MessageKind;
use crate::store::tx::Tx;

/// Puts the request of a job that has not begun into the outbox once more. It is the request that the row keeps, or,
/// for a job that waits for its body, the body of the dead letter that was replayed. False if there is neither.
pub(in crate::store) fn ask_again(tx: &mut Tx<'_>, row: &JobRow) -> Result<bool, DbError> {
    if let Some(request) = stored_request(tx.conn, row)? {
        request_again(tx, row, &request)?;
        return Ok(true);
    }
    let Some(body) = awaited_body(tx.conn, row)? else { return Ok(false) };
    body_again(tx, row, body);
    Ok(true)
}

/// The body of the dead letter whose replay queued this job: the job waits for that body to be delivered.
pub(in crate::store) fn awaited_body(conn: &mut Conn, row: &JobRow) -> Result<Option<Vec<u8>>, DbError> {
    use crate::store::schema::dead_letters::dsl;
    Ok(dsl::dead_letters
        .filter(dsl::job_id.eq(row.job_id.to_string()))
        .filter(dsl::run.eq(row.run - 1))
        .filter(dsl::state.eq(DeadState::Replayed.as_str()))
        .order(dsl::id.desc())
        .select(dsl::body)
        .first(conn)
        .optional()?)
}

/// Puts this request of a job that has not begun into the outbox once more.
pub(in crate::store) fn request_again(
    tx: &mut Tx<'_>,
    row: &JobRow,
    request: &ShareRequest,
) -> Result<(), DbError> {
    let body = contract::encode_request(row.job_id, request, &row.traceparent, tx.now()?);
    body_again(tx, row, body);
    Ok(())
}

/// Puts a stored body into the outbox, unchanged, as the request of a job that has not begun.
pub(in crate::store) fn body_again(tx: &mut Tx<'_>, row: &JobRow, body: Vec<u8>) {
    let message_id = contract::request_message_id(row.job_id, row.run);
    tx.send(MessageKind::Request, message_id, &row.traceparent, body, row.key, None);
}
