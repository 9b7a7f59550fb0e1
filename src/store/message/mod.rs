//! Keeps messages as rows: the outbox as the relay sees it, dead letters, and the checks of dead-lettering.

pub(super) mod checks;
pub(super) mod desk;
pub(super) mod letters;
pub(super) mod sending;
