//! What every request passes on its way to its route, and every answer on its way back.

pub(super) mod access_log;
pub(super) mod guard;
