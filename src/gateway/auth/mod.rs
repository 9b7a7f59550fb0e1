//! Who is asking: chosen freely (demo), or named by a proxy in front that proves itself.

use std::net::SocketAddr;
use std::path::Path;

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::header::{COOKIE, HeaderName};
use axum::http::request::Parts;
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;

use crate::config;
use crate::config::AuthMode;
use crate::domain::text;
use crate::files;
use crate::files::Links;
use crate::gateway::problem::Problem;
use crate::gateway::serving::Caller;
use crate::gateway::{GatewayState, layers::access_log as access};
use crate::store::{Person, SignIn};

/// The cookie that the page's chooser sets.
pub(super) const COOKIE_NAME: &str = "batchshare_user";
const DEMO_HEADER: HeaderName = HeaderName::from_static("x-batchshare-user");
/// Who it is where nobody was chosen.
const DEMO_DEFAULT: &str = "ana";
/// Of the secret that the proxy shares with us.
const MIN_SECRET_CHARS: usize = 32;

/// How people are told apart.
pub enum Auth {
    Demo,
    Proxy(ProxyAuth),
}

/// The headers that the proxy sets. The secret is never printed.
pub struct ProxyAuth {
    user_header: HeaderName,
    secret_header: HeaderName,
    secret: SecretString,
    forwarded_for: bool,
}

impl Auth {
    /// Reads the configuration, for a server that listens on `listen`.
    ///
    /// # Errors
    /// One line that says why the server must not start so.
    pub fn from_settings(settings: &config::Auth, listen: SocketAddr) -> Result<Self, String> {
        match settings.mode {
            AuthMode::Demo if !listen.ip().is_loopback() => Err(format!(
                "auth.mode is demo, in which anybody can be anybody: it listens on loopback only, not on \
                 {listen}; set gateway.listen to 127.0.0.1:… or auth.mode to proxy"
            )),
            AuthMode::Demo => Ok(Self::Demo),
            AuthMode::Proxy => ProxyAuth::from_settings(&settings.proxy).map(Self::Proxy),
        }
    }

    #[must_use]
    pub fn is_demo(&self) -> bool {
        matches!(self, Self::Demo)
    }

    pub(super) fn mode_name(&self) -> &'static str {
        match self {
            Self::Demo => "demo",
            Self::Proxy(_) => "proxy",
        }
    }

    /// The username that the request stands for.
    fn username(&self, headers: &HeaderMap) -> Result<String, Problem> {
        match self {
            Self::Demo => match single(headers, &DEMO_HEADER)? {
                Some(name) => Ok(name),
                None => Ok(chosen(headers).unwrap_or_else(|| DEMO_DEFAULT.to_owned())),
            },
            Self::Proxy(proxy) => proxy.username(headers),
        }
    }
}

impl ProxyAuth {
    fn from_settings(settings: &config::AuthProxy) -> Result<Self, String> {
        let header = |key: &str, name: &str| {
            name.parse::<HeaderName>().map_err(|_| format!("auth.proxy.{key} is not the name of a header"))
        };
        let user_header = header("user_header", &settings.user_header)?;
        let secret_header = header("secret_header", &settings.secret_header)?;
        if user_header == secret_header {
            return Err("auth.proxy.user_header and auth.proxy.secret_header must differ".to_owned());
        }
        if settings.secret_file.is_empty() {
            return Err("auth.mode is proxy, which needs auth.proxy.secret_file".to_owned());
        }
        let path = Path::new(&settings.secret_file);
        let bytes = files::read_secret(path, Links::Follow)
            .map_err(|error| format!("auth.proxy.secret_file {error}"))?;
        let secret = std::str::from_utf8(&bytes)
            .map_err(|_| format!("auth.proxy.secret_file {} is not UTF-8", path.display()))?
            .trim();
        if secret.chars().count() < MIN_SECRET_CHARS {
            return Err(format!(
                "auth.proxy.secret_file {} must hold {MIN_SECRET_CHARS} characters or more",
                path.display()
            ));
        }
        if !secret.bytes().all(|byte| (0x21..=0x7e).contains(&byte)) {
            return Err(format!(
                "auth.proxy.secret_file {} must hold printable ASCII without spaces: it travels in a header",
                path.display()
            ));
        }
        let forwarded_for = settings.forwarded_for;
        Ok(Self { user_header, secret_header, secret: SecretString::from(secret), forwarded_for })
    }

    /// Whether X-Forwarded-For is to be believed: the operator says that the proxy sets it, and it is the proxy.
    pub(super) fn names_clients(&self, headers: &HeaderMap) -> bool {
        self.forwarded_for && self.is_proven(headers)
    }

    fn is_proven(&self, headers: &HeaderMap) -> bool {
        let mut given = headers.get_all(&self.secret_header).iter();
        match (given.next(), given.next()) {
            (Some(given), None) => given.as_bytes().ct_eq(self.secret.expose_secret().as_bytes()).into(),
            _ => false,
        }
    }

    /// The name counts only beside the secret. Two headers of a name are one too many: the second
    /// may be the caller's own.
    fn username(&self, headers: &HeaderMap) -> Result<String, Problem> {
        if !self.is_proven(headers) {
            return Err(Problem::not_signed_in("the request does not come through the proxy"));
        }
        single(headers, &self.user_header)?
            .ok_or_else(|| Problem::not_signed_in("the proxy has named no user"))
    }
}

/// The one value of a header, as it came; `None` where it is not there. (Spaces and tabs around a value are no
/// part of it, says HTTP.)
fn single(headers: &HeaderMap, name: &HeaderName) -> Result<Option<String>, Problem> {
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

/// The person whom the page's chooser put into the cookie.
fn chosen(headers: &HeaderMap) -> Option<String> {
    headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(name, _)| *name == COOKIE_NAME)
        .and_then(|(_, value)| unescape(value))
        .filter(|name| !name.is_empty())
}

/// A username as a cookie's value: what a cookie may not hold is percent-encoded.
pub(super) fn escape(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~@+".contains(&byte);
    name.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

fn unescape(value: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (hex, after) = rest.split_at_checked(2)?;
        rest = after;
        bytes.push(u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok()?);
    }
    String::from_utf8(bytes).ok().filter(|name| !name.chars().any(char::is_control))
}

/// Signs in by username.
pub(super) async fn sign_in(state: &GatewayState, username: String) -> Result<Person, Problem> {
    if username.is_empty() {
        return Err(Problem::not_signed_in("the username is empty"));
    }
    // Compared exactly: what some form of it would be is somebody else's name, or nobody's.
    text::username(&username).map_err(|error| Problem::not_signed_in(&format!("the username {error}")))?;
    match state.store.sign_in(username).await? {
        SignIn::Person(person) => Ok(person),
        SignIn::Unknown => Err(Problem::not_signed_in("there is no such user")),
        SignIn::Refused(reason) => {
            Err(Problem::sign_in_refused(&format!("the user cannot sign in: {reason}")))
        }
    }
}

/// The person who asks. A route with this in its arguments needs one.
pub(crate) struct Me(pub(crate) Person);

impl FromRequestParts<GatewayState> for Me {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &GatewayState) -> Result<Self, Problem> {
        let caller = parts.extensions.get::<Caller>();
        let signed_in = match state.auth.username(&parts.headers) {
            Ok(username) => sign_in(state, username).await,
            Err(problem) => Err(problem),
        };
        match (&signed_in, caller) {
            (Ok(person), Some(caller)) => caller.is(person.id),
            (Err(problem), Some(caller)) => {
                if let Some(cause) = problem.refused_sign_in() {
                    state.refusals().tell(access::client(&state.auth, &parts.headers, caller), cause);
                }
            }
            (_, None) => {}
        }
        signed_in.map(Me)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::AuthProxy;

    #[test]
    fn a_username_goes_through_a_cookie_whatever_it_holds() {
        for name in ["ana", "ana.souza@example.com", "José; Path=/", "a%b c\"=", "日本"] {
            let cookie = escape(name);
            assert!(cookie.bytes().all(|b| b.is_ascii_graphic() && !b";,\"\\".contains(&b)), "{cookie}");
            assert_eq!(unescape(&cookie).as_deref(), Some(name));
        }
        for bad in ["%", "%4", "%zz", "%00", "%ff"] {
            assert_eq!(unescape(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_demo_listens_on_loopback_only() {
        let settings = |mode| config::Auth {
            mode,
            proxy: AuthProxy {
                user_header: "X-Forwarded-User".to_owned(),
                secret_header: "X-Secret".to_owned(),
                secret_file: String::new(),
                forwarded_for: false,
            },
        };
        let start = |mode, listen: &str| {
            Auth::from_settings(&settings(mode), listen.parse().expect("an address")).map(|_| ())
        };
        assert!(start(AuthMode::Demo, "127.0.0.1:80").is_ok());
        assert!(start(AuthMode::Demo, "[::1]:80").is_ok());
        for listen in ["0.0.0.0:80", "[::]:80", "192.168.1.2:80"] {
            let error = start(AuthMode::Demo, listen).expect_err("refused");
            assert!(error.contains("demo") && error.contains(listen) && !error.contains('\n'), "{error}");
        }
        assert!(start(AuthMode::Proxy, "127.0.0.1:80").expect_err("no file").contains("secret_file"));
    }

    #[test]
    fn a_proxy_needs_a_secret_that_is_long_enough() {
        let file = tempfile::NamedTempFile::new().expect("file");
        let mut settings = AuthProxy {
            user_header: "X-Forwarded-User".to_owned(),
            secret_header: "X-Secret".to_owned(),
            secret_file: file.path().display().to_string(),
            forwarded_for: false,
        };
        let write = |text: &str| std::fs::write(file.path(), text).expect("write");
        for bad in [String::new(), "a".repeat(31) + "\n", "a ".repeat(32)] {
            write(&bad);
            let error = ProxyAuth::from_settings(&settings).err().expect("refused");
            assert!(error.contains("secret_file") && !error.contains("aaa"), "{error}");
        }
        write(&("a".repeat(32) + "\n"));
        assert!(ProxyAuth::from_settings(&settings).is_ok());
        settings.secret_header = "x-forwarded-user".to_owned();
        assert!(ProxyAuth::from_settings(&settings).err().expect("the same").contains("differ"));
        settings.secret_header = "not a header".to_owned();
        assert!(ProxyAuth::from_settings(&settings).is_err());
        settings.secret_header = "X-Secret".to_owned();
        settings.secret_file = "/no/such/file".to_owned();
        assert!(ProxyAuth::from_settings(&settings).err().expect("no file").contains("/no/such/file"));
    }
}
