//! The events of a person's stream. The events `job` and `notice` carry a [`JobBody`] and a [`Notice`].

use serde::Serialize;

use crate::contract::http::answer::notice::Notice;
use crate::contract::http::answer::person::Me;
use crate::contract::job::JobBody;

/// The event `snapshot`: everything that a stream begins with, and begins with again when it may have missed
/// something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Snapshot {
    /// The person's unfinished jobs.
    pub jobs: Vec<JobBody>,
    pub me: Me,
    /// The person's notices that were not dismissed.
    pub notices: Vec<Notice>,
}

/// The event `beat`, which says after a silence that the stream still lives: `{}`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Beat {}
