//! The audit: rows that tell what people and operators did, each written in the transaction of what it tells.
//!
//! A row is never changed or deleted, and has no value of a secret. A change has one row, however many pairs it is
//! about. What happened to a job (asked, begun, ended) stands in the job's own row and is not written twice.

pub(in crate::store) mod entry;
pub(in crate::store) mod item;
pub(in crate::store) mod jobs;
pub(in crate::store) mod read;
pub(in crate::store) mod values;
pub(in crate::store) mod write;
