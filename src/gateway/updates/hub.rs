//! The streams of one person, and what they are told.
//!
//! The first stream of a person starts a teller (see `stream::teller`), which reads the store for all streams of that
//! person. A hub only passes on: wake-ups to the teller, and what the teller has read to the streams.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, broadcast};

use crate::domain::JobId;

/// How many messages of the teller are kept for a slow stream. One that is further behind reads everything again.
const KEPT: usize = 64;

/// How many jobs may wait for the teller. Where there are more, it reads everything in their place.
const WAITING: usize = 256;

/// What a teller tells its streams.
#[derive(Debug, Clone)]
pub(in crate::gateway) enum Told {
    /// Events by name, with their data as text.
    Events(Arc<[(&'static str, String)]>),
    /// The streams are to end: the database cannot be reached, or the person may not sign in any more.
    End,
}

/// What the teller is to read. `everything` stands for all jobs and notices, and then `jobs` is empty.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::gateway) struct Wanted {
    pub(in crate::gateway) everything: bool,
    pub(in crate::gateway) jobs: Vec<JobId>,
}

/// Passes on between the teller of a person and that person's streams.
pub(in crate::gateway) struct Hub {
    news: broadcast::Sender<Told>,
    wanted: Mutex<Wanted>,
    wake: Notify,
    over: AtomicBool,
}

impl Hub {
    pub(in crate::gateway) fn new() -> Self {
        Self {
            news: broadcast::Sender::new(KEPT),
            wanted: Mutex::default(),
            wake: Notify::new(),
            over: AtomicBool::new(false),
        }
    }

    fn wanted(&self) -> MutexGuard<'_, Wanted> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(in crate::gateway) fn subscribe(&self) -> broadcast::Receiver<Told> {
        self.news.subscribe()
    }

    /// Asks the teller to read everything, because something may have been missed.
    pub(in crate::gateway) fn want_everything(&self) {
        *self.wanted() = Wanted { everything: true, jobs: Vec::new() };
        self.wake.notify_one();
    }

    /// Asks the teller to read a job that has changed. A job that changes several times before it is read is read
    /// once.
    pub(in crate::gateway) fn want(&self, job: JobId) {
        let mut wanted = self.wanted();
        if wanted.everything || wanted.jobs.contains(&job) {
            return;
        }
        if wanted.jobs.len() >= WAITING {
            *wanted = Wanted { everything: true, jobs: Vec::new() };
        } else {
            wanted.jobs.push(job);
        }
        drop(wanted);
        self.wake.notify_one();
    }

    /// Returns when something is wanted, or when the last stream has ended. It can be cancelled at any time.
    pub(in crate::gateway) async fn woken(&self) {
        self.wake.notified().await;
    }

    /// Takes what is wanted, so that it is not wanted any more.
    pub(in crate::gateway) fn take(&self) -> Wanted {
        std::mem::take(&mut *self.wanted())
    }

    /// Tells all streams.
    pub(in crate::gateway) fn tell(&self, told: Told) {
        // An error means that the last stream has just ended, and then there is nobody to tell.
        let _ = self.news.send(told);
    }

    /// Ends the teller, because no stream is left.
    pub(in crate::gateway) fn end(&self) {
        self.over.store(true, Ordering::Release);
        self.wake.notify_one();
    }

    /// Whether no stream is left.
    pub(in crate::gateway) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_read_once_and_many_are_read_as_everything() {
        let hub = Hub::new();
        let jobs: Vec<JobId> = (0..=WAITING).map(|_| JobId::generate()).collect();
        for job in [&jobs[0], &jobs[1], &jobs[0]] {
            hub.want(*job);
        }
        assert_eq!(hub.take(), Wanted { everything: false, jobs: jobs[..2].to_vec() });
        assert_eq!(hub.take(), Wanted::default());
        jobs.iter().for_each(|job| hub.want(*job));
        assert_eq!(hub.take(), Wanted { everything: true, jobs: Vec::new() });
        hub.want_everything();
        hub.want(jobs[0]);
        assert_eq!(hub.take(), Wanted { everything: true, jobs: Vec::new() });
    }
}
