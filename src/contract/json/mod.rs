//! Reading JSON: straight into structs, with errors that name the field and never repeat a value.

pub(super) mod client_secret;
pub(super) mod invalid;
pub(super) mod kinds;
pub(super) mod name;
pub(super) mod object;
pub(super) mod read;
pub(super) mod value;
