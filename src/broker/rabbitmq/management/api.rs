//! Asks the management API over HTTP, and reads its answers.

use std::io;
use std::path::PathBuf;

use async_rs::Tokio;
use async_rs::traits::Reactor;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, AUTHORIZATION, HOST, HeaderValue};
use hyper::{Request, StatusCode};
use lapin::AsyncTcpStream;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde_json::Value;
use tokio::task::JoinSet;
use url::{Host, Position, Url};

use crate::broker::rabbitmq::connect::tls;
use crate::broker::rabbitmq::management::stream::HttpStream;

/// The largest answer that is read, in bytes. What is asked for here has a few hundred.
const LARGEST_ANSWER: usize = 256 * 1024;

/// The characters that stay as they are in a path.
const PLAIN: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Why the management API told nothing. `Display` has no password, and nothing of the answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManagementError {
    #[error("{0}")]
    Unavailable(String),
    #[error(
        "it refuses (HTTP status {0}): user and password must be right, and the user needs the tag \"management\" and a \
         permission, which may be an empty one, in the virtual host"
    )]
    Refused(u16),
    #[error("it answers with HTTP status {0}: is it the management API of RabbitMQ?")]
    Status(u16),
    #[error("it answers with something else: is it the management API of RabbitMQ?")]
    Other,
}

impl ManagementError {
    /// What kind of error it is, in a word.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Unavailable(_) => "unavailable",
            Self::Refused(_) => "refused",
            Self::Status(_) | Self::Other => "other",
        }
    }
}

/// One management API. It keeps no connection: it is asked once a minute.
pub(super) struct Api {
    host: String,
    port: u16,
    is_tls: bool,
    /// What the header `Host` says.
    authority: String,
    /// The path below which the API is (`management.path_prefix`). It is empty, or begins with `/` and does not end
    /// with one.
    path: String,
    authorization: HeaderValue,
    ca_file: Option<PathBuf>,
}

impl Api {
    /// Reads `http(s)://user:password@host:port`, perhaps with a path. The settings have checked the URL before.
    ///
    /// # Errors
    /// The URL has no host, or a user that no header can hold.
    pub(super) fn new(url: &Url, ca_file: Option<PathBuf>) -> Result<Self, ManagementError> {
        let unread = || ManagementError::Unavailable("broker.management_url cannot be read".to_owned());
        let host = match url.host().ok_or_else(unread)? {
            Host::Domain(name) => name.to_owned(),
            Host::Ipv4(address) => address.to_string(),
            Host::Ipv6(address) => address.to_string(),
        };
        let mut user: Vec<u8> = percent_decode_str(url.username()).collect();
        user.push(b':');
        user.extend(percent_decode_str(url.password().unwrap_or_default()));
        let header = format!("Basic {}", BASE64_STANDARD.encode(user));
        let mut authorization = HeaderValue::from_str(&header).map_err(|_| unread())?;
        authorization.set_sensitive(true);
        Ok(Self {
            host,
            port: url.port_or_known_default().ok_or_else(unread)?,
            is_tls: url.scheme() == "https",
            authority: url[Position::BeforeHost..Position::AfterPort].to_owned(),
            path: url.path().trim_end_matches('/').to_owned(),
            authorization,
            ca_file,
        })
    }

    /// The JSON of one resource below `/api/`, or `None` if there is no such resource. The parts of its path may have
    /// any characters. The caller sets the deadline.
    pub(super) async fn get(&self, parts: &[&str], query: &str) -> Result<Option<Value>, ManagementError> {
        let mut path = format!("{}/api", self.path);
        for part in parts {
            path.push('/');
            path.extend(utf8_percent_encode(part, &PLAIN));
        }
        path.push_str(query);
        let request = Request::get(path)
            .header(HOST, &self.authority)
            .header(AUTHORIZATION, self.authorization.clone())
            .header(ACCEPT, "application/json")
            .body(Empty::<Bytes>::new())
            .map_err(|_| ManagementError::Other)?;
        let stream = self.connect().await.map_err(|error| self.away(&error))?;
        let (mut sender, connection) =
            http1::handshake(HttpStream(stream)).await.map_err(|error| self.broken(&error))?;
        // This task drives the connection, and ends with the call.
        let mut driver = JoinSet::new();
        driver.spawn(connection);
        let answer = sender.send_request(request).await.map_err(|error| self.broken(&error))?;
        match answer.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Ok(None),
            status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
                return Err(ManagementError::Refused(status.as_u16()));
            }
            status => return Err(ManagementError::Status(status.as_u16())),
        }
        let body = Limited::new(answer.into_body(), LARGEST_ANSWER).collect().await;
        let body = body.map_err(|error| match error.downcast::<hyper::Error>() {
            Ok(error) => self.broken(&error),
            Err(error) if error.is::<LengthLimitError>() => ManagementError::Other,
            Err(_) => self.away(&io::ErrorKind::ConnectionAborted),
        })?;
        serde_json::from_slice(&body.to_bytes()).map(Some).map_err(|_| ManagementError::Other)
    }

    /// Connects to the first address of the host that takes a connection.
    async fn connect(&self) -> io::Result<AsyncTcpStream<<Tokio as Reactor>::TcpStream>> {
        let kit = Tokio::current();
        let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for address in tokio::net::lookup_host((self.host.as_str(), self.port)).await? {
            match kit.tcp_connect_addr(address).await {
                Ok(socket) if self.is_tls => {
                    let tls = tls(self.ca_file.as_deref())?;
                    return AsyncTcpStream::Plain(socket).into_tls(&self.host, tls.as_ref()).await;
                }
                Ok(socket) => return Ok(AsyncTcpStream::Plain(socket)),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn away(&self, reason: &impl std::fmt::Display) -> ManagementError {
        ManagementError::Unavailable(format!("{}: {reason}", self.authority))
    }

    /// An answer that is not HTTP comes from another kind of server.
    fn broken(&self, error: &hyper::Error) -> ManagementError {
        if error.is_parse() { ManagementError::Other } else { self.away(error) }
    }
}
