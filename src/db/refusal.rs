//! Finds out why a server refuses a connection. Diesel hands out only libpq's text, which is in the server's
//! language, and no setting of ours can change that, because a server refuses before it reads any. So if the words
//! are not known, the server is asked once more, with a client that tells the code of the answer (its SQLSTATE). That
//! happens only after a connection has failed, and only if the server can be asked exactly as libpq would ask.

use std::net::IpAddr;
use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::Host;
use tokio_postgres::error::SqlState;

use crate::db::error::DbError;
use crate::db::target::Target;

/// Nobody waits longer than this for the code. Without it, the failure is an outage.
const DEADLINE: Duration = Duration::from_secs(5);

/// The time for each address, so that a silent one leaves time for the next.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// The parts of a URL's query that decide what a server is asked. The others are about the way to the server
/// (timeouts), or about what the client asks of the server's answers.
const ASKED: &[&str] = &["host", "hostaddr", "port", "user", "password", "dbname", "options"];

/// The environment variables with which libpq fills in what a URL leaves out. This module does not read them.
const ENVIRONMENT: &[&str] = &["PGHOSTADDR", "PGPORT", "PGSERVICE"];

/// What a failed connection to `url` means. `text` is what libpq said.
pub(super) fn of(target: &Target, url: &str, text: &str) -> DbError {
    let message = text.trim().replace('\n', "; ");
    let target = target.to_string();
    let said = answer(&message);
    if said.is_none_or(DbError::knows_outage) || DbError::knows_refusal(&message) {
        return DbError::Connect { target, message };
    }
    match sqlstate(url) {
        Some(code) => match reason(&code) {
            Some(reason) => DbError::Refused { target, reason, code, message },
            None => DbError::Connect { target, message: format!("{message} (SQLSTATE {code})") },
        },
        None => DbError::Connect { target, message },
    }
}

/// What the server said; `None` if libpq got no answer. libpq puts two blanks behind the severity, which is a word in
/// the server's language.
fn answer(message: &str) -> Option<&str> {
    Some(message.split_once(":  ")?.1)
}

/// Why waiting is of no use, as the code says; `None` if the code is about the state of the server (such as classes
/// 53 and 57).
fn reason(code: &str) -> Option<&'static str> {
    match code {
        "28P01" => Some("the password or the user is wrong"),
        "3D000" => Some("there is no such database"),
        "42501" => Some("the role may not connect to this database"),
        _ if code.starts_with("28") => Some("the role is unknown or may not log in from here (pg_hba.conf)"),
        // These are about the settings in `options`.
        _ if code.starts_with("22") || code.starts_with("42") => {
            Some("it does not take what the URL asks for")
        }
        _ => None,
    }
}

/// The code of the server's answer to one more connection; `None` if it lets us in, or if nobody can tell.
#[cfg_attr(
    not(feature = "tls"),
    allow(clippy::clone_on_copy, reason = "only in a build without TLS can it be copied")
)]
fn sqlstate(url: &str) -> Option<String> {
    let config = config(url)?;
    #[cfg(not(feature = "tls"))]
    let (mode, tls) = (tokio_postgres::config::SslMode::Disable, tokio_postgres::NoTls);
    #[cfg(feature = "tls")]
    let (mode, tls) = crate::db::tls::as_libpq(url)?;
    // The runtime is of its own, because the thread that asks is one for blocking work, and its runtime may be about
    // to end.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
    let code = runtime.block_on(async {
        let asked = async {
            let mut code = None;
            for place in places(&config).await {
                match place.of(&config).ssl_mode(mode).connect(tls.clone()).await {
                    Ok(_) => return None,
                    Err(failure) => code = failure.code().cloned().or(code),
                }
                // libpq does the same: it asks the next host only if this one is away or is starting.
                if code.as_ref().is_some_and(|code| *code != SqlState::CANNOT_CONNECT_NOW) {
                    break;
                }
            }
            code
        };
        tokio::time::timeout(DEADLINE, asked).await.ok()?
    });
    // A name that is still being looked up is not waited for.
    runtime.shutdown_background();
    code.map(|code| code.code().to_owned())
}

/// One address of a server.
struct Place {
    host: Host,
    address: Option<IpAddr>,
    port: u16,
}

impl Place {
    /// The same question to this address alone.
    fn of(&self, config: &Config) -> Config {
        let mut one = Config::new();
        match &self.host {
            Host::Tcp(name) => one.host(name),
            Host::Unix(path) => one.host_path(path),
        };
        one.port(self.port).connect_timeout(CONNECT_TIMEOUT);
        self.address.map(|address| one.hostaddr(address));
        config.get_user().map(|user| one.user(user));
        config.get_password().map(|password| one.password(password));
        config.get_dbname().map(|name| one.dbname(name));
        config.get_options().map(|options| one.options(options));
        one
    }
}

/// The addresses of all hosts, in order.
async fn places(config: &Config) -> Vec<Place> {
    let (ports, addresses) = (config.get_ports(), config.get_hostaddrs());
    let mut places = Vec::new();
    for (number, host) in config.get_hosts().iter().enumerate() {
        let port = ports.get(number).or(ports.first()).copied().unwrap_or(5432);
        let place = |address| Place { host: host.clone(), address, port };
        match (addresses.get(number), host) {
            (Some(address), _) => places.push(place(Some(*address))),
            (None, Host::Tcp(name)) => {
                let found = tokio::net::lookup_host((name.as_str(), port)).await.ok();
                places.extend(found.into_iter().flatten().map(|address| place(Some(address.ip()))));
            }
            (None, Host::Unix(_)) => places.push(place(None)),
        }
    }
    places
}

/// The same question as libpq's, if the URL has all of it.
fn config(url: &str) -> Option<Config> {
    let (place, query) = url.split_once('?').unwrap_or((url, ""));
    let parts: Vec<(&str, &str)> = query.split('&').filter_map(|part| part.split_once('=')).collect();
    let has_host = place.split_once("://").is_some_and(|(_, rest)| {
        let hosts = rest.split('/').next().unwrap_or_default();
        !hosts.rsplit_once('@').map_or(hosts, |(_, hosts)| hosts).is_empty()
    });
    // In libpq a second host or port replaces the first one, and here it would be added to it.
    let is_unclear = |name: &str| {
        name.contains('%') || name == "service" || (has_host && ["host", "port"].contains(&name))
    };
    if parts.iter().any(|(name, _)| is_unclear(name))
        || ENVIRONMENT.iter().any(|name| std::env::var_os(name).is_some())
    {
        return None;
    }
    let asked = parts.iter().filter(|(name, _)| ASKED.contains(name));
    let asked: Vec<String> = asked.map(|(name, value)| format!("{name}={value}")).collect();
    let mut config: Config = format!("{place}?{}", asked.join("&")).parse().ok()?;
    if config.get_password().is_none()
        && let Some(password) = std::env::var_os("PGPASSWORD")
    {
        config.password(password.as_encoded_bytes());
    }
    let is_whole =
        config.get_user().is_some() && config.get_dbname().is_some() && !config.get_hosts().is_empty();
    is_whole.then_some(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_servers_answer_is_asked_for_again() {
        for text in [
            "connection to server at \"127.0.0.1\", port 1 failed: FATAL:  Datenbank »x« existiert nicht",
            "connection to server at \"127.0.0.1\", port 1 failed: ВАЖНО:  база данных \"x\" не существует",
        ] {
            assert!(answer(text).is_some_and(|said| !DbError::knows_outage(said)), "{text}");
        }
        for text in [
            "connection to server at \"127.0.0.1\", port 1 failed: Connection refused; \tIs the server running?",
            "could not translate host name \"db\" to address: Name or service not known",
            "connection to server at \"db\" (10.0.0.1), port 5432 failed: timeout expired",
        ] {
            assert_eq!(answer(text), None, "{text}");
        }
    }

    #[test]
    fn what_asks_for_the_impossible_is_refused_and_the_servers_state_is_not() {
        for code in ["28P01", "28000", "3D000", "42501", "42704", "22023"] {
            assert!(reason(code).is_some(), "{code}");
        }
        for code in ["53300", "57P03", "57P01", "55000", "08P01", "XX000", "58030"] {
            assert_eq!(reason(code), None, "{code}");
        }
    }

    #[test]
    fn a_url_is_asked_as_libpq_reads_it_or_not_at_all() {
        for (url, hosts) in [
            ("postgres://me:x@db/vault", 1),
            ("postgres://me:x@[::1]:5433/vault?connect_timeout=2&keepalives_count=3", 1),
            ("postgresql://me:a%40b@a:1,b:2/vault?target_session_attrs=primary&sslmode=disable", 2),
            ("postgres://me@/vault?host=/run/postgresql&port=5433", 1),
            ("postgres:///vault?host=db&user=me&password=x%26y", 1),
        ] {
            let config = config(url).unwrap_or_else(|| panic!("{url}"));
            assert_eq!(config.get_hosts().len(), hosts, "{url}");
            assert_eq!((config.get_user(), config.get_dbname()), (Some("me"), Some("vault")), "{url}");
        }
        for url in [
            "postgres://db/vault",
            "postgres://me@db",
            "postgres://me@/vault",
            "postgres://me@db/vault?service=other",
            "postgres://me@db/vault?host=other",
            "postgres://me@db/vault?port=5433",
            "postgres://me@/vault?h%6Fst=other",
        ] {
            assert!(config(url).is_none(), "{url}");
        }
    }
}
