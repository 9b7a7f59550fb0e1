//! A TCP relay in this process. Everything between batchshare and a server goes through it, and it can cut, stall and
//! slow the connections.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What the relay does to all its connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Flow,
    /// Every connection is closed, and every new one is closed as well.
    Cut,
    /// Connections are accepted, but nothing is carried, as with a peer that never answers.
    Stall,
    /// Each piece of data is delayed for this long.
    Slow(Duration),
}

/// How open connections fall silent. New connections carry data as before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Silence {
    /// They stay silent, as after a failover behind a proxy.
    ForEver,
    /// They are silent until the client sends something, and are closed then, as by a router that has forgotten them.
    UntilSpokenTo,
}

pub struct TcpRelay {
    pub port: u16,
    mode: watch::Sender<Mode>,
    /// What the existing connections are told.
    silenced: watch::Sender<Silence>,
}

impl TcpRelay {
    pub async fn start(target_port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (mode, changes) = watch::channel(Mode::Flow);
        let (silenced, silence) = watch::channel(Silence::ForEver);
        let target = SocketAddr::from(([127, 0, 0, 1], target_port));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(client, target, changes.clone(), silence.clone()));
            }
        });
        Self { port, mode, silenced }
    }

    /// Makes the existing connections fall silent, while they stay open.
    pub fn silence_open(&self, silence: Silence) {
        self.silenced.send_replace(silence);
    }

    pub fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }
}

async fn carry(
    client: TcpStream,
    target: SocketAddr,
    mut mode: watch::Receiver<Mode>,
    mut silence: watch::Receiver<Silence>,
) {
    silence.mark_unchanged();
    if mode.wait_for(|mode| *mode != Mode::Stall).await.is_err() || *mode.borrow() == Mode::Cut {
        return;
    }
    let Ok(server) = TcpStream::connect(target).await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let mut cut = mode.clone();
    let silent = tokio::select! {
        () = pump(&mut from_client, &mut to_server, mode.clone()) => false,
        () = pump(&mut from_server, &mut to_client, mode) => false,
        Ok(()) = silence.changed() => true,
        _ = cut.wait_for(|mode| *mode == Mode::Cut) => false,
    };
    if silent {
        let spoken_to = *silence.borrow() == Silence::UntilSpokenTo;
        tokio::select! {
            _ = cut.wait_for(|mode| *mode == Mode::Cut) => {}
            _ = from_client.readable(), if spoken_to => {}
        }
    }
}

async fn pump(
    from: &mut tokio::net::tcp::OwnedReadHalf,
    to: &mut tokio::net::tcp::OwnedWriteHalf,
    mut mode: watch::Receiver<Mode>,
) {
    let mut piece = vec![0; 64 * 1024];
    while let Ok(length) = from.read(&mut piece).await {
        if length == 0 || mode.wait_for(|mode| *mode != Mode::Stall).await.is_err() {
            return;
        }
        let now = *mode.borrow();
        if let Mode::Slow(wait) = now {
            tokio::time::sleep(wait).await;
        }
        if to.write_all(&piece[..length]).await.is_err() {
            return;
        }
    }
}
