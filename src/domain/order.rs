//! Orders: what a person asks for about a job that is there.

use crate::domain::names::names;

/// What an order does to its job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OrderKind {
    /// It stops the job. What the job has done so far stays.
    Cancel,
    /// It takes back what the job gave.
    Undo,
}

names!(OrderKind { Cancel = "cancel", Undo = "undo" });
