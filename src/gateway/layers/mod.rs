//! What every request passes on its way to its route, and every answer on its way back. `routes` puts them in order.

pub(super) mod access_log;
pub(super) mod guard;
pub(super) mod measure;
pub(super) mod panics;
pub(super) mod request_id;
pub(super) mod starting;
