//! Where RabbitMQ is: one URL, which may name several hosts.

use std::fmt;
use std::time::Duration;

use lapin::uri::AMQPUri;

/// What a URL must look like. The text does not have the URL, which holds a password.
const FORM: &str = "broker.url must look like amqp://user:password@host:port/vhost, with several hosts \
                    amqp://user:password@host1:5672,host2:5672/vhost; percent-encode what is special in user, password \
                    and vhost (/ as %2F, @ as %40, a comma as %2C)";

/// A server with user, virtual host and settings, at one or more hosts. `Display` is the hosts.
#[derive(Clone)]
pub(super) struct Places {
    /// The URL with the first host.
    uri: AMQPUri,
    hosts: Vec<Host>,
}

/// Where one node listens, or several nodes behind one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Host {
    pub(super) name: String,
    pub(super) port: u16,
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.name.contains(':') {
            write!(f, "[{}]:{}", self.name, self.port)
        } else {
            write!(f, "{}:{}", self.name, self.port)
        }
    }
}

impl fmt::Display for Places {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, host) in self.hosts.iter().enumerate() {
            write!(f, "{}{host}", if number == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

impl Places {
    /// Reads `amqp://user:password@host1:port,host2:port/vhost?heartbeat=10`; `amqps://` is with TLS.
    ///
    /// # Errors
    /// A sentence that says what it must look like.
    pub(super) fn parse(url: &str) -> Result<Self, &'static str> {
        let (scheme, rest) = url.split_once("://").ok_or(FORM)?;
        if rest.contains("://") {
            return Err(FORM);
        }
        let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let (user, hosts) = match authority.rsplit_once('@') {
            // Two users with a comma between them: somebody has joined two URLs.
            Some((user, _)) if user.contains('@') && user.contains(',') => return Err(FORM),
            Some((user, hosts)) => (format!("{user}@"), hosts),
            None => (String::new(), authority),
        };
        let one = |host: &str| -> Result<AMQPUri, &'static str> {
            let mut uri: AMQPUri = format!("{scheme}://{user}{host}{path}").parse().map_err(|_| FORM)?;
            // The library does not read an address in brackets.
            if let Some((address, _)) = host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
                address.clone_into(&mut uri.authority.host);
            }
            Ok(uri)
        };
        let several = hosts.contains(',');
        let uris = hosts.split(',').map(|host| match host.trim() {
            "" if several => Err(FORM),
            host => one(host),
        });
        let uris = uris.collect::<Result<Vec<_>, _>>()?;
        let hosts = uris
            .iter()
            .map(|uri| Host { name: uri.authority.host.clone(), port: uri.authority.port })
            .collect();
        let uri = uris.into_iter().next().ok_or(FORM)?;
        Ok(Self { uri, hosts })
    }

    /// Sets the heartbeat in seconds, if the URL does not say one.
    pub(super) fn heartbeat(mut self, seconds: u16) -> Self {
        self.uri.query.heartbeat.get_or_insert(seconds);
        self
    }

    pub(super) fn user(&self) -> &str {
        &self.uri.authority.userinfo.username
    }

    /// The virtual host, decoded.
    pub(super) fn vhost(&self) -> &str {
        &self.uri.vhost
    }

    /// How long connecting may take, if the URL says it (in milliseconds).
    pub(super) fn connect_timeout(&self) -> Option<Duration> {
        self.uri.query.connection_timeout.map(Duration::from_millis)
    }

    /// Each host once with its number, from the host of this number on.
    pub(super) fn from(&self, number: usize) -> impl Iterator<Item = (usize, &Host)> {
        let count = self.hosts.len();
        (0..count).map(move |step| (number + step) % count).map(|at| (at, &self.hosts[at]))
    }

    pub(super) fn count(&self) -> usize {
        self.hosts.len()
    }

    /// What lapin is told of one host.
    pub(super) fn uri(&self, host: &Host) -> AMQPUri {
        let mut uri = self.uri.clone();
        uri.authority.host.clone_from(&host.name);
        uri.authority.port = host.port;
        uri
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_one_host_or_several() {
        for (url, hosts, user, vhost) in [
            ("amqp://localhost", "localhost:5672", "guest", "/"),
            ("amqp://me:pw@a:1/v", "a:1", "me", "v"),
            ("amqp://me:pw@a,b:2,c:3/v?heartbeat=7", "a:5672, b:2, c:3", "me", "v"),
            ("amqps://me:p%2Cw%40@a, b/", "a:5671, b:5671", "me", ""),
            ("amqp://me:p@w@a/v", "a:5672", "me", "v"),
            ("amqp://[::1]:4,127.0.0.1/%2f", "[::1]:4, 127.0.0.1:5672", "guest", "/"),
        ] {
            let places = Places::parse(url).unwrap_or_else(|error| panic!("{url}: {error}"));
            assert_eq!(places.to_string(), hosts, "{url}");
            assert_eq!((places.user(), places.vhost()), (user, vhost), "{url}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_not_told() {
        for url in [
            "amqp://me:Wr0ng@a/v,amqp://me:Wr0ng@b/v",
            "amqp://me:Wr0ng@a:1,me:Wr0ng@b:2/v",
            "amqp://me:Wr0ng@a,,b/v",
            "amqp://me:Wr0ng@a,/v",
            "amqp://me:Wr0ng@a:port/v",
            "http://me:Wr0ng@a/v",
            "Wr0ng",
        ] {
            let error = Places::parse(url).err().unwrap_or_else(|| panic!("{url} was read"));
            assert!(!error.contains("Wr0ng"), "{error}");
        }
    }

    #[test]
    fn each_turn_begins_elsewhere_and_meets_every_host_once() {
        let places = Places::parse("amqp://a,b,c").expect("a URL");
        let names = |from| places.from(from).map(|(_, host)| host.name.as_str()).collect::<String>();
        assert_eq!([names(0), names(1), names(2), names(3)], ["abc", "bca", "cab", "abc"]);
    }
}
