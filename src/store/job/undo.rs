//! A stand-in for the undo of a job, which is built on a branch of its own and replaces this file.

use crate::db::DbError;
use crate::domain::{JobId, PrincipalId};
use crate::store::job::begin::BeginOptions;
use crate::store::transact::Store;

/// What became of an order to undo a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ordered {
    /// The undo is a job now, or was one before.
    Done,
    /// There is no such job, or this person did not ask for it. Nothing was changed.
    UnknownJob,
    /// A job with the id of this order was requested with other content. Nothing was changed.
    Conflict,
    /// Nothing can be undone yet. Nothing was changed.
    NotReady,
}

impl Store {
    /// Stands in for the undo by message: it knows no job.
    pub async fn order_undo(
        &self,
        _undo: JobId,
        _parent: JobId,
        _requested_by: PrincipalId,
        _traceparent: Option<String>,
        _options: BeginOptions,
    ) -> Result<Ordered, DbError> {
        Ok(Ordered::UnknownJob)
    }
}
