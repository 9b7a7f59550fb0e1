//! Cancels, undos and unshares, over HTTP and by message.

use batchshare::contract;
use batchshare::domain::{EndedBy, JobId};
use batchshare::store::{UndoBy, UndoOrder};
use serde_json::json;

use super::company::{Id, REQUESTERS};
use super::site::{Mistake, Site};
use super::story::Story;
use super::watch::{Seen, Wrong};
use crate::world::principal;

impl Story {
    /// Somebody cancels a job, undoes one, or takes access away.
    pub(super) async fn order(&mut self, process: usize) -> Result<(), Wrong> {
        let what = self.dice.roll(10);
        if what < 2 {
            let mut wish = self.wish();
            wish.takes = true;
            let http = self.dice.percent(50);
            return self.request(process, wish, http).await;
        }
        let undoes = what < 7;
        let Some((job, requester)) = self.subject(undoes) else { return Ok(()) };
        // By message it may be an order about a job that is not there yet, which waits until due work looks for it. So is
        // one about the job of somebody else.
        if self.site.options.due_work && self.dice.percent(10) {
            let stranger = if self.dice.percent(50) { 3 - requester } else { 5 };
            let body = message(JobId::generate(), stranger, job, undoes);
            self.strange.insert(body.clone());
            self.site.publish(body.into_bytes()).await;
            return Ok(());
        }
        let there = self.site.watch.key_of(&job.to_string()).is_some();
        if there && self.dice.percent(50) {
            return self.order_here(process, job, requester, undoes).await;
        }
        let id = JobId::generate();
        let body = message(id, requester, job, undoes);
        if undoes {
            self.site.watch.to_undo.insert(id.to_string(), job.to_string());
        } else {
            self.site.watch.to_cancel.insert(job.to_string());
        }
        self.ordered.insert(body.clone(), undoes.then(|| id.to_string()));
        self.site.publish(body.into_bytes()).await;
        Ok(())
    }

    /// The same over HTTP.
    async fn order_here(
        &mut self,
        process: usize,
        job: JobId,
        requester: Id,
        undoes: bool,
    ) -> Result<(), Wrong> {
        if undoes {
            let key = format!("undo {}", self.site.watch.to_undo.len());
            self.site.watch.to_undo.insert(key.clone(), job.to_string());
            self.site.undo(process, job, requester, key).await
        } else {
            self.site.watch.to_cancel.insert(job.to_string());
            self.site.cancel(process, job, requester).await
        }
    }

    /// A job and who asked for it. Most of those that are undone have ended, and most of those that are cancelled run.
    fn subject(&mut self, undoes: bool) -> Option<(JobId, Id)> {
        let usual = self.dice.percent(85);
        let mut jobs: Vec<(String, Id)> = Vec::new();
        let fits = |job: &Seen| (job.ended == undoes && (job.kind() == "share" || !undoes)) == usual;
        for job in self.site.watch.jobs.values().filter(|job| fits(job)) {
            jobs.extend(job.wish.as_ref().map(|wish| (job.id(), wish.requester)));
        }
        if !usual && self.site.options.due_work {
            // Some of these are still on their way.
            jobs.extend(self.asked.iter().map(|(job, wish)| (job.to_string(), wish.requester)));
        }
        let places: Vec<usize> = (0..jobs.len()).collect();
        let (job, requester) =
            jobs.get(if places.is_empty() { return None } else { self.dice.pick(&places) })?;
        debug_assert!(REQUESTERS.contains(requester));
        Some((job.parse().ok()?, *requester))
    }

    /// The orders that wait for their jobs. Without due work nobody looks at them.
    pub(super) async fn waiting_orders(&self) -> i64 {
        match self.site.options.due_work {
            true => self.site.number("SELECT COUNT(*) FROM pending_orders").await,
            false => 0,
        }
    }
}

fn message(id: JobId, requester: Id, job: JobId, undoes: bool) -> String {
    let of = if undoes { contract::UNDO_TYPE } else { contract::CANCEL_TYPE };
    json!({
        "specversion": "1.0", "id": id, "source": "/sim", "type": of,
        "data": {"requested_by": requester, "job_id": job},
    })
    .to_string()
}

impl Site {
    async fn cancel(&mut self, process: usize, job: JobId, by: Id) -> Result<(), Wrong> {
        if self.options.mistake == Some(Mistake::CancelOnlyMarksTheJob) {
            let marks = "UPDATE jobs SET state = 'cancelled', finished_at = now_ms()";
            self.sql(format!("{marks} WHERE job_id = '{job}' AND finished_at IS NULL")).await;
            return self.watch.look(&self.db).await;
        }
        self.start(process, "cancel", Vec::new(), move |parts| async move {
            parts.store.cancel(job, EndedBy::Person(principal(by))).await.is_ok()
        })
        .await
    }

    async fn undo(&mut self, process: usize, parent: JobId, by: Id, key: String) -> Result<(), Wrong> {
        let options = self.worker_options().begin;
        let by = UndoBy::Person(principal(by));
        let order = UndoOrder { parent, by, idempotency_key: Some(key), traceparent: None };
        self.start(process, "undo", Vec::new(), move |parts| async move {
            parts.store.undo(order, options).await.is_ok()
        })
        .await
    }
}
