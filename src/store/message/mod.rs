//! Messages as rows: the outbox as the relay sees it, and the dead letters.

pub(super) mod checks;
pub(super) mod desk;
pub(super) mod letters;
pub(super) mod sending;
