//! Demo mode, in which anybody may be anybody: a program names the person in a header, and a browser in the cookie
//! that the page's chooser has set.

use axum::http::HeaderMap;
use axum::http::header::HeaderName;
use axum_extra::extract::cookie::{Cookie, CookieJar, SameSite};

use crate::gateway::auth::header::single;
use crate::gateway::problem::Problem;

/// The cookie that the page's chooser sets.
const COOKIE_NAME: &str = "batchshare_user";

/// The header in which a program names the person. It is used in place of the cookie where both are there.
const HEADER: HeaderName = HeaderName::from_static("x-batchshare-user");

/// The username of a request that names nobody.
const DEFAULT: &str = "ana";

/// The username for which the request stands.
///
/// # Errors
/// A problem of status 401 where the header cannot be read or came twice.
pub(super) fn username(headers: &HeaderMap) -> Result<String, Problem> {
    match single(headers, &HEADER)? {
        Some(name) => Ok(name),
        None => Ok(chosen(headers).unwrap_or_else(|| DEFAULT.to_owned())),
    }
}

/// The username that the page's chooser has put into the cookie. A cookie that the chooser cannot have set is
/// ignored.
fn chosen(headers: &HeaderMap) -> Option<String> {
    let jar = CookieJar::from_headers(headers);
    let name = jar.get(COOKIE_NAME)?.value();
    (!name.is_empty() && !name.chars().any(char::is_control)).then(|| name.to_owned())
}

/// The cookie that makes this person the one who asks in this browser. No script can read it, and the browser sends
/// it to this site only. It is added to a jar, which percent-encodes what a cookie may not hold.
pub(in crate::gateway) fn cookie(username: String) -> Cookie<'static> {
    Cookie::build((COOKIE_NAME, username)).path("/").http_only(true).same_site(SameSite::Strict).build()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;
    use axum::http::header::COOKIE;

    fn sent(cookie: &str) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.insert(COOKIE, HeaderValue::from_str(cookie).expect("a header's value"));
        chosen(&headers)
    }

    #[test]
    fn a_username_goes_through_a_cookie_whatever_it_holds() {
        for name in ["ana", "ana.souza@example.com", "José; Path=/", "a%b c\"=", "日本"] {
            let set = cookie(name.to_owned()).encoded().to_string();
            let pair = set.split(';').next().expect("a pair");
            let value = pair.split_once('=').expect("a value").1;
            assert!(value.bytes().all(|b| b.is_ascii_graphic() && !b";,\"\\".contains(&b)), "{set}");
            assert_eq!(sent(&format!("a=b; {pair}")).as_deref(), Some(name));
        }
    }

    #[test]
    fn a_cookie_that_the_chooser_did_not_set_chooses_nobody() {
        for bad in ["", "%00", "%ff", "a%0ab", "%c3"] {
            assert_eq!(sent(&format!("{COOKIE_NAME}={bad}")), None, "{bad}");
        }
        // What is not encoded as the chooser does it is taken as it stands, and nobody has such a name.
        for literal in ["%", "%4", "%zz"] {
            assert_eq!(sent(&format!("{COOKIE_NAME}={literal}")).as_deref(), Some(literal));
        }
        assert_eq!(sent("batchshare_userx=bruno; xbatchshare_user=carla"), None);
    }
}
