//! What the gateway is made of, and the parts of it that its routes use.

use std::sync::Arc;

use axum::extract::FromRef;

use crate::domain::Limits;
use crate::gateway::auth::{Auth, SignIns};
use crate::gateway::layers::guard::HostList;
use crate::gateway::limits::growth::{Growth, Hourly};
use crate::gateway::limits::turns::Turns;
use crate::gateway::probes::look::BrokerCheck;
use crate::gateway::probes::startup::Startup;
use crate::gateway::serving::Serving;
use crate::gateway::updates::hearing::Updates;
use crate::store::{BeginOptions, Store};
use crate::vault::VaultKey;

/// What the composition root gives to the gateway.
pub struct GatewayParts {
    pub store: Store,
    pub vault: VaultKey,
    pub auth: Auth,
    pub hosts: HostList,
    pub limits: Limits,
    /// How work on a job begins, for jobs that begin here: undos.
    pub begin: BeginOptions,
    /// How many unfinished jobs one person may have.
    pub max_unfinished: i64,
    /// What one person may ask for in an hour.
    pub hourly: Hourly,
    pub max_body_bytes: usize,
    /// How many connections to the database this process has. One person may use a part of them at a time.
    pub pool_size: usize,
    pub serving: Serving,
    pub streams_per_person: usize,
    pub broker: BrokerCheck,
    /// Until the start is over, only supervisors are answered.
    pub startup: Startup,
    /// Who is told of a change, by whoever hears the broker's events.
    pub updates: Updates,
}

/// What all requests share. Cheap to clone: all clones are the same one.
#[derive(Clone)]
pub(super) struct GatewayState(Arc<Shared>);

/// The parts that routes and layers use.
pub(super) struct Shared {
    pub(super) store: Store,
    pub(super) vault: VaultKey,
    pub(super) sign_ins: SignIns,
    pub(super) hosts: HostList,
    pub(super) limits: Limits,
    pub(super) begin: BeginOptions,
    pub(super) max_unfinished: i64,
    pub(super) max_body_bytes: usize,
    pub(super) serving: Serving,
    pub(super) streams_per_person: usize,
    pub(super) broker: BrokerCheck,
    pub(super) startup: Startup,
    pub(super) updates: Updates,
    /// What each person has in hand now.
    pub(super) turns: Arc<Turns>,
    /// What each person has asked for in the last hour.
    pub(super) growth: Growth,
}

impl GatewayState {
    pub(super) fn new(parts: GatewayParts) -> Self {
        Self(Arc::new(Shared {
            sign_ins: SignIns::new(parts.auth, parts.store.clone()),
            turns: Arc::new(Turns::new(parts.pool_size, parts.max_body_bytes)),
            growth: Growth::new(parts.hourly),
            store: parts.store,
            vault: parts.vault,
            hosts: parts.hosts,
            limits: parts.limits,
            begin: parts.begin,
            max_unfinished: parts.max_unfinished,
            max_body_bytes: parts.max_body_bytes,
            serving: parts.serving,
            streams_per_person: parts.streams_per_person,
            broker: parts.broker,
            startup: parts.startup,
            updates: parts.updates,
        }))
    }
}

impl std::ops::Deref for GatewayState {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

/// What `auth` needs of the state, so that it does not have to know the rest.
impl FromRef<GatewayState> for SignIns {
    fn from_ref(state: &GatewayState) -> Self {
        state.sign_ins.clone()
    }
}

/// What `limits` needs of the state, likewise.
impl FromRef<GatewayState> for Arc<Turns> {
    fn from_ref(state: &GatewayState) -> Self {
        Self::clone(&state.turns)
    }
}
