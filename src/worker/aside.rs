//! Puts a request aside whose failure cannot even be recorded although the servers work, because somebody holds its row
//! or the row is broken. The message is not held meanwhile, since all others would wait behind it.

use std::time::Duration;

use crate::broker::Delivery;
use crate::broker::topology::HEADER_ASIDES;
use crate::consume::bury::Burial;
use crate::consume::{Outage, outage_or_own};
use crate::contract;
use crate::contract::JobRequested;
use crate::db::DbError;
use crate::domain::DeadReason;
use crate::store::Aside;

use crate::worker::state::{Worker, not_recorded};

/// After so many times a message becomes a dead letter. That takes a quarter of an hour.
const TIMES: i32 = 20;

/// How long a message is put aside: 2 s at first, then twice as long each time, and a minute at most.
fn wait(times: i32) -> Duration {
    Duration::from_secs(2_u64.pow(times.clamp(1, 6).unsigned_abs()).min(60))
}

impl Worker {
    /// Puts a request aside. Returns its dead letter if that was done too often already.
    pub(super) async fn put_aside<'a>(
        &self,
        asked: &JobRequested,
        delivery: &'a Delivery,
        failure: DbError,
    ) -> Result<Option<Burial<'a>>, Outage> {
        let failure = outage_or_own(failure)?;
        // Any publisher can write this header. They decide only what becomes of their own message.
        let before = delivery.header(HEADER_ASIDES).and_then(|times| times.parse().ok()).unwrap_or(0);
        let times = i32::max(before, 0).saturating_add(1);
        if times > TIMES {
            let detail = format!("it could not be done, nor that be recorded, {TIMES} times: {failure}");
            let (reason, job) = (DeadReason::AttemptsExhausted, Some(asked.job_id));
            return Ok(Some(Burial { delivery, reason, detail, job }));
        }
        let after = wait(times);
        let aside = Aside {
            job: asked.job_id,
            message_id: delivery.message_id.clone().unwrap_or_else(|| asked.job_id.to_string()),
            traceparent: asked.traceparent.clone().unwrap_or_else(contract::new_traceparent),
            body: delivery.body.clone(),
            times,
            after,
        };
        self.store.put_aside(aside).await.map_err(not_recorded)?;
        tracing::warn!(error = %failure, times, again_in_s = after.as_secs(), "put aside: its failure cannot be recorded");
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_minute_and_end_after_a_quarter_of_an_hour() {
        let waits: Vec<u64> = (1..=TIMES).map(|times| wait(times).as_secs()).collect();
        assert_eq!(&waits[..6], [2, 4, 8, 16, 32, 60]);
        assert!((900..1_200).contains(&waits.iter().sum::<u64>()));
    }
}
