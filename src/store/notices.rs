//! Stand-in until the job store is merged.
use super::Store;
use crate::db::DbError;
use crate::domain::{Counts, FailReason, JobId, JobState, PrincipalId};

pub struct Notice {
    pub id: i64,
    pub job_id: JobId,
    pub run: i32,
    pub state: JobState,
    pub reason: Option<FailReason>,
    pub pairs: Option<u64>,
    pub counts: Counts,
    pub rejections_total: u64,
    pub created_at: i64,
    pub dismissed_at: Option<i64>,
}

impl Store {
    pub async fn notices(
        &self,
        _user: PrincipalId,
        _dismissed: bool,
        _before: Option<i64>,
        _limit: i64,
    ) -> Result<(Vec<Notice>, Option<i64>), DbError> {
        Ok((vec![], None))
    }
    pub async fn dismiss_notice(&self, _user: PrincipalId, _id: i64) -> Result<bool, DbError> {
        Ok(false)
    }
}
