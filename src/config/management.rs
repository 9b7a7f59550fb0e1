//! The setting `broker.management_url` says where RabbitMQ's management API is. It is optional, and no message
//! depends on it.

use percent_encoding::percent_decode_str;
use url::Url;

use crate::config::error::ConfigError;
use crate::config::settings::Settings;

/// What is said of a setting that needs TLS, in a build without it.
pub(super) const WITHOUT_TLS: &str =
    "this program is built without TLS (build it with `cargo build --release --features tls`)";

/// What the URL must look like. The text never has the URL, which holds a password.
const FORM: &str = "broker.management_url must look like http://user:password@host:15672 (https:// in a build with TLS); \
                    percent-encode what is special in user and password";

impl Settings {
    /// Where RabbitMQ's management API is, if the setting has it. The URL holds a password, so it must not be logged.
    ///
    /// # Errors
    /// What is wrong with the URL, without its value.
    pub fn management_url(&self) -> Result<Option<Url>, ConfigError> {
        let bad = |text: &str| Err(ConfigError(text.to_owned()));
        let text = &self.broker.management_url;
        if text.is_empty() {
            return Ok(None);
        }
        if self.is_embedded() {
            return bad("broker.management_url is RabbitMQ's, and broker.url is embedded:");
        }
        let Ok(url) = text.parse::<Url>() else { return bad(FORM) };
        // In the header, the first colon separates the user from the password.
        let is_user =
            !url.username().is_empty() && !percent_decode_str(url.username()).any(|byte| byte == b':');
        let is_whole = url.has_host() && url.query().is_none() && url.fragment().is_none();
        match url.scheme() {
            "https" if !cfg!(feature = "tls") => {
                bad(&format!("broker.management_url is https://, and {}", WITHOUT_TLS))
            }
            "http" | "https" if is_whole && is_user && url.password().is_some() => Ok(Some(url)),
            _ => bad(FORM),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::tests::load;

    const BROKER: (&str, &str) = ("BROKER__URL", "amqp://me:pw@mq/");

    fn with(url: &str) -> Result<Option<url::Url>, String> {
        let settings = load(&[BROKER, ("BROKER__MANAGEMENT_URL", url)]).map_err(|error| error.to_string())?;
        assert!(!format!("{settings:?}").contains("hunter2"));
        settings.management_url().map_err(|error| error.to_string())
    }

    #[test]
    fn it_names_a_server_with_user_and_password() {
        assert_eq!(with(""), Ok(None));
        for url in [
            "http://me:hunter2@mq:15672",
            "http://me:hunter2@mq:15672/",
            "http://me:hunter2@mq/rabbit/",
            "http://m%40e:hunter2%3A%2F@[::1]:15672",
        ] {
            assert!(with(url).is_ok_and(|url| url.is_some()), "{url}");
        }
    }

    #[test]
    fn whatever_else_it_is_is_one_line_without_its_value() {
        for url in [
            "hunter2",
            "http://hunter2",
            "http://hunter2@mq:15672",
            "http://:hunter2@mq:15672",
            // RabbitMQ lets nobody in without one.
            "http://me:@mq:15672",
            "http://m%3Ae:hunter2@mq:15672",
            "http://me:hunter2@",
            "http://me:hunter2@mq:port",
            "http://me:hunter2@mq:15672?x=y",
            "http://me:hunter2@mq:15672/#x",
            "amqp://me:hunter2@mq:15672/",
            "mq:15672 hunter2",
            " http://me:hun ter2@m q",
        ] {
            let error = with(url).expect_err(url);
            assert!(error.contains("broker.management_url must look like http://"), "{url}: {error}");
            assert!(!error.contains("hunter2") && !error.contains('\n'), "{error}");
        }
        let embedded = [("BROKER__MANAGEMENT_URL", "http://me:hunter2@mq:15672")];
        let error = load(&embedded).expect_err("embedded").to_string();
        assert!(error.contains("broker.management_url") && !error.contains("hunter2"), "{error}");
    }

    #[cfg(not(feature = "tls"))]
    #[test]
    fn a_build_without_tls_refuses_https() {
        let error = with("https://me:hunter2@mq:15671").expect_err("no TLS");
        assert!(error.contains("without TLS") && error.contains("--features tls"), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
}
