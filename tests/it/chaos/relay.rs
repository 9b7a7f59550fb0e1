//! A TCP relay in this process: everything that batchshare sends to a server goes through it, and it
//! can cut, stall and slow that down.

use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What the relay does to all its connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Flow,
    /// Every connection is closed, and every new one too.
    Cut,
    /// Connections are accepted and nothing flows: a peer that never answers.
    Stall,
    /// The connections that there are stay open and say nothing more, until something is sent on one: then
    /// it closes, as with a router that forgot it. New ones flow.
    Hang,
    /// Each piece waits so long.
    Slow(Duration),
}

pub struct TcpRelay {
    pub port: u16,
    mode: watch::Sender<Mode>,
}

impl TcpRelay {
    pub async fn start(target_port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (mode, changes) = watch::channel(Mode::Flow);
        let target = SocketAddr::from(([127, 0, 0, 1], target_port));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(client, target, changes.clone()));
            }
        });
        Self { port, mode }
    }

    pub fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }
}

async fn carry(client: TcpStream, target: SocketAddr, mut mode: watch::Receiver<Mode>) {
    if mode.wait_for(|mode| *mode != Mode::Stall).await.is_err() || *mode.borrow() == Mode::Cut {
        return;
    }
    let Ok(server) = TcpStream::connect(target).await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let (mut cut, mut hang) = (mode.clone(), mode.clone());
    let is_new = *mode.borrow() == Mode::Hang;
    let mut there = pin!(pump(from_client, to_server, mode.clone(), is_new));
    let mut back = pin!(pump(from_server, to_client, mode, is_new));
    let hangs = tokio::select! {
        () = &mut there => false,
        () = &mut back => false,
        _ = cut.wait_for(|mode| *mode == Mode::Cut) => false,
        _ = hang.wait_for(|mode| *mode == Mode::Hang), if !is_new => true,
    };
    if hangs {
        there.await;
    }
}

async fn pump(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut mode: watch::Receiver<Mode>,
    is_new: bool,
) {
    let mut piece = vec![0; 64 * 1024];
    while let Ok(length) = from.read(&mut piece).await {
        if length == 0 || mode.wait_for(|mode| *mode != Mode::Stall).await.is_err() {
            return;
        }
        let now = *mode.borrow();
        if now == Mode::Hang && !is_new {
            return;
        }
        if let Mode::Slow(wait) = now {
            tokio::time::sleep(wait).await;
        }
        if to.write_all(&piece[..length]).await.is_err() {
            return;
        }
    }
}
