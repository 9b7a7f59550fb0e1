//! Which field of a request is to be shortened if it asks for too much.

use crate::domain::share::OverLimit;
use crate::domain::{Selection, ShareRequest};

/// The field of a request that says which secrets it is about.
pub(super) fn secrets_field(request: &ShareRequest) -> &'static str {
    match request.selection {
        Selection::Ids(_) => "secrets.ids",
        Selection::All(_) => "secrets.all",
    }
}

/// The field that is to be shortened.
pub(super) fn limited(over: &OverLimit, secrets_field: &'static str) -> &'static str {
    if over.what == "recipients" { "recipients" } else { secrets_field }
}
