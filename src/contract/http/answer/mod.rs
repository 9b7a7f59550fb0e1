//! The answers of the HTTP API and the events of its streams, as structs that serde writes.
//!
//! The members of each struct stand in the order of the alphabet. That is the order in which the answers have always
//! been written, and a client that compares texts sees no difference. An answer holds what its receiver may see and
//! nothing else: no client secret has a field here.

mod about;
mod access;
mod health;
mod notice;
mod page;
mod person;
mod preview;
mod problem;
mod received;
mod recipient;
mod rejection;
mod secret;
mod stream;
mod time;
mod undo;
mod unshare;

pub use about::{AccessLeft, JobRecipient, JobSecret, JobSecretName, JobUserName};
pub use access::{Access, AlsoAsked, Asking, Because, GivenBy, Requester, Through};
pub use health::{DeadLetters, Health, Live, Policies};
pub use notice::Notice;
pub use page::Page;
pub use person::{DemoPerson, Holder, Me};
pub use preview::{People, SharePreview};
pub use problem::Problem;
pub use received::{Received, ReceivedPage, ReceivedSecret};
pub use recipient::Recipient;
pub use rejection::{Rejection, RejectionKind};
pub use secret::{Grant, NoClientSecret, Owner, Secret, SecretItem, Selectable};
pub use stream::{Beat, Snapshot};
pub use time::Time;
pub use undo::UndoPreview;
pub use unshare::UnsharePreview;

#[cfg(test)]
mod tests;
