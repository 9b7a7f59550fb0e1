//! How a connection is made: a socket, TLS above it, our stream above that, and the handshake by lapin.

use std::io;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use async_rs::traits::Reactor as _;
use async_rs::util::RuntimeParts;
use async_rs::{Runtime, Tokio};
use lapin::tcp::OwnedTLSConfig;
use lapin::uri::{AMQPScheme, AMQPUri};
use lapin::{AsyncTcpStream, Connection, ConnectionProperties};
use tokio::time::{Instant, timeout_at};

use crate::broker::error::BrokerError;
use crate::broker::rabbitmq::frames::Frames;
use crate::broker::rabbitmq::place::{Host, Places};
use crate::broker::rabbitmq::refusal::failed;
use crate::broker::rabbitmq::server::Server;
use crate::broker::rabbitmq::stream::{Handed, Mending, ServerStream};

/// What all attempts of one call have in common.
pub(super) struct Attempt<'a> {
    pub(super) server: &'a Server,
    pub(super) places: &'a Places,
    /// The number of the host that comes first.
    pub(super) turn: usize,
    pub(super) deadline: Instant,
    /// The name under which the broker's own tools list the connection.
    pub(super) name: String,
    /// The size of a frame in bytes, if the URL does not say one.
    pub(super) frame_max: Option<u32>,
}

impl Attempt<'_> {
    /// Tries each host in turn, and each address of it. The time is shared out, so that a host that is silent leaves
    /// time for the others. Returns the first connection, and the number of its host.
    pub(super) async fn first_that_answers(&self) -> Result<(Connection, usize), BrokerError> {
        let mut reasons = Vec::new();
        let count = self.places.count();
        for (tried, (number, host)) in self.places.from(self.turn).enumerate() {
            match self.host(host, share(self.deadline, count - tried)).await {
                Ok(connection) => {
                    tracing::debug!(name = self.name, place = %host, "connected to RabbitMQ");
                    return Ok((connection, number));
                }
                Err(BrokerError::Unavailable(reason)) => reasons.push(reason),
                // The other hosts would refuse the same user and virtual host, too.
                Err(refused) => return Err(refused),
            }
        }
        Err(BrokerError::Unavailable(reasons.join("; ")))
    }

    async fn host(&self, host: &Host, deadline: Instant) -> Result<Connection, BrokerError> {
        let late = || BrokerError::Unavailable(format!("no answer from {host} in time"));
        let broken = |error: io::Error| BrokerError::Unavailable(format!("{host}: {error}"));
        let found = tokio::net::lookup_host((host.name.as_str(), host.port));
        let found = timeout_at(deadline, found).await.map_err(|_| late())?.map_err(broken)?;
        let mut addresses: Vec<SocketAddr> = found.collect();
        if !addresses.is_empty() {
            let count = addresses.len();
            addresses.rotate_left(self.turn / self.places.count() % count);
        }
        let mut last = BrokerError::Unavailable(format!("{host}: the name has no address"));
        let count = addresses.len();
        for (tried, address) in addresses.into_iter().enumerate() {
            let deadline = share(deadline, count - tried);
            match timeout_at(deadline, self.address(host, address)).await {
                Ok(Err(BrokerError::Unavailable(reason))) => last = BrokerError::Unavailable(reason),
                Ok(answer) => return answer,
                Err(_) => last = late(),
            }
        }
        Err(last)
    }

    async fn address(&self, host: &Host, address: SocketAddr) -> Result<Connection, BrokerError> {
        let broken = |error: io::Error| BrokerError::Unavailable(format!("{host}: {error}"));
        let mut uri = self.places.uri(host);
        uri.query.frame_max = uri.query.frame_max.or(self.frame_max);
        let kit = Tokio::current();
        let socket = kit.tcp_connect_addr(address).await.map_err(broken)?;
        let cut = Cut::of(socket.get_ref()).map_err(broken)?;
        let mut stream = AsyncTcpStream::Plain(socket);
        if uri.scheme == AMQPScheme::AMQPS {
            let tls = tls(self.server.options.ca_file.as_deref()).map_err(broken)?;
            stream = stream.into_tls(&host.name, tls.as_ref()).await.map_err(broken)?;
        }
        let stream = Mending::new(stream, Frames::new(uri.query.frame_max, Arc::clone(&self.server.mended)));
        let properties = ConnectionProperties::default().with_connection_name(self.name.clone().into());
        let connection = handshake(uri, kit, stream, properties).await;
        let connection = connection.map_err(|error| failed(&host.to_string(), &error))?;
        cut.keep();
        Ok(connection)
    }
}

async fn handshake(
    uri: AMQPUri,
    kit: Tokio,
    stream: ServerStream,
    properties: ConnectionProperties,
) -> lapin::Result<Connection> {
    let runtime = Runtime::new(RuntimeParts::new(kit.clone(), Handed(kit)));
    let stream = Mutex::new(Some(stream));
    // lapin asks for it once, since its own retries are off.
    let hand_over = async move |_, _| {
        let stream = stream.lock().unwrap_or_else(PoisonError::into_inner).take();
        stream.map(AsyncTcpStream::Plain).ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected).into())
    };
    Connection::connector(uri, runtime, hand_over, properties).await
}

/// Whom TLS trusts: the system's authorities, and those of the file in the settings. The file is read each time, so
/// that it may be replaced.
pub(super) fn tls(file: Option<&Path>) -> io::Result<OwnedTLSConfig> {
    let cert_chain = file.map(|file| {
        std::fs::read_to_string(file)
            .map_err(|error| io::Error::other(format!("broker.ca_file {}: {error}", file.display())))
    });
    Ok(OwnedTLSConfig { identity: None, cert_chain: cert_chain.transpose()? })
}

/// Ends the socket of an attempt that is given up. lapin waits for the server in a thread of its own, and nothing but
/// this can end that wait.
struct Cut(Option<std::net::TcpStream>);

impl Cut {
    fn of(socket: &tokio::net::TcpStream) -> io::Result<Self> {
        Ok(Self(Some(socket.as_fd().try_clone_to_owned()?.into())))
    }

    /// Leaves the socket open, because the attempt was a success.
    fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        if let Some(socket) = &self.0 {
            // This fails if the server has closed the socket already, and then there is nothing to do.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

/// The time by which the first of so many attempts must have an answer, so that the others have as long.
fn share(deadline: Instant, of: usize) -> Instant {
    let now = Instant::now();
    now + deadline.saturating_duration_since(now) / u32::try_from(of.max(1)).unwrap_or(1)
}
