//! Messages as rows: the outbox, which is sent, and the dead letters, which were not handled.

pub(super) mod checks;
pub(super) mod dead;
pub(super) mod dead_desk;
pub(super) mod outbox;
