//! Keeps people, secrets, grants, jobs, notices and messages to send in the database.
//!
//! Only this module and the embedded broker write SQL. The rules are in `domain`, which decides; the store reads the
//! facts for a decision, applies it and records it. The store knows no broker: a message to send is a row of the
//! outbox, which is written with the change that it tells of and handed to the relay after the commit.
//!
//! A method of [`Store`] that changes something does so in one transaction, unless it says otherwise. Its error is
//! that of the database, and then nothing was changed. There are two exceptions: if the answer to the commit was lost
//! ([`crate::db::DbError::Commit`]), or the call took too long ([`crate::db::DbError::Deadline`]), everything may
//! have been changed. The caller then acts as if nothing had happened, and the work is written so that a repetition
//! does no harm. A method has a section `# Errors` only where there is more to say than this.

mod audit;
mod clock;
mod codes;
mod figures;
mod job;
mod message;
mod notice;
mod outbox;
mod people;
mod pulse;
mod received;
mod refold;
pub(crate) mod schema;
mod search;
mod transact;
mod tx;
mod vault;

pub use audit::entry::{Entry as AuditEntry, Replay as AuditedReplay};
pub use audit::item::{AuditCursor, AuditFilter, AuditItem, Since};
pub use figures::Figures;
pub use job::aside::Aside;
pub use job::asked::{Allowance, Asked};
pub use job::begin::{BeginOptions, Begun};
pub use job::cancel::Cancelled;
pub use job::due::{DueOptions, DueWork};
pub use job::export::Export;
pub use job::failures::Recorded;
pub use job::lane_work::{LaneFound, LaneOptions, LaneWork};
pub use job::lanes::ChunkDone;
pub use job::ledger::NOT_READY as LEDGER_NOT_READY;
pub use job::orders::{DueOrder, Waits};
pub use job::preview::{Foreseen, UndoPreview};
pub use job::remaining::{Left, LeftCursor};
pub use job::replay::{NotReplayed, Publisher, Replayed};
pub use job::rest::{NoRest, RestLimits, RestOrder, RestOrdered};
pub use job::share_preview::ShareForeseen;
pub use job::submit::{Submission, Submitted};
pub use job::taking::PREVIEW_TIME;
pub use job::undo::{NotUndone, Ordered, UndoBy, UndoOrder, UndoOrdered};
pub use job::unshare::{UnshareForeseen, UnsharePreview};
pub use message::checks::CheckState;
pub use message::desk::{DeadFilter, DeadItem, Discarded, KeptLetter};
pub use message::letters::DeadLetter;
pub use message::sending::TRIES as OUTBOX_TRIES;
pub use notice::Notice;
pub use outbox::{MessageKind, OutboxRow};
pub use people::directory::{Person, PrincipalName, RecipientItem, SignIn};
pub use people::import::{ImportError, Imported, Sealer};
pub use people::names::{Known, Match, Named};
pub use received::ReceivedPage;
pub use refold::migrate;
pub use transact::{Committed, Store};
pub use vault::client_secret::{ClientSecret, Sealed};
pub use vault::filter::{OwnedBy, SecretCursor, SecretFilter, SecretItem, SecretSort};
pub use vault::holders::GrantItem;
pub use vault::people::{Holder, Holders};
pub use vault::secret::{Edited, SecretDetail};
pub use vault::secrets::Selectable;
pub use vault::selected::Selected;
pub use vault::why::Explained;
