//! Foresees what a share would do, without doing it.
//!
//! It reads the facts that a worker would read, makes the same plans of them, and counts what applying these would do. All
//! of it is seen as it was at one moment, so the preview is what the job would do if nothing happened before it.

use std::time::{Duration, Instant};

use crate::contract;
use crate::db::{Conn, DbError};
use crate::domain::foresight::{Foresight, SharePreview};
use crate::domain::plan::{Plan, plan};
use crate::domain::share::OverLimit;
use crate::domain::{JobId, Limits, PrincipalId, Selection, ShareRequest};
use crate::store::job::taking::PREVIEW_PAIRS;
use crate::store::people::reached;
use crate::store::transact::Store;
use crate::store::vault::facts::Asked;
use crate::store::vault::secrets::shareable;
use crate::store::vault::{facts, foresee};

/// The answer to who wants to know what a share would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ShareForeseen {
    Preview(SharePreview),
    /// The request is about all secrets that match its filter, and no secret that the person may share matches.
    NothingMatches,
    /// The request, or the message that it would become, is larger than the configuration allows.
    OverLimit(OverLimit),
    /// The person may not act, so the job would fail.
    RequesterNotValid,
}

impl Store {
    /// Counts what a share would do if it ran now, by the same rules. Nothing is locked or written. It looks for as long
    /// as `within` says (a single statement may take that long once more), and then tells what it has seen.
    pub async fn foresee_share(
        &self,
        request: ShareRequest,
        limits: Limits,
        within: Duration,
    ) -> Result<ShareForeseen, DbError> {
        if let Err(over) = request.check_limits(&limits, None) {
            return Ok(ShareForeseen::OverLimit(over));
        }
        self.db
            .read_snapshot(within, move |conn| {
                let look = Look { request: &request, limits: &limits, end: Instant::now() + within };
                let mut preview =
                    SharePreview { recipients: request.recipients.len() as u64, ..SharePreview::default() };
                match look.at(conn, &mut preview) {
                    Ok(None) => Ok(ShareForeseen::Preview(preview)),
                    Ok(Some(refused)) => Ok(refused),
                    // What was seen before this statement is certain.
                    Err(error) if error.is_timeout() => Ok(ShareForeseen::Preview(preview)),
                    Err(error) => Err(error),
                }
            })
            .await
    }

    /// Whether a request of this person came with this idempotency key before.
    pub async fn is_key_used(&self, person: PrincipalId, key: String) -> Result<bool, DbError> {
        use crate::store::schema::jobs;
        use diesel::prelude::*;
        self.db
            .read(move |conn| {
                let used = jobs::table
                    .filter(jobs::requested_by.eq(person.get()))
                    .filter(jobs::idempotency_key.eq(key));
                Ok(diesel::select(diesel::dsl::exists(used)).get_result(conn)?)
            })
            .await
    }
}

/// A look at a request, which ends in time.
struct Look<'a> {
    request: &'a ShareRequest,
    limits: &'a Limits,
    end: Instant,
}

impl Look<'_> {
    /// Whether there is time for another statement, which then takes no longer than what is left.
    fn has_time(&self, conn: &mut Conn) -> Result<bool, DbError> {
        let left = self.end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(false);
        }
        conn.limit_statements(left)?;
        Ok(true)
    }

    /// Looks at the pairs, part by part, until there is no time left. What it finds is in `preview` at any time. Returns
    /// why the request is refused, if it is.
    fn at(&self, conn: &mut Conn, preview: &mut SharePreview) -> Result<Option<ShareForeseen>, DbError> {
        let Self { request, limits, .. } = *self;
        let (requester, recipients) = (request.requested_by, &request.recipients[..]);
        preview.secrets = request.secrets_named().map(|secrets| secrets as u64);
        if !facts::requester_valid(conn, requester)? {
            return Ok(Some(ShareForeseen::RequesterNotValid));
        }
        let matched;
        let (secrets, count) = match &request.selection {
            Selection::Ids(ids) => (ids, ids.len()),
            Selection::All(filter) => {
                matched = shareable(conn, requester, filter, limits.secrets)?;
                (&matched.ids, matched.count)
            }
        };
        if count == 0 {
            return Ok(Some(ShareForeseen::NothingMatches));
        }
        preview.secrets = Some(count as u64);
        let fits = request.check_limits(limits, Some(count));
        if let Err(over) = fits.and_then(|()| limits.check_message(message_bytes(request))) {
            return Ok(Some(ShareForeseen::OverLimit(over)));
        }
        let mut sum = Foresight::default();
        for part in secrets.chunks((PREVIEW_PAIRS / recipients.len().max(1)).max(1)) {
            if !self.has_time(conn)? {
                return Ok(None);
            }
            let about = Asked { requester, secrets: part, recipients };
            let facts = facts::read(conn, &[about])?.pop().unwrap_or_default();
            let Plan::Apply(chunk) = plan(part, recipients, &facts) else {
                return Ok(Some(ShareForeseen::RequesterNotValid));
            };
            sum.add(&chunk, foresee::counts(conn, &chunk)?);
            preview.counts = sum.counts;
            preview.rejections = sum.first_rejections();
            preview.rejections_total = sum.rejections_total();
        }
        if self.has_time(conn)? {
            let reached: Vec<_> = sum.reached(recipients).collect();
            preview.people = Some(reached::people(conn, &reached)?);
            preview.exact = true;
        }
        Ok(None)
    }
}

/// The size of the message that the request would become. Its time has a few digits more or less when it is written.
fn message_bytes(request: &ShareRequest) -> usize {
    contract::encode_request(JobId::generate(), request, &contract::new_traceparent(), 0).len()
}
