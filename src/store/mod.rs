//! What is kept: people, secrets, grants, jobs, notices, messages to send.
//!
//! Only this module and the embedded broker write SQL. What is decided, `domain` decides; the store
//! reads facts, applies and records, each method in one transaction. It knows no broker: messages
//! to send are rows of the outbox, handed to the relay after the commit.

mod clock;
mod codes;
mod figures;
mod job;
mod message;
mod notice;
mod outbox;
mod people;
mod pulse;
mod refold;
pub(crate) mod schema;
mod search;
mod transact;
mod tx;
mod vault;

pub use figures::Figures;
pub use job::aside::Aside;
pub use job::asked::{Allowance, Asked};
pub use job::begin::{BeginOptions, Begun};
pub use job::due::{DueOptions, DueWork};
pub use job::failures::Recorded;
pub use job::lanes::{ChunkDone, LaneFound, LaneOptions, LaneWork};
pub use job::replay::{NotReplayed, Publisher, Replayed};
pub use job::submit::{Submission, Submitted};
pub use message::checks::CheckState;
pub use message::desk::{DeadFilter, DeadItem, Discarded, KeptLetter};
pub use message::letters::DeadLetter;
pub use message::sending::TRIES as OUTBOX_TRIES;
pub use notice::Notice;
pub use outbox::{MessageKind, OutboxRow};
pub use people::directory::{Person, PrincipalName, RecipientItem, SignIn};
pub use people::import::{ImportError, Imported, Sealer};
pub use people::names::{Known, Match, Named};
pub use refold::migrate;
pub use transact::{Committed, Store};
pub use vault::filter::{OwnedBy, SecretCursor, SecretFilter, SecretItem, SecretSort};
pub use vault::holders::GrantItem;
pub use vault::secret::{Edited, Sealed, SecretDetail};
pub use vault::secrets::Selectable;
pub use vault::selected::Selected;
