//! A connection, and the cell it lives in.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use lapin::options::ConfirmSelectOptions;
use lapin::{Channel, Connection, Event};
use tokio::sync::{Mutex, watch};
use tokio::time::{Instant, timeout, timeout_at};

use crate::broker::error::BrokerError;
use crate::broker::rabbitmq::connect::Attempt;
use crate::broker::rabbitmq::refusal::failed;
use crate::broker::rabbitmq::server::Server;

/// A place for one connection, which is made when it is needed, and made again after it was lost.
pub(super) struct Cell {
    server: Arc<Server>,
    /// What the connection is for.
    purpose: &'static str,
    /// The size of a frame in bytes that we ask for, if the URL does not say one; without either, the server's.
    frame_max: Option<u32>,
    link: Mutex<Option<Arc<Link>>>,
    /// The number of the host that the next attempt begins with. It counts on over the hosts of the URL, again and
    /// again.
    turn: AtomicUsize,
}

/// An open connection.
pub(super) struct Link {
    connection: Connection,
    /// Why the broker has stopped reading from the connection, while it does not read: there is an alarm.
    blocked: watch::Receiver<Option<String>>,
    events: tokio::task::JoinHandle<()>,
    /// Channels in confirm mode that nobody uses now.
    confirming: StdMutex<Vec<Channel>>,
}

impl Cell {
    pub(super) fn new(server: Arc<Server>, purpose: &'static str, frame_max: Option<u32>) -> Self {
        Self { server, purpose, frame_max, link: Mutex::new(None), turn: AtomicUsize::new(0) }
    }

    /// The connection that is there, or a new one. It waits for the connect timeout at most.
    pub(super) async fn get(&self) -> Result<Arc<Link>, BrokerError> {
        let server = &*self.server;
        let places = server.places.as_ref().map_err(|form| BrokerError::Refused((*form).to_owned()))?;
        let limit = places.connect_timeout().unwrap_or(server.options.connect_timeout);
        let deadline = Instant::now() + limit;
        let late = |_| BrokerError::Unavailable(format!("no answer from {places} within {limit:?}"));
        let mut link = timeout_at(deadline, self.link.lock()).await.map_err(late)?;
        if let Some(link) = link.as_ref().filter(|link| link.connection.status().connected()) {
            return Ok(Arc::clone(link));
        }
        *link = None;
        // Each attempt begins at another host. It is counted before it is made, because whoever waits for us may be
        // gone before its end.
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let name = format!("{} {}", server.options.name, self.purpose);
        let attempt = Attempt { server, places, turn, deadline, name, frame_max: self.frame_max };
        let connecting = attempt.first_that_answers();
        let (connection, host) = timeout_at(deadline, connecting).await.map_err(late)??;
        // The next attempt begins with the host behind this one, because it is made when this host is gone.
        let count = places.count();
        self.turn.fetch_add((host + count - turn % count) % count, Ordering::Relaxed);
        let fresh = Arc::new(Link::new(connection, self.purpose));
        *link = Some(Arc::clone(&fresh));
        Ok(fresh)
    }

    pub(super) fn server(&self) -> &Server {
        &self.server
    }

    /// Drops a connection that failed, unless a newer one took its place.
    pub(super) async fn forget(&self, failed: &Arc<Link>) {
        let mut link = self.link.lock().await;
        if link.as_ref().is_some_and(|link| Arc::ptr_eq(link, failed)) {
            *link = None;
        }
    }

    pub(super) async fn close(&self, limit: Duration) {
        let Ok(mut link) = timeout(limit, self.link.lock()).await else { return };
        if let Some(link) = link.take() {
            // If the peer does not answer, dropping the connection closes it.
            let _ = timeout(limit, link.connection.close(200, "OK".into())).await;
        }
    }
}

impl Link {
    fn new(connection: Connection, purpose: &'static str) -> Self {
        // lapin hands each event to one listener only, and this is the one.
        let mut stream = connection.events_listener();
        let (tell, blocked) = watch::channel(None);
        let events = tokio::spawn(async move {
            while let Some(event) = stream.next().await {
                match event {
                    Event::ConnectionBlocked(reason) => {
                        tracing::warn!(purpose, reason, "RabbitMQ blocks the connection");
                        tell.send_replace(Some(reason));
                    }
                    Event::ConnectionUnblocked => {
                        tracing::info!(purpose, "RabbitMQ takes messages again");
                        tell.send_replace(None);
                    }
                    _ => {}
                }
            }
        });
        Self { connection, blocked, events, confirming: StdMutex::default() }
    }

    /// A new channel.
    pub(super) async fn channel(&self) -> Result<Channel, BrokerError> {
        self.connection.create_channel().await.map_err(|error| failed("opening a channel", &error))
    }

    /// A channel in confirm mode that nobody else uses. lapin attaches a returned message to whichever confirm of its
    /// channel comes next, so two batches must not share a channel.
    pub(super) async fn confirming(&self) -> Result<Channel, BrokerError> {
        while let Some(channel) = self.idle().pop() {
            if channel.status().connected() {
                return Ok(channel);
            }
        }
        let channel = self.channel().await?;
        let selected = channel.confirm_select(ConfirmSelectOptions::default()).await;
        selected.map_err(|error| failed("asking for confirms", &error))?;
        Ok(channel)
    }

    /// Takes back a channel. All of its confirms must have come.
    pub(super) fn give_back(&self, channel: Channel) {
        self.idle().push(channel);
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Channel>> {
        self.confirming.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why the connection takes nothing now, if it does not.
    pub(super) fn blocked_now(&self) -> Option<BrokerError> {
        let told = self.blocked.borrow().clone();
        // lapin knows it a moment before its listeners do.
        let known = || self.connection.status().blocked().then(|| "an alarm at the server".to_owned());
        told.or_else(known).map(|reason| blocked(&reason))
    }

    /// Resolves when the broker stops taking messages. It never resolves if the connection ends before.
    pub(super) async fn when_blocked(&self) -> BrokerError {
        let mut receiver = self.blocked.clone();
        if let Ok(reason) = receiver.wait_for(Option::is_some).await {
            return blocked(reason.as_deref().unwrap_or_default());
        }
        std::future::pending().await
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // lapin also closes the connection when its last channel is dropped.
        self.events.abort();
    }
}

fn blocked(reason: &str) -> BrokerError {
    BrokerError::Unavailable(format!("blocked: {reason}"))
}
