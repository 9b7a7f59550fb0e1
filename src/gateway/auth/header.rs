//! Reading a username out of a header.

use axum::http::HeaderMap;
use axum::http::header::HeaderName;

use crate::gateway::problem::Problem;

/// The one value of a header, unchanged; `None` where the header is not there. HTTP itself takes spaces and tabs
/// around a value away.
///
/// # Errors
/// A problem of status 401 where the value is not UTF-8, or where the header came twice: the second one may have been
/// added by somebody else than the first.
pub(super) fn single(headers: &HeaderMap, name: &HeaderName) -> Result<Option<String>, Problem> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => std::str::from_utf8(value.as_bytes())
            .map(|text| Some(text.to_owned()))
            .map_err(|_| Problem::not_signed_in("the username is not UTF-8").of_field(name.as_str())),
        (Some(_), Some(_)) => {
            Err(Problem::not_signed_in("the username came more than once").of_field(name.as_str()))
        }
    }
}
