//! People and groups: who signs in, who can be shared with, what membership means, and how they are imported.

pub(super) mod directory;
pub(super) mod import;
pub(super) mod membership;
pub(super) mod names;
