//! Ctrl-C at a command that waits: whatever it waits for goes on, and the person is told so.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Ctrl-C, from the moment on at which this is made. Until then, it ends the program at once.
pub(super) struct Interrupt(Option<Signal>);

impl Interrupt {
    /// Where no signal can be taken, Ctrl-C goes on ending the program at once.
    pub(super) fn new() -> Self {
        Self(signal(SignalKind::interrupt()).ok())
    }

    /// Returns when Ctrl-C is pressed.
    pub(super) async fn pressed(&mut self) {
        match &mut self.0 {
            Some(signal) => {
                signal.recv().await;
            }
            None => std::future::pending().await,
        }
    }
}
