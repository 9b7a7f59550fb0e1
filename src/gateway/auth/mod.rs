//! Who asks: signing a request's person in, in the way that the configuration says.
//!
//! A way to sign in is a file of its own: `demo`, where people choose freely who they are, and `proxy`, where a proxy
//! in front of this server names them.

pub(super) mod demo;
mod error;
mod header;
mod proxy;
mod record;
mod refusals;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{FromRef, FromRequestParts};
use axum::http::HeaderMap;
use axum::http::request::Parts;

use crate::config;
use crate::config::AuthMode;
use crate::domain::text;
use crate::gateway::problem::Problem;
use crate::gateway::serving::Caller;
use crate::store::{Person, SignIn, Store};
use record::Records;
use refusals::Refusals;

pub use error::AuthError;
pub use proxy::ProxyAuth;

/// How people are told apart.
pub enum Auth {
    Demo,
    Proxy(ProxyAuth),
}

impl Auth {
    /// Reads the configuration, for a server that listens on `listen`.
    ///
    /// # Errors
    /// Where the demo would be reachable from other machines, and where a header's name or the proxy's secret cannot
    /// be used.
    pub fn from_settings(settings: &config::Auth, listen: SocketAddr) -> Result<Self, AuthError> {
        match settings.mode {
            AuthMode::Demo if !listen.ip().is_loopback() => Err(AuthError::DemoBeyondLoopback(listen)),
            AuthMode::Demo => Ok(Self::Demo),
            AuthMode::Proxy => ProxyAuth::from_settings(&settings.proxy).map(Self::Proxy),
        }
    }

    #[must_use]
    pub fn is_demo(&self) -> bool {
        matches!(self, Self::Demo)
    }

    /// The username for which the request stands.
    fn username(&self, headers: &HeaderMap) -> Result<String, Problem> {
        match self {
            Self::Demo => demo::username(headers),
            Self::Proxy(proxy) => proxy.username(headers),
        }
    }
}

/// Signs people in, and remembers which refusals were logged and recorded. Cheap to clone: all clones are the same one.
#[derive(Clone)]
pub(super) struct SignIns(Arc<Inner>);

struct Inner {
    auth: Auth,
    records: Records,
    refusals: Refusals,
    store: Store,
}

impl SignIns {
    pub(super) fn new(auth: Auth, store: Store) -> Self {
        let records = Records::new(store.clone());
        Self(Arc::new(Inner { auth, records, refusals: Refusals::default(), store }))
    }

    pub(super) fn is_demo(&self) -> bool {
        self.0.auth.is_demo()
    }

    /// The name of the mode, as the configuration has it.
    pub(super) fn mode_name(&self) -> &'static str {
        match self.0.auth {
            Auth::Demo => "demo",
            Auth::Proxy(_) => "proxy",
        }
    }

    /// The address from which a request comes: what a proxy says that has proved itself, and otherwise the other end
    /// of the connection.
    pub(super) fn client(&self, headers: &HeaderMap, caller: &Caller) -> IpAddr {
        match &self.0.auth {
            Auth::Demo => None,
            Auth::Proxy(proxy) => proxy.client(headers),
        }
        .unwrap_or(caller.address)
    }

    /// Signs a user in by name.
    ///
    /// # Errors
    /// A problem of status 401 where there is no such user, of 403 where the user may not sign in, of 503 where the
    /// database cannot be asked.
    pub(super) async fn by_username(&self, username: String) -> Result<Person, Problem> {
        if username.is_empty() {
            return Err(Problem::not_signed_in("the username is empty"));
        }
        // The name is compared exactly. If "Ana" stood for "ana", one person could be taken for another.
        text::username(&username)
            .map_err(|error| Problem::not_signed_in(&format!("the username {error}")))?;
        match self.0.store.sign_in(username).await? {
            SignIn::Person(person) => Ok(person),
            SignIn::Unknown => Err(Problem::not_signed_in("there is no such user")),
            SignIn::Refused(reason) => {
                Err(Problem::sign_in_refused(&format!("the user cannot sign in: {reason}")))
            }
        }
    }

    /// Signs in whoever sent a request with these headers, and logs and records a refusal.
    async fn of(&self, headers: &HeaderMap, caller: Option<&Caller>) -> Result<Person, Problem> {
        let signed_in = match self.0.auth.username(headers) {
            Ok(username) => self.by_username(username).await,
            Err(problem) => Err(problem),
        };
        match (&signed_in, caller) {
            (Ok(person), Some(caller)) => caller.is(person.id),
            (Err(problem), Some(caller)) => {
                if let Some(cause) = problem.refused_sign_in() {
                    let address = self.client(headers, caller);
                    self.0.refusals.tell(address, cause);
                    self.0.records.keep(address, cause);
                }
            }
            (_, None) => {}
        }
        signed_in
    }
}

/// The person who asks. A route with this among its arguments is answered for people who can sign in, and for nobody
/// else.
pub(crate) struct Me(pub(crate) Person);

impl<S: Send + Sync> FromRequestParts<S> for Me
where
    SignIns: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let caller = parts.extensions.get::<Caller>();
        SignIns::from_ref(state).of(&parts.headers, caller).await.map(Me)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::AuthProxy;

    #[test]
    fn the_demo_listens_on_loopback_only() {
        let settings = |mode| config::Auth {
            mode,
            proxy: AuthProxy {
                user_header: "X-Forwarded-User".to_owned(),
                secret_header: "X-Secret".to_owned(),
                secret_file: String::new(),
                forwarded_for: false,
            },
        };
        let start = |mode, listen: &str| {
            let started = Auth::from_settings(&settings(mode), listen.parse().expect("an address"));
            started.map(|_| ()).map_err(|error| error.with_causes())
        };
        assert!(start(AuthMode::Demo, "127.0.0.1:80").is_ok());
        assert!(start(AuthMode::Demo, "[::1]:80").is_ok());
        for listen in ["0.0.0.0:80", "[::]:80", "192.168.1.2:80"] {
            let error = start(AuthMode::Demo, listen).expect_err("refused");
            assert!(error.contains("demo") && error.contains(listen) && !error.contains('\n'), "{error}");
        }
        assert!(start(AuthMode::Proxy, "127.0.0.1:80").expect_err("no file").contains("secret_file"));
    }
}
