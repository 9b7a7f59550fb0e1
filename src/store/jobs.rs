//! Stand-in until the job store is merged.
use super::Store;
use crate::db::DbError;
use crate::domain::event::Rejection;
use crate::domain::share::OverLimit;
use crate::domain::{JobId, JobSnapshot, Limits, PrincipalId, ShareRequest};

pub struct Submission {
    pub request: ShareRequest,
    pub idempotency_key: Option<String>,
    pub traceparent: Option<String>,
}

pub enum Submitted {
    Accepted(JobSnapshot),
    Repeated(JobSnapshot),
    KeyConflict,
    TooManyUnfinished { limit: i64 },
    NothingMatches,
    OverLimit(OverLimit),
}

impl Store {
    pub async fn submit(&self, s: Submission, l: Limits, _max: i64) -> Result<Submitted, DbError> {
        match s.request.check_limits(&l, None) {
            Err(over) => Ok(Submitted::OverLimit(over)),
            Ok(()) => Err(DbError::Corrupt("stub".into())),
        }
    }
    pub async fn job(&self, _id: JobId) -> Result<Option<JobSnapshot>, DbError> {
        Ok(None)
    }
    pub async fn jobs(
        &self,
        _by: Option<PrincipalId>,
        _before: Option<i64>,
        _limit: i64,
    ) -> Result<(Vec<JobSnapshot>, Option<i64>), DbError> {
        Ok((vec![], None))
    }
    pub async fn rejections(&self, _id: JobId, _o: i64, _l: i64) -> Result<Vec<Rejection>, DbError> {
        Ok(vec![])
    }
}
