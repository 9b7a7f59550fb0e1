//! The fixed texts of our messages: their content type, their types and where they come from.

/// The content type of every message (structured mode of CloudEvents).
pub const CONTENT_TYPE: &str = "application/cloudevents+json";

/// The content type of a message's `data`.
pub(in crate::contract) const DATA_CONTENT_TYPE: &str = "application/json";

/// The version of CloudEvents that we write and read.
pub(in crate::contract) const SPECVERSION: &str = "1.0";

/// The `type` of a request.
pub const REQUEST_TYPE: &str = "batchshare.job.requested.v1";

/// The `type` of the order to cancel a job.
pub const CANCEL_TYPE: &str = "batchshare.cancel.requested.v1";

/// The `type` of the order to undo a job.
pub const UNDO_TYPE: &str = "batchshare.undo.requested.v1";

/// The `type` of the request to take access away.
pub const UNSHARE_TYPE: &str = "batchshare.unshare.requested.v1";

/// The `type` of a step. It is internal and not part of the public contract.
pub const STEP_TYPE: &str = "batchshare.job.step.v1";

/// The `source` of our own messages.
pub const SOURCE: &str = "/batchshare";
