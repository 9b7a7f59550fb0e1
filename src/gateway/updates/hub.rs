//! The streams of one person, and what they are told.
//!
//! Whoever opens the first stream of a person starts a teller (see `events`): one reader of the store for all of
//! that person's streams. A hub only passes on: wake-ups to the teller, and what it has read to the streams.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, broadcast};

use crate::domain::JobId;

/// What a slow stream may be behind before it reads everything again.
const KEPT: usize = 64;

/// Jobs that may wait for the teller before it reads everything in their place.
const WAITING: usize = 256;

/// What a teller has for its streams.
#[derive(Debug, Clone)]
pub(in crate::gateway) enum Told {
    /// Events by name, with their data as text.
    Events(Arc<[(&'static str, String)]>),
    /// The stream is to end: the database is away, or the person may not sign in any more.
    End,
}

/// What the teller is to read.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::gateway) struct Wanted {
    pub(in crate::gateway) everything: bool,
    pub(in crate::gateway) jobs: Vec<JobId>,
}

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

    /// Something may have been missed.
    pub(in crate::gateway) fn want_everything(&self) {
        *self.wanted() = Wanted { everything: true, jobs: Vec::new() };
        self.wake.notify_one();
    }

    /// A job has moved. However often it does before it is read, it is read once.
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

    /// Returns when something is wanted, or the last stream has ended. Safe to cancel.
    pub(in crate::gateway) async fn woken(&self) {
        self.wake.notified().await;
    }

    /// What is wanted; it is not any more.
    pub(in crate::gateway) fn take(&self) -> Wanted {
        std::mem::take(&mut *self.wanted())
    }

    pub(in crate::gateway) fn tell(&self, told: Told) {
        // An error means that the last stream has just ended.
        let _ = self.news.send(told);
    }

    /// No stream is left.
    pub(in crate::gateway) fn end(&self) {
        self.over.store(true, Ordering::Release);
        self.wake.notify_one();
    }

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
