//! The RabbitMQ server that all connections of a process go to, and how long it is waited for.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::broker::rabbitmq::frames::Mended;
use crate::broker::rabbitmq::place::Places;
use crate::broker::topology::Topology;
use crate::telemetry::metrics::Metrics;

/// Where the broker is and how long to wait for it.
#[derive(Clone)]
pub struct RabbitOptions {
    /// `amqp://user:password@host:port/vhost`. Several hosts may stand there with commas between them. What the URL's
    /// query sets wins over the fields here.
    pub url: String,
    pub topology: Topology,
    /// In seconds. A peer that is gone is noticed after twice this time.
    pub heartbeat: u16,
    /// How long connecting may take: TCP, TLS and the handshake of AMQP together.
    pub connect_timeout: Duration,
    /// How long everything else that the broker answers may take.
    pub operation_timeout: Duration,
    /// The name under which the broker's own tools list the connections. What each is for stands behind it.
    pub name: String,
    /// A file (PEM) with authorities that TLS trusts besides the system's.
    pub ca_file: Option<PathBuf>,
    /// Where the messages are counted that had to be mended.
    pub metrics: Metrics,
}

// The URL holds a password: Debug leaves it out.
impl fmt::Debug for RabbitOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RabbitOptions")
            .field("topology", &self.topology)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// What the connections of a process have in common.
pub(super) struct Server {
    pub(super) options: RabbitOptions,
    /// The hosts; or what the URL must look like, if it could not be read: then every operation says so.
    pub(super) places: Result<Places, &'static str>,
    pub(super) mended: Arc<Mended>,
}

impl Server {
    pub(super) fn new(options: RabbitOptions) -> Self {
        let places = Places::parse(&options.url).map(|places| places.heartbeat(options.heartbeat));
        let mended = Arc::new(Mended::new(options.metrics.clone()));
        Self { options, places, mended }
    }

    /// The user that this process is at the broker.
    pub(super) fn user(&self) -> Option<&str> {
        self.places.as_ref().ok().map(Places::user)
    }
}
