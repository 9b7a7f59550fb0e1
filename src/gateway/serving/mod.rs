//! Connections: taken while there is room, ended when they keep us waiting, finished when we stop.
//!
//! Whoever sends half a request, reads no answer or only holds connections open uses up patience and places, and
//! both are counted here. `axum::serve` has neither, so each connection is served by hyper under a task of ours.

mod activity;
mod connections;
mod patient;
mod unread;

use std::convert::Infallible;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, HttpBody as _};
use axum::http::header::EXPECT;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use crate::config;
use crate::domain::PrincipalId;
use crate::gateway::serving::activity::{Activity, InHand};
use crate::gateway::serving::connections::{Connections, Place};
use crate::gateway::serving::patient::Patient;
use crate::gateway::serving::unread::Unread;
use crate::shutdown::Stop;

/// Bytes of a request's head at the most, and of a body that is read ahead of whoever wants it.
const BUFFER: usize = 64 * 1024;

/// How often a connection is held against its deadlines.
const LOOK: Duration = Duration::from_secs(1);

/// The same once it is time to stop, and how long an answer may then be stuck.
const LAST_LOOK: Duration = Duration::from_millis(100);
const LAST_PATIENCE: Duration = Duration::from_millis(500);

/// Who waits for a turn, or sends a body, when the gateway stops has so long for it.
const STOP_GRACE: Duration = Duration::from_millis(500);

/// After this the kernel gives up a peer that acknowledges nothing: one that is gone without a word.
const SILENT_PEER_MS: u32 = 30_000;

/// How many connections there may be, and how long each may keep us waiting.
#[derive(Debug, Clone)]
pub struct Serving {
    pub max_connections: usize,
    pub max_per_address: usize,
    /// For a request's head, from its first byte (of a new connection: from its beginning).
    pub header: Duration,
    /// Between two requests.
    pub idle: Duration,
    /// For a part of an answer to be taken.
    pub write: Duration,
}

impl Serving {
    #[must_use]
    pub fn from_settings(settings: &config::Gateway) -> Self {
        Self {
            max_connections: settings.max_connections,
            max_per_address: settings.max_connections_per_address,
            header: Duration::from_millis(settings.header_timeout_ms),
            idle: Duration::from_millis(settings.idle_timeout_ms),
            write: Duration::from_millis(settings.write_timeout_ms),
        }
    }

    /// For the few who ask after a worker's health.
    pub(super) fn small() -> Self {
        Self {
            max_connections: 64,
            max_per_address: 64,
            header: Duration::from_secs(10),
            idle: Duration::from_secs(75),
            write: Duration::from_secs(30),
        }
    }

    fn overdue(&self, activity: &Activity) -> bool {
        activity.keeps_us_waiting(self.header, self.idle)
    }
}

/// Who sent a request, for the layers and routes. Cheap to clone; clones are of the same request.
#[derive(Clone)]
pub(super) struct Caller {
    /// The peer of the connection: where there is a proxy, the proxy.
    pub(super) address: IpAddr,
    /// Given when the gateway stops: what has no end of its own ends then.
    pub(super) stop: Stop,
    /// 0 while nobody is known.
    person: Arc<AtomicI64>,
}

impl Caller {
    /// Notes who it is.
    pub(super) fn is(&self, person: PrincipalId) {
        self.person.store(person.get(), Ordering::Relaxed);
    }

    /// Returns a moment after the gateway was told to stop: what waits for others is not waited for then.
    pub(super) async fn stopped(&self) {
        self.stop.wait().await;
        tokio::time::sleep(STOP_GRACE).await;
    }

    /// Who it is, where somebody had to sign in.
    pub(super) fn person(&self) -> Option<i64> {
        Some(self.person.load(Ordering::Relaxed)).filter(|person| *person != 0)
    }
}

/// Answers a router's requests until the stop signal; returns when those in hand are answered.
pub(super) async fn answer(listener: TcpListener, router: Router, serving: Serving, stop: Stop) {
    let connections = Connections::new(serving.max_connections, serving.max_per_address);
    let server = Arc::new(Server { http: http(), service: TowerToHyperService::new(router), serving, stop });
    // Closed when the last connection has ended.
    let (open, mut ended) = mpsc::channel::<Infallible>(1);
    loop {
        let accepted = tokio::select! {
            biased;
            () = server.stop.wait() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                // Where there is no room, the stream is dropped, which closes it.
                if let Some(place) = connections.place(peer.ip()) {
                    let (server, open) = (Arc::clone(&server), open.clone());
                    tokio::spawn(async move {
                        server.serve(stream, peer, place).await;
                        drop(open);
                    });
                }
            }
            Err(error) if is_of_the_peer(error.kind()) => {}
            Err(error) => {
                // No file or no memory is left. Trying again at once would only heat the machine.
                connections.tell_trouble(&error);
                connections.make_room();
                server.stop.sleep(LAST_LOOK).await;
            }
        }
    }
    drop(listener);
    drop(open);
    ended.recv().await;
}

fn is_of_the_peer(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::ConnectionAborted | ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset)
}

fn http() -> http1::Builder {
    let mut http = http1::Builder::new();
    // The deadline for a head is ours: hyper's is the same one for a connection that only waits.
    http.timer(TokioTimer::new()).header_read_timeout(None).max_buf_size(BUFFER);
    http
}

/// What all connections have in common.
struct Server {
    http: http1::Builder,
    service: TowerToHyperService<Router>,
    serving: Serving,
    stop: Stop,
}

impl Server {
    async fn serve(&self, stream: TcpStream, peer: SocketAddr, place: Place) {
        // Small answers must not wait for more to send. Where these cannot be set, nothing breaks.
        let _ = stream.set_nodelay(true);
        let _ = rustix::net::sockopt::set_tcp_user_timeout(&stream, SILENT_PEER_MS);
        let activity = Arc::clone(place.activity());
        let io = TokioIo::new(Patient::new(stream, self.serving.write, Arc::clone(&activity)));
        let (of_service, address) = (Arc::clone(&activity), peer.ip().to_canonical());
        let service = service_fn(move |request: hyper::Request<Incoming>| {
            let in_hand = InHand::new(Arc::clone(&of_service));
            let mut request = request.map(Body::new);
            // Who waits for leave to send has sent nothing yet.
            let large = request.body().size_hint().upper().is_none_or(|bytes| bytes > BUFFER as u64)
                && !request.headers().contains_key(EXPECT);
            let unread = large.then(|| Unread::new(std::mem::take(request.body_mut())));
            if let Some(unread) = &unread {
                *request.body_mut() = unread.lent();
            }
            let caller = Caller { address, stop: self.stop.clone(), person: Arc::default() };
            request.extensions_mut().insert(caller);
            let answer = self.service.call(request);
            async move {
                let Ok(answer) = answer.await;
                let is_refused = answer.status().is_client_error() || answer.status().is_server_error();
                if let (true, Some(unread), false) = (is_refused, unread, self.stop.is_set()) {
                    unread.throw_away().await;
                }
                Ok::<_, Infallible>(answer.map(|body| in_hand.until_the_end_of(body)))
            }
        });
        let mut connection = pin!(self.http.serve_connection(io, service));
        let mut look = tokio::time::interval(LOOK.min(self.serving.header / 4));
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                // How a connection ends is its peer's business: what was asked has been logged.
                _ = connection.as_mut() => return,
                () = activity.evicted() => return,
                () = self.stop.wait() => break,
                _ = look.tick() => if self.serving.overdue(&activity) { return },
            }
        }
        connection.as_mut().graceful_shutdown();
        let mut look = tokio::time::interval(LAST_LOOK);
        loop {
            // Half a head, or none, is nothing in hand. What is being answered is answered.
            if activity.has_nothing_in_hand() || activity.is_stuck(LAST_PATIENCE) {
                return;
            }
            tokio::select! {
                biased;
                _ = connection.as_mut() => return,
                _ = look.tick() => {}
            }
        }
    }
}
