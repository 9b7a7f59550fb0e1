//! Builds every part of a process and starts its roles, in the order in which they need each other.

use std::fs::File;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::app::broker::broker;
use crate::app::database;
use crate::app::declared::Declared;
use crate::app::error::AppError;
use crate::app::file_watch::{FILE_WATCH, Watched};
use crate::app::key::Found;
use crate::app::lock::lock;
use crate::app::patience::Patience;
use crate::app::policies;
use crate::app::roles::Roles;
use crate::app::running::{Running, Tasks, spawn};
use crate::broker::{Broker, Embedded};
use crate::config::{AuthMode, ConfigError, Settings};
use crate::db::{Clock, Db, Target};
use crate::gateway;
use crate::gateway::stream::listener as updates;
use crate::gateway::{Auth, GatewayParts, HostList, Hourly, Serving, Stage, Startup};
use crate::notifier;
use crate::relay;
use crate::relay::RelayOptions;
use crate::shutdown;
use crate::shutdown::Stop;
use crate::store::{Committed, Store};
use crate::telemetry::metrics::Metrics;
use crate::worker;
use crate::worker::WorkerOptions;

/// Builds everything and starts the roles. HTTP is answered from the first moment on: until the database is there,
/// with 503 to everybody but supervisors. The database is waited for without end. The broker is not waited for.
///
/// # Errors
/// What a person has to change: the configuration, a port that is taken, a wrong password, an old database, a topology
/// that contradicts ours.
pub async fn start(settings: &Settings, roles: Roles) -> Result<Running, AppError> {
    roles.check(settings)?;
    // What can be wrong without any server comes first.
    let listeners = Listeners::bind(settings, roles).await?;
    let target = settings.target()?;
    let lock = lock(&target, settings.is_embedded())?;
    let policies = policies::policies(settings)?;
    let key = if roles.serve { Some(Found::look(settings, &target, roles.demo)?) } else { None };

    let (parts, mut running) = Parts::build(settings, roles, target, key, lock, &listeners);
    parts.answer(listeners, &mut running.roles);
    let away = parts.make_ready().await?;
    if let Some(watched) = Watched::new(parts.store.db().target()) {
        spawn(&mut running.roles, FILE_WATCH, watched.run(parts.stop.clone()));
    }
    parts.startup.reach(Stage::Over);
    if let Some(policies) = policies {
        let watch = policies::watch(policies, parts.store.metrics().clone(), parts.stop.clone());
        spawn(&mut running.roles, "look for policies", watch);
    }
    parts.work(away, &mut running);
    Ok(running)
}

/// The addresses that are listened at.
struct Listeners {
    gateway: Option<(Auth, SocketAddr, TcpListener)>,
    health: Option<TcpListener>,
}

impl Listeners {
    async fn bind(settings: &Settings, roles: Roles) -> Result<Self, AppError> {
        let gateway = match roles.serve {
            true => {
                let key = "gateway.listen";
                let listener = listen(&settings.gateway.listen, key).await?;
                let address = listener.local_addr();
                let address = address.map_err(|source| no_address(&settings.gateway.listen, key, source))?;
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
        Ok(Self { gateway, health })
    }
}

async fn listen(address: &str, key: &'static str) -> Result<TcpListener, AppError> {
    TcpListener::bind(address).await.map_err(|source| no_address(address, key, source))
}

fn no_address(address: &str, key: &'static str, source: std::io::Error) -> AppError {
    AppError::Listen { listen: address.to_owned(), source, key }
}

/// What the roles of a process are made of.
struct Parts<'a> {
    settings: &'a Settings,
    roles: Roles,
    store: Store,
    broker: Broker,
    /// Of a gateway only.
    key: Option<Found>,
    startup: Startup,
    declared: Declared,
    updates: gateway::Updates,
    /// Tells the roles to stop.
    stop: Stop,
    relay: RelayParts,
}

/// What the relay takes. It has a signal of its own, because it stops after the roles.
struct RelayParts {
    options: RelayOptions,
    committed: mpsc::Receiver<Committed>,
    stop: Stop,
}

impl<'a> Parts<'a> {
    /// Builds the parts, and the program as it is before anything has started.
    fn build(
        settings: &'a Settings,
        roles: Roles,
        target: Target,
        key: Option<Found>,
        lock: Option<File>,
        listeners: &Listeners,
    ) -> (Self, Running) {
        let db = Db::new(target, settings.db_options(), Clock::default());
        let metrics = if settings.is_embedded() {
            Metrics::default()
        } else {
            Metrics::new("rabbitmq", &settings.broker.prefix)
        };
        let broker = broker(settings, &db, metrics.clone());
        let (stopper, stop) = shutdown::channel();
        let (relay_stopper, relay_stop) = shutdown::channel();
        let options = RelayOptions {
            lease: Duration::from_millis(settings.relay.lease_ms),
            interval: Duration::from_millis(settings.relay.interval_ms),
            batch: settings.relay.batch,
        };
        let (sender, committed) = mpsc::channel(options.batch * 4);
        let store = Store::with_relay(db, sender, options.lease).counting(metrics);
        let running = Running {
            gateway: listeners.gateway.as_ref().map(|(_, address, _)| *address),
            health: listeners.health.as_ref().and_then(|listener| listener.local_addr().ok()),
            store: store.clone(),
            broker: broker.clone(),
            roles: Tasks::new(),
            relay: Tasks::new(),
            stopper,
            relay_stopper,
            _lock: lock,
        };
        let parts = Self {
            settings,
            roles,
            store,
            broker,
            key,
            startup: Startup::default(),
            declared: Declared::default(),
            updates: gateway::Updates::default(),
            stop,
            relay: RelayParts { options, committed, stop: relay_stop },
        };
        (parts, running)
    }

    /// Answers HTTP, though nothing else is ready yet.
    fn answer(&self, listeners: Listeners, tasks: &mut Tasks) {
        let check = self.declared.check(&self.broker);
        if let (Some((auth, address, listener)), Some(found)) = (listeners.gateway, &self.key) {
            tracing::debug!(listen = %address, "HTTP is answered");
            let settings = self.settings;
            let parts = GatewayParts {
                store: self.store.clone(),
                vault: found.key.clone(),
                hosts: HostList::new(&settings.gateway.hosts, auth.is_demo()),
                auth,
                limits: settings.limits(),
                begin: WorkerOptions::from_settings(settings).begin,
                max_unfinished: settings.limits.unfinished_jobs,
                hourly: Hourly {
                    pairs: settings.limits.pairs_per_hour,
                    bytes: settings.limits.bytes_per_hour,
                },
                max_body_bytes: settings.gateway.max_body_bytes,
                pool_size: settings.database.pool_size,
                serving: Serving::from_settings(&settings.gateway),
                streams_per_person: settings.gateway.streams_per_person,
                broker: check.clone(),
                startup: self.startup.clone(),
                updates: self.updates.clone(),
            };
            spawn(tasks, "gateway", gateway::serve(listener, parts, self.stop.clone()));
        }
        if let Some(listener) = listeners.health {
            tracing::debug!(listen = ?listener.local_addr().ok(), "a worker's HTTP is answered");
            let health = gateway::worker_health(self.store.clone(), check, self.startup.clone());
            spawn(tasks, "worker's health", gateway::answer(listener, health, self.stop.clone()));
        }
    }

    /// Waits for the servers and prepares what is in them. Returns what goes on waiting for the broker,
    /// if that could not be reached.
    async fn make_ready(&self) -> Result<Option<Patience>, AppError> {
        let db = self.store.db();
        // Both at once: neither waits for the other, and a broker that refuses is told though the database is away.
        let database = async {
            database::ready(db, self.roles.migrate).await?;
            database::advise(db).await;
            self.startup.reach(Stage::Broker);
            Ok(())
        };
        let broker = async { Ok::<_, AppError>(self.declared.now(&self.broker).await?) };
        let ((), away) = tokio::try_join!(database, broker)?;
        if self.settings.is_embedded() {
            // What a process that is gone held is delivered again. Nothing consumes yet, so another handle on the
            // rows will do.
            database::recover(&Embedded::new(db.clone()), &self.store).await?;
        }
        if let Some(found) = &self.key {
            found.settle(&self.store).await?;
            if self.roles.demo && self.settings.auth.mode == AuthMode::Demo {
                self.startup.reach(Stage::DemoData);
                database::fill_with_demo(&self.store, &found.key).await?;
            }
            database::warn_of_demo_mode(self.settings, &self.store).await;
        }
        Ok(away)
    }

    /// Starts the work of the roles. `away` is what waits for a broker that is not there yet.
    fn work(self, away: Option<Patience>, running: &mut Running) {
        let Self { settings, roles, store, broker, declared, updates, stop, relay, .. } = self;
        if let Some(patience) = away {
            spawn(&mut running.roles, "declaring", declared.later(broker.clone(), patience, stop.clone()));
        }
        let relaying = relay::run(store.clone(), broker.clone(), relay.committed, relay.options, relay.stop);
        spawn(&mut running.relay, "relay", relaying);
        if let Some(address) = running.gateway {
            tracing::info!(listen = %address, "the gateway listens");
            let heard = updates::run(store.clone(), broker.clone(), updates, stop.clone());
            spawn(&mut running.roles, "listener for events", heard);
            let notices =
                notifier::run(store.clone(), broker.clone(), settings.broker.prefetch, stop.clone());
            spawn(&mut running.roles, "notifier", notices);
        }
        if roles.work {
            let options = WorkerOptions::from_settings(settings);
            spawn(&mut running.roles, "worker", worker::run(store, broker, options, stop));
        }
        if running.health.is_some() {
            tracing::info!(listen = ?running.health, "the worker's health is told");
        }
    }
}
