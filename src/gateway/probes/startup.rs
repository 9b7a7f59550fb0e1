//! How far the start of the program is.
//!
//! The port is answered from the first moment, so that a supervisor can tell a program that waits for its servers
//! from one that hangs. Until the start is over, supervisors are answered and nobody else (see `layers::starting`).

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// The stages of a start, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The program waits for the database, and then brings it up to date.
    Database,
    /// The program waits for the broker's first answer.
    Broker,
    /// The program writes the demo data into an empty database.
    DemoData,
    /// The program serves. Its servers may go away and come back from now on.
    Over,
}

impl Stage {
    const ALL: [Self; 4] = [Self::Database, Self::Broker, Self::DemoData, Self::Over];
}

/// How far the start of this process is. Cheap to clone; all clones are the same one.
#[derive(Clone, Default)]
pub struct Startup(Arc<AtomicU8>);

impl Startup {
    /// The start of a program that has nothing to wait for.
    #[must_use]
    pub fn over() -> Self {
        let startup = Self::default();
        startup.reach(Stage::Over);
        startup
    }

    /// Notes that the start has come to this stage.
    pub fn reach(&self, stage: Stage) {
        self.0.store(stage as u8, Ordering::Release);
    }

    #[must_use]
    pub fn stage(&self) -> Stage {
        Stage::ALL[usize::from(self.0.load(Ordering::Acquire)).min(Stage::ALL.len() - 1)]
    }

    #[must_use]
    pub fn is_over(&self) -> bool {
        self.stage() == Stage::Over
    }
}
