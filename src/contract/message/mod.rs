//! Messages over the broker: CloudEvents that ask for a job or for something about one, wake a lane of a job, or tell
//! how it goes.

pub(super) mod asked;
pub(super) mod binary;
pub(super) mod envelope;
pub(super) mod event;
pub(super) mod named;
pub(super) mod names;
pub(super) mod order;
pub(super) mod request;
pub(super) mod step;
pub(super) mod trace;
pub(super) mod written;
