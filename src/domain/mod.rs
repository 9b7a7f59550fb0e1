//! The rules of batch sharing, as values and pure functions. Nothing here reads a file, a clock or a database.

pub mod access;
pub mod audit;
pub mod event;
pub mod foresight;
pub mod groups;
pub mod hex;
pub mod ids;
pub mod import;
pub mod job;
pub(crate) mod names;
pub mod order;
pub mod outcome;
pub mod permission;
pub mod plan;
pub mod received;
pub mod report;
pub mod rest;
pub mod secret;
pub mod share;
pub mod text;
pub mod title;
pub mod undo;
pub mod undo_outcome;
pub mod unshare;

pub use audit::{Actor, AuditAction};
pub use event::{EndedBy, EventKind, JobSnapshot};
pub use ids::{JobId, JobKey, MAX_ID, OrderId, PrincipalId, SecretId};
pub use job::{Counts, DeadReason, DeadState, FailReason, JobKind, JobState, Origin, Taken};
pub use order::OrderKind;
pub use outcome::PairOutcome;
pub use permission::{Permission, PrincipalKind, RejectReason};
pub use secret::{Reach, SecretPatch};
pub use share::{AllFilter, Limits, Recipient, Selection, ShareRequest};
