//! The stream between the server and lapin. What is read is mended on its way (see frames.rs).
//!
//! It is above TLS. lapin accepts a stream of one's own only from a reactor that connects. Ours connects nothing: the
//! stream is handed over when it is open (see connect.rs).

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use async_rs::Tokio;
use async_rs::traits::Reactor;
use futures_io::{AsyncRead, AsyncWrite};
use futures_util::Stream;
use lapin::AsyncTcpStream;

use crate::broker::rabbitmq::frames::Frames;

/// So many bytes of a frame that is held back are read at a time.
const PART: usize = 8192;

/// What lapin reads from and writes to.
pub(super) type ServerStream = Mending<AsyncTcpStream<<Tokio as Reactor>::TcpStream>>;

/// A stream whose bytes are mended as they are read. What is written passes unchanged.
pub(super) struct Mending<S> {
    inner: S,
    frames: Frames,
}

impl<S> Mending<S> {
    pub(super) fn new(inner: S, frames: Frames) -> Self {
        Self { inner, frames }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Mending<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if buffer.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let Self { inner, frames } = &mut *self;
        loop {
            if let Some(count) = frames.give(buffer) {
                return Poll::Ready(Ok(count));
            }
            if let Some(missing) = frames.missing() {
                let mut part = [0; PART];
                let part = &mut part[..missing.min(PART)];
                let count = ready!(Pin::new(&mut *inner).poll_read(context, part))?;
                if count == 0 {
                    return Poll::Ready(Ok(0));
                }
                frames.take(&part[..count]);
                continue;
            }
            let count = ready!(Pin::new(&mut *inner).poll_read(context, buffer))?;
            let passed = frames.scan(&mut buffer[..count]);
            // If there is no byte to give out, everything that was read is held back, and we read on: 0 would mean
            // the end.
            if passed > 0 || count == 0 {
                return Poll::Ready(Ok(passed));
            }
        }
    }

    /// Reads into the first buffer that has room, as tokio's own stream does for lapin.
    fn poll_read_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        match buffers.iter_mut().find(|buffer| !buffer.is_empty()) {
            Some(buffer) => self.poll_read(context, buffer),
            None => Poll::Ready(Ok(0)),
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Mending<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_close(context)
    }
}

/// A reactor with tokio's timers and our stream. It connects nothing.
#[derive(Debug, Clone)]
pub(super) struct Handed(pub(super) Tokio);

impl Reactor for Handed {
    type TcpStream = ServerStream;
    type Sleep = <Tokio as Reactor>::Sleep;

    fn register<H: Read + Write + Send + 'static>(
        &self,
        _socket: H,
    ) -> io::Result<impl AsyncRead + AsyncWrite + Send + Unpin + 'static> {
        Err::<ServerStream, _>(io::ErrorKind::Unsupported.into())
    }

    fn sleep(&self, time: Duration) -> Self::Sleep {
        self.0.sleep(time)
    }

    fn interval(&self, time: Duration) -> impl Stream<Item = Instant> + Send + 'static {
        self.0.interval(time)
    }

    fn tcp_connect_addr(
        &self,
        _address: SocketAddr,
    ) -> impl Future<Output = io::Result<Self::TcpStream>> + Send + 'static {
        std::future::ready(Err(io::ErrorKind::Unsupported.into()))
    }
}
