//! Stopping: a signal that is passed as an argument to whoever takes work.

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

/// SIGTERM and SIGINT of this process, from when it is made to its end: none between is missed.
pub struct Signals {
    terminate: unix::Signal,
    interrupt: unix::Signal,
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
        })
    }

    /// Returns at the next one. Safe to cancel.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
