//! Stopping: a signal that is passed as an argument to whoever takes work.

use std::convert::Infallible;

use tokio::signal::unix::{self, SignalKind};
use tokio::sync::watch;

/// Tells that it is time to stop. Only *taking* work is raced with it; work in hand is finished.
#[derive(Clone)]
pub struct Stop {
    receiver: watch::Receiver<bool>,
}

/// Gives the signal. Dropping it gives it too.
pub struct Stopper {
    sender: watch::Sender<bool>,
}

/// A signal that has not been given, and who can give it.
#[must_use]
pub fn channel() -> (Stopper, Stop) {
    let (sender, receiver) = watch::channel(false);
    (Stopper { sender }, Stop { receiver })
}

impl Stopper {
    pub fn stop(&self) {
        self.sender.send_replace(true);
    }
}

impl Stop {
    /// Whether the signal was given.
    #[must_use]
    pub fn is_set(&self) -> bool {
        *self.receiver.borrow() || self.receiver.has_changed().is_err()
    }

    /// Returns when the signal is given. Safe to cancel.
    pub async fn wait(&self) {
        // An error means that the stopper is gone, which is the signal too.
        let _ = self.receiver.clone().wait_for(|stop| *stop).await;
    }

    /// Sleeps, but not beyond the signal. False where the signal ended it.
    pub async fn sleep(&self, duration: std::time::Duration) -> bool {
        tokio::select! {
            () = tokio::time::sleep(duration) => true,
            () = self.wait() => false,
        }
    }
}

/// The signals of this process, from when it is made to its end: none between is missed.
///
/// SIGTERM and SIGINT stop. SIGHUP, SIGUSR1 and SIGUSR2 would end a process that does not listen to them, at
/// once and with work in hand; other programs read their settings or open their logs anew when they get one.
/// Here they mean nothing.
pub struct Signals {
    terminate: unix::Signal,
    interrupt: unix::Signal,
    hangup: Ignored,
    user1: Ignored,
    user2: Ignored,
}

impl Signals {
    /// Listens from now on.
    ///
    /// # Errors
    /// Where the signals cannot be listened to.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: unix::signal(SignalKind::terminate())?,
            interrupt: unix::signal(SignalKind::interrupt())?,
            hangup: Ignored::listen("SIGHUP", SignalKind::hangup())?,
            user1: Ignored::listen("SIGUSR1", SignalKind::user_defined1())?,
            user2: Ignored::listen("SIGUSR2", SignalKind::user_defined2())?,
        })
    }

    /// Returns at the next one that stops. Safe to cancel.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            never = self.hangup.ignore() => match never {},
            never = self.user1.ignore() => match never {},
            never = self.user2.ignore() => match never {},
        }
    }
}

/// A signal that is told once and does nothing.
struct Ignored {
    name: &'static str,
    signal: unix::Signal,
    told: bool,
}

impl Ignored {
    fn listen(name: &'static str, kind: SignalKind) -> std::io::Result<Self> {
        Ok(Self { name, signal: unix::signal(kind)?, told: false })
    }

    /// Never returns. Safe to cancel.
    async fn ignore(&mut self) -> Infallible {
        while self.signal.recv().await.is_some() {
            if !std::mem::replace(&mut self.told, true) {
                tracing::info!(signal = self.name, "ignored, now and later; SIGTERM and SIGINT stop");
            }
        }
        std::future::pending().await
    }
}
