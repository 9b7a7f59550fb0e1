//! Keeps people and groups: who can sign in, who can be shared with, what membership means, and how they are imported.

pub(super) mod directory;
pub(super) mod import;
pub(super) mod membership;
pub(super) mod names;
pub(super) mod reached;
