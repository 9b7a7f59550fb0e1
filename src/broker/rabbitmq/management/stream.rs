//! Makes a stream of ours, with or without TLS, into one that hyper can use.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use async_rs::Tokio;
use async_rs::traits::Reactor;
use futures_io::{AsyncRead as _, AsyncWrite as _};
use hyper::rt::ReadBufCursor;
use lapin::AsyncTcpStream;

/// So many bytes are read at a time.
const PART: usize = 4096;

pub(super) struct HttpStream(pub(super) AsyncTcpStream<<Tokio as Reactor>::TcpStream>);

impl hyper::rt::Read for HttpStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let mut part = [0; PART];
        let part = &mut part[..buffer.remaining().min(PART)];
        let count = ready!(Pin::new(&mut self.0).poll_read(context, part))?;
        buffer.put_slice(&part[..count]);
        Poll::Ready(Ok(()))
    }
}

impl hyper::rt::Write for HttpStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_close(context)
    }
}
