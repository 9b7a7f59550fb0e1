//! How the program stops: a signal that is passed as an argument to whoever takes work.

use std::convert::Infallible;

use tokio::signal::unix::{self, SignalKind};
use tokio::sync::watch;

/// Tells when it is time to stop. Only *taking* work is raced with it; work in hand is finished.
#[derive(Clone)]
pub struct Stop {
    receiver: watch::Receiver<bool>,
}

/// Gives the signal. Dropping it gives the signal, too.
pub struct Stopper {
    sender: watch::Sender<bool>,
}

/// A signal that has not been given, and the handle that gives it.
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
        // An error means that the stopper is gone, and that is the signal, too.
        let _ = self.receiver.clone().wait_for(|stop| *stop).await;
    }

    /// Sleeps, but not beyond the signal. Returns false if the signal ended the sleep.
    pub async fn sleep(&self, duration: std::time::Duration) -> bool {
        tokio::select! {
            () = tokio::time::sleep(duration) => true,
            () = self.wait() => false,
        }
    }
}

/// The signals of this process, from when this is made: none is missed after that.
///
/// SIGTERM and SIGINT stop the program. SIGHUP, SIGUSR1 and SIGUSR2 would end a process that does not listen to them,
/// at once and with work in hand. Other programs read their settings again or reopen their logs when they get one;
/// here they do nothing.
pub struct Signals {
    terminate: unix::Signal,
    interrupt: unix::Signal,
    hangup: Ignored,
    user1: Ignored,
    user2: Ignored,
}

impl Signals {
    /// Starts to listen.
    ///
    /// # Errors
    /// The system does not let us listen to the signals.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: unix::signal(SignalKind::terminate())?,
            interrupt: unix::signal(SignalKind::interrupt())?,
            hangup: Ignored::listen("SIGHUP", SignalKind::hangup())?,
            user1: Ignored::listen("SIGUSR1", SignalKind::user_defined1())?,
            user2: Ignored::listen("SIGUSR2", SignalKind::user_defined2())?,
        })
    }

    /// Returns at the next signal that stops the program. It is safe to cancel.
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

/// A signal that is logged once and has no other effect.
struct Ignored {
    name: &'static str,
    signal: unix::Signal,
    told: bool,
}

impl Ignored {
    fn listen(name: &'static str, kind: SignalKind) -> std::io::Result<Self> {
        Ok(Self { name, signal: unix::signal(kind)?, told: false })
    }

    /// Never returns. It is safe to cancel.
    async fn ignore(&mut self) -> Infallible {
        while self.signal.recv().await.is_some() {
            if !std::mem::replace(&mut self.told, true) {
                tracing::info!(signal = self.name, "ignored, now and later; SIGTERM and SIGINT stop");
            }
        }
        std::future::pending().await
    }
}
