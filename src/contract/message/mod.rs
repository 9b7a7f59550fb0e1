//! Messages over the broker: CloudEvents that ask for a job, wake a lane of one, or tell how it goes.

pub(super) mod binary;
pub(super) mod envelope;
pub(super) mod event;
pub(super) mod named;
pub(super) mod names;
pub(super) mod request;
pub(super) mod step;
pub(super) mod trace;
pub(super) mod written;
