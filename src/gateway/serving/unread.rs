//! What is left of a large body when its request has been refused. It is read on for a while and thrown away, and
//! nothing of it is kept: a client that is still sending when the connection is closed would never read the answer.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};
use tokio::time::timeout;

/// The most that is read on, in bytes.
const MOST: usize = 8 * 1024 * 1024;

/// How long it is read on at the most.
const PATIENCE: Duration = Duration::from_secs(5);

/// A body whose rest can still be read when the route that read it is gone. Clones are the same body.
#[derive(Clone)]
pub(super) struct Unread(Arc<Mutex<Body>>);

impl Unread {
    pub(super) fn new(body: Body) -> Self {
        Self(Arc::new(Mutex::new(body)))
    }

    /// The body, for the route.
    pub(super) fn lent(&self) -> Body {
        Body::new(self.clone())
    }

    /// Reads what is left, within bounds.
    pub(super) async fn throw_away(mut self) {
        let read = async {
            let mut seen = 0;
            while seen < MOST {
                match poll_fn(|cx| Pin::new(&mut self).poll_frame(cx)).await {
                    Some(Ok(frame)) => seen += frame.data_ref().map_or(0, Bytes::len),
                    Some(Err(_)) | None => break,
                }
            }
        };
        // The answer leaves now, whether the body has come to its end or not.
        let _ = timeout(PATIENCE, read).await;
    }
}

impl HttpBody for Unread {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let mut body = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Pin::new(&mut *body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).size_hint()
    }
}
