//! The composition root: the one place that builds everything and starts the roles.
//!
//! `up` is all roles in one process, `serve` and `work` are the roles apart. Tests start the same
//! program with other settings.

use std::fs::File;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::broker::{Broker, BrokerError, Embedded, Rabbit, RabbitOptions, Topology};
use crate::config::{AuthMode, ConfigError, Settings};
use crate::db::{self, Clock, Db, DbError, FailureClass, MigrationState, Target};
use crate::gateway::{self, Auth, BrokerCheck, GatewayParts, GatewayState, HostList};
use crate::metrics::Metrics;
use crate::relay::{self, RelayOptions};
use crate::retry::Schedule;
use crate::shutdown::{self, Signals, Stopper};
use crate::store::{Sealer, Store};
use crate::vault::VaultKey;
use crate::worker::{self, WorkerOptions};
use crate::{demo, notifier, updates};

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
    /// A bug: a role runs until it is told to stop.
    #[error("the {0} ended by itself; what it had in hand comes again")]
    Ended(&'static str),
    #[error("{0}")]
    Other(String),
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

/// A program that has started.
pub struct Running {
    /// Where the gateway listens, where it does.
    pub gateway: Option<SocketAddr>,
    /// Where a worker answers for its health, where it does.
    pub health: Option<SocketAddr>,
    pub store: Store,
    broker: Broker,
    roles: Tasks,
    relay: Tasks,
    stopper: Stopper,
    relay_stopper: Stopper,
    _lock: Option<File>,
}

/// Tasks that tell their names when they end, by a panic too.
type Tasks = JoinSet<&'static str>;

fn spawn(tasks: &mut Tasks, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
    tasks.spawn(async move {
        let _ = tokio::spawn(task).await;
        name
    });
}

/// The first of them to end.
async fn first_end(roles: &mut Tasks, relay: &mut Tasks) -> &'static str {
    tokio::select! {
        Some(Ok(name)) = roles.join_next() => name,
        Some(Ok(name)) = relay.join_next() => name,
        else => "program",
    }
}

/// Builds everything and starts the roles. Waits for ever for servers that are away.
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
            let auth = Auth::from_settings(&settings.auth, address).map_err(ConfigError)?;
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
    let vault = if roles.serve { Some(vault_key(settings, &target, roles.demo)?) } else { None };

    let db = Db::new(target, settings.db_options(), Clock::default());
    ready_database(&db, roles.migrate).await?;
    let broker = broker(settings, &db);
    ready_broker(&broker).await?;
    let is_demo = roles.demo && settings.auth.mode == AuthMode::Demo;
    if let (true, Some(vault)) = (is_demo, &vault) {
        demo_data(&db, vault).await?;
    }

    let (stopper, role_stop) = shutdown::channel();
    let (relay_stopper, relay_stop) = shutdown::channel();
    let relay_options = RelayOptions {
        lease: Duration::from_millis(settings.relay.lease_ms),
        interval: Duration::from_millis(settings.relay.interval_ms),
        batch: settings.relay.batch,
    };
    let (sender, committed) = mpsc::channel(relay_options.batch * 4);
    let metrics = if settings.is_embedded() {
        Metrics::default()
    } else {
        Metrics::new("rabbitmq", &settings.broker.prefix)
    };
    let store = Store::with_relay(db, sender, relay_options.lease).counting(metrics);
    let mut relay = Tasks::new();
    let relaying = relay::run(store.clone(), broker.clone(), committed, relay_options, relay_stop);
    spawn(&mut relay, "relay", relaying);

    let mut running = Running {
        gateway: None,
        health: None,
        store: store.clone(),
        broker: broker.clone(),
        roles: Tasks::new(),
        relay,
        stopper,
        relay_stopper,
        _lock: lock,
    };
    if let (Some((auth, address, listener)), Some(vault)) = (listener, vault) {
        tracing::info!(listen = %address, "the gateway listens");
        running.gateway = Some(address);
        let updates = gateway::Updates::default();
        let state = GatewayState::new(GatewayParts {
            store: store.clone(),
            vault,
            hosts: HostList::new(&settings.gateway.hosts, auth.is_demo()),
            auth,
            limits: settings.limits(),
            max_unfinished: settings.limits.unfinished_jobs,
            max_body_bytes: settings.gateway.max_body_bytes,
            broker: broker_check(&broker),
            updates: updates.clone(),
        });
        let heard = updates::run(store.clone(), broker.clone(), updates, role_stop.clone());
        spawn(&mut running.roles, "listener for events", heard);
        spawn(&mut running.roles, "gateway", gateway::serve(listener, state, role_stop.clone()));
        let notices =
            notifier::run(store.clone(), broker.clone(), settings.broker.prefetch, role_stop.clone());
        spawn(&mut running.roles, "notifier", notices);
    }
    if roles.work {
        let options = WorkerOptions::from_settings(settings);
        let working = worker::run(store.clone(), broker.clone(), options, role_stop.clone());
        spawn(&mut running.roles, "worker", working);
    }
    if let Some(listener) = health {
        running.health = listener.local_addr().ok();
        tracing::info!(listen = ?running.health, "the worker's health is told");
        let health = gateway::worker_health(store, broker_check(&broker));
        spawn(&mut running.roles, "worker's health", gateway::answer(listener, health, role_stop));
    }
    Ok(running)
}

impl Running {
    /// Stops taking, finishes the work in hand, sends what is in the outbox, closes. Ends after the
    /// deadline all the same: what was not finished comes again.
    pub async fn stop(mut self, deadline: Duration) {
        let work = async {
            self.stopper.stop();
            while self.roles.join_next().await.is_some() {}
            // After the roles: what they committed last is sent too.
            self.relay_stopper.stop();
            while self.relay.join_next().await.is_some() {}
            self.broker.close().await;
        };
        if tokio::time::timeout(deadline, work).await.is_err() {
            tracing::warn!("not everything was finished in time; what is left comes again");
        }
    }
}

/// Runs a process with these roles until SIGTERM or SIGINT; `ready` is told where it listens.
///
/// # Errors
/// As [`start`].
pub async fn run(settings: Settings, roles: Roles, ready: impl FnOnce(&Running)) -> Result<(), AppError> {
    let mut signals = Signals::listen().map_err(|error| AppError::Other(error.to_string()))?;
    let mut running = tokio::select! {
        running = start(&settings, roles) => running?,
        // Nothing has been taken yet: there is nothing to finish.
        () = signals.next() => {
            tracing::info!("stopped before it was ready");
            return Ok(());
        }
    };
    ready(&running);
    let result = tokio::select! {
        () = signals.next() => Ok(()),
        // With a part of it gone, the others would look well and jobs would wait for ever.
        name = first_end(&mut running.roles, &mut running.relay) => Err(AppError::Ended(name)),
    };
    match &result {
        Ok(()) => tracing::info!("stopping"),
        Err(error) => tracing::error!(%error, "stopping"),
    }
    tokio::select! {
        () = running.stop(Duration::from_millis(settings.shutdown.deadline_ms)) => {}
        // A second signal ends at once.
        () = signals.next() => tracing::warn!("stopped at once; what is left comes again"),
    }
    result
}

/// The broker of a process, not yet connected.
#[must_use]
pub fn broker(settings: &Settings, db: &Db) -> Broker {
    if settings.is_embedded() {
        return Broker::Embedded(Embedded::new(db.clone()));
    }
    let b = &settings.broker;
    Broker::Rabbit(Rabbit::new(RabbitOptions {
        url: b.url.clone(),
        topology: Topology { prefix: b.prefix.clone() },
        heartbeat: b.heartbeat_s,
        connect_timeout: Duration::from_millis(b.connect_timeout_ms),
        operation_timeout: Duration::from_millis(b.operation_timeout_ms),
        name: format!("batchshare {}", std::process::id()),
    }))
}

/// Declares the broker's topology.
///
/// # Errors
/// Where the broker is away or refuses, or has something else under our names.
pub async fn declare(settings: &Settings) -> Result<(), AppError> {
    let db = Db::new(settings.target()?, settings.db_options(), Clock::default());
    Ok(broker(settings, &db).declare().await?)
}

async fn listen(address: &str, key: &'static str) -> Result<TcpListener, AppError> {
    TcpListener::bind(address).await.map_err(|error| AppError::Listen {
        listen: address.to_owned(),
        reason: error.to_string(),
        key,
    })
}

/// Holds the lock beside an embedded database: one process has the roles.
fn lock(target: &Target, embedded: bool) -> Result<Option<File>, AppError> {
    let Target::Sqlite { path } = target else { return Ok(None) };
    if !embedded {
        return Ok(None);
    }
    let lock_path = PathBuf::from(format!("{}.lock", path.display()));
    let failed =
        |error: std::io::Error| AppError::Other(format!("cannot use {}: {error}", lock_path.display()));
    let mut file = File::options()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(&lock_path)
        .map_err(failed)?;
    if file.try_lock().is_err() {
        let holder = std::fs::read_to_string(&lock_path).unwrap_or_default();
        return Err(AppError::Locked { path: path.clone(), holder: holder.trim().to_owned() });
    }
    file.set_len(0).and_then(|()| write!(file, "{}", std::process::id())).map_err(failed)?;
    Ok(Some(file))
}

/// The vault's key. `up` makes one beside its database.
fn vault_key(settings: &Settings, target: &Target, make: bool) -> Result<VaultKey, AppError> {
    let other = |error: crate::vault::VaultError| AppError::Other(error.to_string());
    match (settings.vault_key_file(), target) {
        (Some(file), _) => VaultKey::from_file(&file).map_err(other),
        (None, Target::Sqlite { path }) if make => {
            let file = key_file_beside(path);
            if file.exists() { VaultKey::from_file(&file) } else { VaultKey::generate_to(&file) }
                .map_err(other)
        }
        (None, _) => Err(AppError::Config(ConfigError(
            "vault.key_file is not set: client secrets cannot be read without it; \
             `batchshare keygen > FILE` makes one (mode 0600)"
                .to_owned(),
        ))),
    }
}

/// Where `up` keeps the key of a database: `batchshare.db.key` beside `batchshare.db`.
#[must_use]
pub fn key_file_beside(database: &Path) -> PathBuf {
    let mut path = database.as_os_str().to_owned();
    path.push(".key");
    path.into()
}

/// Waits for the database and brings it up to date, or says that it is too old.
async fn ready_database(db: &Db, migrate: bool) -> Result<(), AppError> {
    let mut patience = Patience::new("the database");
    loop {
        let result = if migrate {
            db::apply_migrations(db).await.map(|_| MigrationState::Current)
        } else {
            db::migration_state(db).await
        };
        match result {
            Ok(MigrationState::Current) => return Ok(()),
            Ok(MigrationState::Pending(missing)) => {
                return Err(AppError::OldDatabase {
                    target: db.target().clone(),
                    missing: missing.join(", "),
                });
            }
            Err(error) if error.class() == FailureClass::Outage && !error.is_refusal() => {
                patience.wait(&error.to_string()).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Waits for the broker and declares its topology.
async fn ready_broker(broker: &Broker) -> Result<(), AppError> {
    if let Broker::Embedded(embedded) = broker {
        // What a process that is gone held comes again.
        embedded.recover().await?;
    }
    let mut patience = Patience::new("the broker");
    loop {
        match broker.declare().await {
            Ok(()) => return Ok(()),
            Err(error @ BrokerError::Unavailable(_)) => patience.wait(&error.to_string()).await,
            Err(error) => return Err(error.into()),
        }
    }
}

/// Waits for a server that is away: one line, then one a minute.
struct Patience {
    what: &'static str,
    schedule: Schedule,
    told: Option<Instant>,
}

impl Patience {
    fn new(what: &'static str) -> Self {
        Self { what, schedule: Schedule::reconnect(), told: None }
    }

    async fn wait(&mut self, reason: &str) {
        if self.told.is_none_or(|told| told.elapsed() >= Duration::from_secs(60)) {
            tracing::warn!(reason, "waiting for {}", self.what);
            self.told = Some(Instant::now());
        }
        tokio::time::sleep(self.schedule.next_wait()).await;
    }
}

/// Asks the broker whether it is there, for readiness.
fn broker_check(broker: &Broker) -> BrokerCheck {
    let broker = broker.clone();
    Arc::new(move || {
        let broker = broker.clone();
        Box::pin(async move { broker.ping().await.is_ok() })
    })
}

async fn demo_data(db: &Db, vault: &VaultKey) -> Result<(), AppError> {
    let vault = vault.clone();
    let sealer: Sealer = Arc::new(move |id, value| vault.seal(id, value).map_err(|error| error.to_string()));
    let imported = Store::new(db.clone())
        .import_if_empty(demo::lines(), Some(sealer))
        .await
        .map_err(|error| AppError::Other(format!("demo data: {error}")))?;
    if imported.is_some() {
        tracing::info!("the database was empty: it has demo data now");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_role_that_panics_is_told_by_its_name() {
        let (mut roles, mut relay) = (Tasks::new(), Tasks::new());
        spawn(&mut roles, "gateway", std::future::pending());
        spawn(&mut roles, "worker", async { assert_eq!(1 + 1, 3, "on purpose") });
        spawn(&mut relay, "relay", std::future::pending());
        assert_eq!(first_end(&mut roles, &mut relay).await, "worker");
    }
}
