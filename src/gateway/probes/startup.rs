//! What is answered while the program starts: that it lives, that it cannot serve yet, and what it waits for.
//!
//! The port is answered from the first moment, so that a supervisor can tell a program that waits for its
//! servers from one that hangs. The real routes stand behind a gate that opens once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::gateway::problem::Problem;
use crate::gateway::{GatewayState, probes::health};

/// What a start has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The database is waited for, and brought up to date.
    Database,
    /// The broker's first answer is waited for.
    Broker,
    /// An empty database gets its demo data.
    DemoData,
    /// The program serves, with or without its servers.
    Over,
}

impl Stage {
    const ALL: [Self; 4] = [Self::Database, Self::Broker, Self::DemoData, Self::Over];
}

/// How far the start of this process is. Cheap to clone; all clones are the same one.
#[derive(Clone, Default)]
pub struct Startup(Arc<AtomicU8>);

impl Startup {
    /// One that is over: of a program that has nothing to wait for.
    #[must_use]
    pub fn over() -> Self {
        let startup = Self::default();
        startup.reach(Stage::Over);
        startup
    }

    /// The start has come to this stage.
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

/// The layer that answers 503 in place of every route but those for supervisors, until the start is over.
pub(in crate::gateway) async fn gate(
    State(state): State<GatewayState>,
    request: Request,
    next: Next,
) -> Response {
    if state.startup.is_over() || health::is_probe(&request) {
        return next.run(request).await;
    }
    Problem::starting().into_response()
}
