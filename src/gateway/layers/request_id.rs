//! The id of a request: the caller's own where it is one that we can log, and otherwise a new one. tower-http makes
//! it and writes it into the answer.

use axum::extract::Request;
use axum::http::HeaderName;
use axum::http::HeaderValue;
use tower_http::request_id::RequestId;

/// The header that carries the id, in the request and in its answer.
const NAME: HeaderName = HeaderName::from_static("x-request-id");

/// The longest id that is taken from a caller, in bytes.
const MOST: usize = 128;

/// Takes away an id that we would not log, so that tower-http makes another in its place.
pub(in crate::gateway) async fn check(mut request: Request) -> Request {
    let mut given = request.headers().get_all(NAME).iter();
    if let Some(first) = given.next()
        && (given.next().is_some() || !is_sane(first))
    {
        request.headers_mut().remove(NAME);
    }
    request
}

/// Whether an id is short and made of characters that mean nothing to a log, a shell or a browser.
fn is_sane(id: &HeaderValue) -> bool {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:/+=@".contains(byte);
    (1..=MOST).contains(&id.len()) && id.as_bytes().iter().all(plain)
}

/// The id of a request.
pub(super) fn of(request: &Request) -> Option<HeaderValue> {
    request.extensions().get::<RequestId>().map(|id| id.header_value().clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_short_and_plain() {
        let sane = |id: &[u8]| is_sane(&HeaderValue::from_bytes(id).expect("a header's value"));
        for id in
            ["a", "7f3e-9", "0af7651916cd43dd8448eb211c80319c", "Root=1-67891233-abcdef", &"x".repeat(MOST)]
        {
            assert!(sane(id.as_bytes()), "{id}");
        }
        for id in ["", "a b", "a\tb", "<script>", "\"", "a,b", "é", "a;b", "$(id)", &"x".repeat(MOST + 1)] {
            assert!(!sane(id.as_bytes()), "{id}");
        }
        assert!(!sane(b"\xff"));
    }
}
