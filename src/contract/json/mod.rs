//! Reading JSON: straight into structs, with errors that name the field and never repeat a value.

pub(super) mod invalid;
pub(super) mod kinds;
pub(super) mod read;
