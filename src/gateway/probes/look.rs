//! Looking whether the database and the broker answer, for whoever supervises this process.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use axum::http::Method;
use futures_util::future::BoxFuture;
use tokio::time::timeout;

use crate::store::Store;

/// Asks whether the broker can be reached.
pub type BrokerCheck = Arc<dyn Fn() -> BoxFuture<'static, bool> + Send + Sync>;

/// How long the database and the broker have for their answers. It is shorter than the time that supervisors wait for
/// ours.
pub(super) const DEADLINE: Duration = Duration::from_secs(3);

/// The paths that supervisors ask for.
const PATHS: [&str; 3] = ["/healthz", "/readyz", "/metrics"];

/// Whether a request is a supervisor's. It is answered under any host name, because a container is asked by its
/// address, which no list of names can hold; and it is answered during the start.
pub(in crate::gateway) fn is_probe(request: &Request) -> bool {
    matches!(*request.method(), Method::GET | Method::HEAD) && PATHS.contains(&request.uri().path())
}

/// Whether the database answers and takes writes, and whether the broker answers.
pub(super) async fn look(store: &Store, broker: &BrokerCheck) -> (bool, bool) {
    let database = timeout(DEADLINE, async {
        store.db().ping().await?;
        store.takes_writes().await
    });
    let broker = timeout(DEADLINE, broker());
    let (database, broker) = tokio::join!(database, broker);
    (matches!(database, Ok(Ok(()))), broker.unwrap_or(false))
}
