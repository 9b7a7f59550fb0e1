//! Why a server must not start with the sign-in that its configuration asks for.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::Utf8Error;

use axum::http::header::InvalidHeaderName;

use crate::files::FileError;

/// The fewest characters that the secret which the proxy shares with us may have.
pub(super) const MIN_SECRET_CHARS: usize = 32;

/// What is wrong with the section `[auth]`. `Display` names the key and leaves the cause to `source`.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    #[error(
        "auth.mode is demo, in which anybody can be anybody: it listens on loopback only, not on {0}; set \
         gateway.listen to 127.0.0.1:… or auth.mode to proxy"
    )]
    DemoBeyondLoopback(SocketAddr),
    #[error("auth.proxy.{key} is not the name of a header")]
    NotAHeader { key: &'static str, source: InvalidHeaderName },
    #[error("auth.proxy.user_header and auth.proxy.secret_header must differ")]
    SameHeader,
    #[error("auth.mode is proxy, which needs auth.proxy.secret_file")]
    NoSecretFile,
    #[error("auth.proxy.secret_file cannot be used")]
    SecretFile(#[source] FileError),
    #[error("auth.proxy.secret_file {} is not UTF-8", path.display())]
    NotUtf8 { path: PathBuf, source: Utf8Error },
    #[error("auth.proxy.secret_file {} must hold {MIN_SECRET_CHARS} characters or more", .0.display())]
    TooShort(PathBuf),
    #[error(
        "auth.proxy.secret_file {} must hold printable ASCII without spaces, because it travels in a header",
        .0.display()
    )]
    NotPrintable(PathBuf),
}

impl AuthError {
    /// The error and its causes on one line, for whoever starts the program.
    #[must_use]
    pub fn with_causes(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text.push_str(&format!(": {error}"));
            cause = error.source();
        }
        text
    }
}
