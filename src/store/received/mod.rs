//! What recipients were given by shares: a row for each recipient of a job that got something, whatever became of it
//! since.
//!
//! A row is written once, in the transaction that makes the notice of the job's end. Nothing of an undo is written
//! here: whether a batch is undone is read from its undos.

mod read;
pub(in crate::store) mod write;

pub use read::ReceivedPage;
