//! Serving connections: they are accepted while there is room, closed when they take too long, and finished when the
//! gateway stops.
//!
//! A client can send half a request, read no answer, or just hold connections open. This room has a deadline for each
//! of these, and a limit on the number of connections. `axum::serve` has neither, so that each connection is served
//! by hyper in a task of its own here.

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

/// The largest head of a request, and the most of a body that is read before a route asks for it, in bytes.
const BUFFER: usize = 64 * 1024;

/// How often a connection is checked against its deadlines.
const LOOK: Duration = Duration::from_secs(1);

/// How often it is checked while the gateway stops.
const LAST_LOOK: Duration = Duration::from_millis(100);

/// How long a client may take nothing of an answer while the gateway stops.
const LAST_PATIENCE: Duration = Duration::from_millis(500);

/// How long a request may still wait for a turn, or for its body, after the gateway was told to stop.
const STOP_GRACE: Duration = Duration::from_millis(500);

/// After this time the kernel gives a connection up whose other end acknowledges nothing: that machine is gone, or
/// cannot be reached.
const SILENT_PEER_MS: u32 = 30_000;

/// How many connections there may be, and how long each of them may take.
#[derive(Debug, Clone)]
pub struct Serving {
    pub max_connections: usize,
    pub max_per_address: usize,
    /// For the head of a request. The time of the first request begins with the connection, and that of another one
    /// with its first byte.
    pub header: Duration,
    /// Between an answer and the next request.
    pub idle: Duration,
    /// For the client to take a part of an answer.
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

    /// Few connections, for the supervisors of a worker.
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

/// Who sent a request. Layers and routes find it among the request's extensions. Cheap to clone: all clones belong to
/// the same request.
#[derive(Clone)]
pub(super) struct Caller {
    /// The other end of the connection, which is the proxy where there is one.
    pub(super) address: IpAddr,
    /// Given when the gateway stops. An answer without an end of its own ends then.
    pub(super) stop: Stop,
    /// The person's id, or 0 while nobody has signed in.
    person: Arc<AtomicI64>,
}

impl Caller {
    /// Notes who has signed in.
    pub(super) fn is(&self, person: PrincipalId) {
        self.person.store(person.get(), Ordering::Relaxed);
    }

    /// Returns a moment after the gateway was told to stop. Whatever waits for something else gives up then.
    pub(super) async fn stopped(&self) {
        self.stop.wait().await;
        tokio::time::sleep(STOP_GRACE).await;
    }

    /// Who has signed in; `None` where nobody has.
    pub(super) fn person(&self) -> Option<i64> {
        Some(self.person.load(Ordering::Relaxed)).filter(|person| *person != 0)
    }
}

/// Answers a router's requests until the stop signal, and returns when those in hand are answered.
pub(super) async fn answer(listener: TcpListener, router: Router, serving: Serving, stop: Stop) {
    let connections = Connections::new(serving.max_connections, serving.max_per_address);
    let server = Arc::new(Server { http: http(), service: TowerToHyperService::new(router), serving, stop });
    // This channel is closed when the last connection has ended. Nothing is ever sent through it.
    let (open, mut ended) = mpsc::channel::<Infallible>(1);
    loop {
        let accepted = tokio::select! {
            biased;
            () = server.stop.wait() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                // Where there is no room, the stream is dropped, which closes the connection.
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
                // No file or no memory is left. Trying again at once would only keep a processor busy.
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

/// Whether accepting a connection failed because the other end has closed it already.
fn is_of_the_peer(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::ConnectionAborted | ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset)
}

fn http() -> http1::Builder {
    let mut http = http1::Builder::new();
    // hyper has a deadline for a head, but it is also the one for a connection without a request. Here the two
    // differ, so that hyper's is off.
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
        // A small answer must not wait until there is more to send. Where these options cannot be set, everything
        // still works.
        let _ = stream.set_nodelay(true);
        let _ = rustix::net::sockopt::set_tcp_user_timeout(&stream, SILENT_PEER_MS);
        let activity = Arc::clone(place.activity());
        let io = TokioIo::new(Patient::new(stream, self.serving.write, Arc::clone(&activity)));
        let (of_service, address) = (Arc::clone(&activity), peer.ip().to_canonical());
        let service = service_fn(move |request: hyper::Request<Incoming>| {
            let in_hand = InHand::new(Arc::clone(&of_service));
            let mut request = request.map(Body::new);
            // A client that waits for our permission to send has sent nothing of its body yet.
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
                // An error here says how the client has ended the connection. Its requests have left lines in the
                // access log.
                _ = connection.as_mut() => return,
                () = activity.evicted() => return,
                () = self.stop.wait() => break,
                _ = look.tick() => if self.serving.overdue(&activity) { return },
            }
        }
        connection.as_mut().graceful_shutdown();
        let mut look = tokio::time::interval(LAST_LOOK);
        loop {
            // A connection without a whole head has no request in hand. A request that is being answered is finished.
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
