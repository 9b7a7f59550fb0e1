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
    /// `amqp://user:password@host:port/vhost`, where several hosts may stand with commas between them; what its
    /// query sets wins over the fields here.
    pub url: String,
    pub topology: Topology,
    /// Seconds. A peer that is gone is noticed after twice this.
    pub heartbeat: u16,
    /// For connecting: TCP, TLS and AMQP's handshake together.
    pub connect_timeout: Duration,
    /// For everything else that the broker answers.
    pub operation_timeout: Duration,
    /// How the broker's own tools list the connections (with what each is for behind it).
    pub name: String,
    /// PEM: authorities that TLS trusts besides the system's.
    pub ca_file: Option<PathBuf>,
    /// Where messages are counted that had to be mended.
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
    /// What the URL must look like, where it could not be read: then every operation says so.
    pub(super) places: Result<Places, &'static str>,
    pub(super) mended: Arc<Mended>,
}

impl Server {
    pub(super) fn new(options: RabbitOptions) -> Self {
        let places = Places::parse(&options.url).map(|places| places.heartbeat(options.heartbeat));
        let mended = Arc::new(Mended::new(options.metrics.clone()));
        Self { options, places, mended }
    }

    /// The broker's user that this process is.
    pub(super) fn user(&self) -> Option<&str> {
        self.places.as_ref().ok().map(Places::user)
    }
}
