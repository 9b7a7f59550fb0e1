//! The composition root: the one place that builds everything and starts the roles.
//!
//! `up` is all roles in one process, `serve` and `work` are the roles apart. Tests start the same
//! program with other settings.

pub mod demo;
mod host;
mod key;
mod policies;
mod running;
mod waiting;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::mpsc;

pub use running::{Running, run};

use crate::broker::{Broker, BrokerError, Embedded, Rabbit, RabbitOptions, Topology};
use crate::config::{AuthMode, ConfigError, Settings};
use crate::db;
use crate::db::{Clock, Db, DbError, FailureClass, MigrationState, Target};
use crate::gateway;
use crate::gateway::stream::listener as updates;
use crate::gateway::{Auth, GatewayParts, HostList, Hourly, Serving, Stage, Startup};
use crate::notifier;
use crate::relay;
use crate::relay::RelayOptions;
use crate::shutdown;
use crate::store;
use crate::store::{ImportError, Sealer, Store};
use crate::telemetry::metrics::Metrics;
use crate::vault::VaultKey;
use crate::worker;
use crate::worker::WorkerOptions;
use running::{Tasks, spawn};
use waiting::{Declared, Patience, declare_later};

pub use host::{lock, lock_file};
pub use key::sealer;
pub use policies::policies;

/// Why the program ends at once. `Display` is one line that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("cannot listen on {listen}: {reason}; choose another address with {key}")]
    Listen { listen: String, reason: String, key: &'static str },
    #[error(
        "the database {target} is older than this program (missing: {missing}); run `batchshare migrate` first"
    )]
    OldDatabase { target: Target, missing: String },
    #[error("{0}")]
    Database(#[from] DbError),
    #[error("{0}")]
    Broker(#[from] BrokerError),
    #[error(
        "{path} is in use by another batchshare (process {holder}); stop it, or set database.url to another file"
    )]
    Locked { path: PathBuf, holder: String },
    #[error(
        "the database file was removed or replaced while batchshare was running, so it ended: what it wrote from then on \
         nobody would find"
    )]
    FileGone,
    /// A bug: a role runs until it is told to stop.
    #[error("the {0} ended by itself; what it had in hand comes again")]
    Ended(&'static str),
    #[error("{0}")]
    Other(String),
}

impl AppError {
    /// Why a program ends of which this task has ended.
    fn ended(task: &'static str) -> Self {
        if task == host::FILE_WATCH { Self::FileGone } else { Self::Ended(task) }
    }
}

/// Which roles a process has. The relay runs in all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Roles {
    /// HTTP and notices.
    pub serve: bool,
    pub work: bool,
    /// Brings the database up to date at the start.
    pub migrate: bool,
    /// Fills an empty database with demo data, and makes a vault key where there is none.
    pub demo: bool,
}

impl Roles {
    pub const UP: Self = Self { serve: true, work: true, migrate: true, demo: true };

    #[must_use]
    pub fn serve(migrate: bool) -> Self {
        Self { serve: true, work: false, migrate, demo: false }
    }

    #[must_use]
    pub fn work(migrate: bool) -> Self {
        Self { serve: false, work: true, migrate, demo: false }
    }
}

/// Builds everything and starts the roles. HTTP is answered from the first moment: with 503, but for
/// supervisors, until the database is there. The database is waited for, for ever; the broker is not.
///
/// # Errors
/// What a person has to change: configuration, a taken port, a wrong password, an old database, a
/// topology that contradicts.
pub async fn start(settings: &Settings, roles: Roles) -> Result<Running, AppError> {
    if settings.is_embedded() && !(roles.serve && roles.work) {
        let why = "broker.url is embedded:, which one process has alone: run `batchshare up`, \
                   or set broker.url to amqp://… and database.url to postgres://…";
        return Err(AppError::Config(ConfigError(why.to_owned())));
    }
    // What can be wrong without any server comes first.
    let listener = match roles.serve {
        true => {
            let listener = listen(&settings.gateway.listen, "gateway.listen").await?;
            let address = listener.local_addr().map_err(|error| AppError::Other(error.to_string()))?;
            let auth = Auth::from_settings(&settings.auth, address)
                .map_err(|error| ConfigError(error.with_causes()))?;
            Some((auth, address, listener))
        }
        false => None,
    };
    let health = match (roles.work, settings.worker.listen.as_str()) {
        (true, address) if !address.is_empty() => Some(listen(address, "worker.listen").await?),
        _ => None,
    };
    let target = settings.target()?;
    let lock = lock(&target, settings.is_embedded())?;
    let policies = policies(settings)?;
    let key = if roles.serve { Some(key::Found::look(settings, &target, roles.demo)?) } else { None };

    let db = Db::new(target, settings.db_options(), Clock::default());
    let metrics = if settings.is_embedded() {
        Metrics::default()
    } else {
        Metrics::new("rabbitmq", &settings.broker.prefix)
    };
    let broker = broker(settings, &db, metrics.clone());
    let (stopper, role_stop) = shutdown::channel();
    let (relay_stopper, relay_stop) = shutdown::channel();
    let relay_options = RelayOptions {
        lease: Duration::from_millis(settings.relay.lease_ms),
        interval: Duration::from_millis(settings.relay.interval_ms),
        batch: settings.relay.batch,
    };
    let (sender, committed) = mpsc::channel(relay_options.batch * 4);
    let store = Store::with_relay(db.clone(), sender, relay_options.lease).counting(metrics.clone());
    let mut running = Running {
        gateway: listener.as_ref().map(|(_, address, _)| *address),
        health: health.as_ref().and_then(|listener| listener.local_addr().ok()),
        store: store.clone(),
        broker: broker.clone(),
        roles: Tasks::new(),
        relay: Tasks::new(),
        stopper,
        relay_stopper,
        _lock: lock,
    };

    let (startup, declared) = (Startup::default(), Declared::default());
    let updates = gateway::Updates::default();
    let check = declared.check(&broker);
    let is_demo = roles.demo && settings.auth.mode == AuthMode::Demo;
    if let (Some((auth, address, listener)), Some(found)) = (listener, &key) {
        tracing::debug!(listen = %address, "HTTP is answered");
        let parts = GatewayParts {
            store: store.clone(),
            vault: found.key.clone(),
            hosts: HostList::new(&settings.gateway.hosts, auth.is_demo()),
            auth,
            limits: settings.limits(),
            max_unfinished: settings.limits.unfinished_jobs,
            hourly: Hourly { pairs: settings.limits.pairs_per_hour, bytes: settings.limits.bytes_per_hour },
            max_body_bytes: settings.gateway.max_body_bytes,
            pool_size: settings.database.pool_size,
            serving: Serving::from_settings(&settings.gateway),
            streams_per_person: settings.gateway.streams_per_person,
            broker: check.clone(),
            startup: startup.clone(),
            updates: updates.clone(),
        };
        spawn(&mut running.roles, "gateway", gateway::serve(listener, parts, role_stop.clone()));
    }
    if let Some(listener) = health {
        tracing::debug!(listen = ?running.health, "a worker's HTTP is answered");
        let health = gateway::worker_health(store.clone(), check, startup.clone());
        spawn(&mut running.roles, "worker's health", gateway::answer(listener, health, role_stop.clone()));
    }

    // Together: a broker that refuses is told though the database is away, and neither waits for the other.
    let database = async {
        ready_database(&db, roles.migrate).await?;
        advise(&db).await;
        startup.reach(Stage::Broker);
        Ok(())
    };
    let ((), away) = tokio::try_join!(database, ready_broker(&broker, &declared))?;
    if settings.is_embedded() {
        // What a process that is gone held comes again. Nothing consumes yet, so another handle on the rows will do.
        recover(&Embedded::new(db.clone()), &db).await?;
    }
    if let Some(found) = &key {
        found.settle(&store).await?;
        if is_demo {
            startup.reach(Stage::DemoData);
            demo_data(&db, &found.key).await?;
        }
        host::warn_of_demo(settings, &store).await;
    }
    if let Some(watched) = host::Watched::new(db.target()) {
        spawn(&mut running.roles, host::FILE_WATCH, watched.run(role_stop.clone()));
    }
    startup.reach(Stage::Over);

    if let Some(patience) = away {
        let declaring = declare_later(broker.clone(), declared, patience, role_stop.clone());
        spawn(&mut running.roles, "declaring", declaring);
    }
    if let Some(policies) = policies {
        let watch = policies::watch(policies, metrics, role_stop.clone());
        spawn(&mut running.roles, "look for policies", watch);
    }
    let relaying = relay::run(store.clone(), broker.clone(), committed, relay_options, relay_stop);
    spawn(&mut running.relay, "relay", relaying);
    if let Some(address) = running.gateway {
        tracing::info!(listen = %address, "the gateway listens");
        let heard = updates::run(store.clone(), broker.clone(), updates, role_stop.clone());
        spawn(&mut running.roles, "listener for events", heard);
        let notices =
            notifier::run(store.clone(), broker.clone(), settings.broker.prefetch, role_stop.clone());
        spawn(&mut running.roles, "notifier", notices);
    }
    if roles.work {
        let options = WorkerOptions::from_settings(settings);
        spawn(&mut running.roles, "worker", worker::run(store, broker, options, role_stop));
    }
    if running.health.is_some() {
        tracing::info!(listen = ?running.health, "the worker's health is told");
    }
    Ok(running)
}

/// The broker of a process, not yet connected. What it counts goes to `metrics`.
#[must_use]
pub fn broker(settings: &Settings, db: &Db, metrics: Metrics) -> Broker {
    if settings.is_embedded() {
        return Broker::new(Embedded::new(db.clone()));
    }
    let b = &settings.broker;
    Broker::new(Rabbit::new(RabbitOptions {
        url: b.url.clone(),
        topology: Topology { prefix: b.prefix.clone() },
        heartbeat: b.heartbeat_s,
        connect_timeout: Duration::from_millis(b.connect_timeout_ms),
        operation_timeout: Duration::from_millis(b.operation_timeout_ms),
        name: format!("batchshare {}", std::process::id()),
        ca_file: settings.broker_ca_file(),
        metrics,
    }))
}

/// Declares the broker's topology.
///
/// # Errors
/// Where the broker is away or refuses, or has something else under our names.
pub async fn declare(settings: &Settings) -> Result<(), AppError> {
    let db = Db::new(settings.target()?, settings.db_options(), Clock::default());
    Ok(broker(settings, &db, Metrics::default()).declare().await?)
}

async fn listen(address: &str, key: &'static str) -> Result<TcpListener, AppError> {
    TcpListener::bind(address).await.map_err(|error| AppError::Listen {
        listen: address.to_owned(),
        reason: error.to_string(),
        key,
    })
}

/// Waits for the database and brings it up to date, or says that it is too old.
async fn ready_database(db: &Db, migrate: bool) -> Result<(), AppError> {
    let mut patience = Patience::new("the database");
    loop {
        let result = if migrate {
            store::migrate(db).await.map(|_| MigrationState::Current)
        } else {
            db::migration_state(db).await
        };
        // To look at what is applied only reads: whether it can be written is asked, too.
        let result = match result {
            Ok(MigrationState::Current) => db.ping().await.map(|()| MigrationState::Current),
            other => other,
        };
        match result {
            Ok(MigrationState::Current) => return Ok(()),
            Ok(MigrationState::Pending(missing)) => {
                return Err(AppError::OldDatabase {
                    target: db.target().clone(),
                    missing: missing.join(", "),
                });
            }
            Err(error) if is_passing(&error) => patience.wait(&error.to_string()).await,
            Err(error) => return Err(error.into()),
        }
    }
}

/// Whether it is worth waiting: the server is away, or (on SQLite) an import is at work and has the writer.
fn is_passing(error: &DbError) -> bool {
    (error.class() == FailureClass::Outage && !error.is_refusal()) || error.is_writer_taken()
}

/// The lock says that nobody else has these roles: what a process that is gone held comes again, and what it was
/// about to send is sent.
async fn recover(embedded: &Embedded, db: &Db) -> Result<(), AppError> {
    let (store, mut patience) = (Store::new(db.clone()), Patience::new("the database"));
    while let Err(error) = async { embedded.recover().await.and(store.recover_unsent().await) }.await {
        match is_passing(&error) {
            true => patience.wait(&error.to_string()).await,
            false => return Err(error.into()),
        }
    }
    Ok(())
}

/// What an operator should know, once.
async fn advise(db: &Db) {
    match db::advice(db).await {
        Ok(advice) => advice.iter().for_each(|text| tracing::warn!("{text}")),
        Err(error) => tracing::debug!(%error, "could not look at the database's settings"),
    }
}

/// The broker's first answer: its topology is declared, or it is away, which keeps nothing from starting.
/// What it waits with for the next try, if so.
async fn ready_broker(broker: &Broker, declared: &Declared) -> Result<Option<Patience>, AppError> {
    match broker.declare().await {
        Ok(()) => {
            declared.set();
            Ok(None)
        }
        Err(error @ BrokerError::Unavailable(_)) => {
            let mut patience = Patience::new("the broker");
            patience.tell(error.kind(), &error.to_string());
            Ok(Some(patience))
        }
        Err(error) => Err(error.into()),
    }
}

async fn demo_data(db: &Db, vault: &VaultKey) -> Result<(), AppError> {
    let vault = vault.clone();
    let sealer: Sealer = Arc::new(move |id, value| vault.seal(id, value).map_err(|error| error.to_string()));
    let (store, mut patience) = (Store::new(db.clone()), Patience::new("the database"));
    let imported = loop {
        match store.import_if_empty(demo::lines(), Some(sealer.clone())).await {
            Ok(imported) => break imported,
            Err(ImportError::Db(error)) if is_passing(&error) => patience.wait(&error.to_string()).await,
            Err(error) => return Err(AppError::Other(format!("demo data: {error}"))),
        }
    };
    if imported.is_some() {
        tracing::info!("the database was empty: it has demo data now");
    }
    Ok(())
}
