//! Logs are set up once, by `main`. They go to stderr, so that stdout belongs to the commands.
//!
//! A log that nobody reads any more loses its lines and costs nothing else. A panic is a line of the log like any
//! other.

use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{self, IsTerminal as _, Write};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

use crate::config::{Log, LogFormat};

/// The environment variable that wins over `log.filter`.
const FILTER_VARIABLE: &str = "RUST_LOG";

/// So many characters of a panic's message are logged at most.
const PANIC_CHARS: usize = 500;

/// Why logging cannot start.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("{setting}: {reason}")]
    Filter { setting: &'static str, reason: ParseError },
    #[error("the value of the environment variable {FILTER_VARIABLE} is not UTF-8")]
    NotText,
    /// Something in this process logs already.
    #[error("{0}")]
    Installed(Box<dyn std::error::Error + Send + Sync>),
}

/// Starts logging. `RUST_LOG` wins over the configuration.
///
/// # Errors
/// The filter cannot be read, or something in this process logs already.
pub fn init(log: &Log) -> Result<(), LogError> {
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter(log)?)
        .with_writer(|| Stderr)
        .with_ansi(io::stderr().is_terminal());
    match log.format {
        LogFormat::Text => builder.with_target(false).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    }
    .map_err(LogError::Installed)?;
    std::panic::set_hook(Box::new(|panic| {
        let location = panic.location().map(ToString::to_string);
        tell_panic(location.as_deref(), panic.payload());
    }));
    Ok(())
}

fn filter(log: &Log) -> Result<EnvFilter, LogError> {
    let named = |setting| move |reason| LogError::Filter { setting, reason };
    let Some(text) = std::env::var_os(FILTER_VARIABLE).filter(|text| !text.is_empty()) else {
        return EnvFilter::try_new(&log.filter).map_err(named("log.filter"));
    };
    let text = text.into_string().map_err(|_| LogError::NotText)?;
    EnvFilter::try_new(text).map_err(named(FILTER_VARIABLE))
}

/// Writes to stderr as long as somebody reads it. After that, what is written is lost without an error: the
/// subscriber would report an error on stderr, and that would be a panic.
struct Stderr;

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Each event is one call. There is nobody left who could be told of a failure.
        let _ = io::stderr().lock().write_all(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Logs a panic of this thread, with a backtrace if `RUST_BACKTRACE` asks for one.
fn tell_panic(location: Option<&str>, payload: &(dyn Any + Send)) {
    let thread = std::thread::current();
    let backtrace = Backtrace::capture();
    let backtrace = (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
    tracing::error!(
        thread = thread.name(),
        location,
        reason = panic_words(payload),
        backtrace,
        "a thread panicked; this is a bug"
    );
}

/// What a panic says, on one line and with a bound on its length.
fn panic_words(payload: &(dyn Any + Send)) -> String {
    let text = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("(nothing that is a text)");
    let mut words: String = text.chars().take(PANIC_CHARS).flat_map(char::escape_debug).collect();
    if text.chars().nth(PANIC_CHARS).is_some() {
        words.push('…');
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    use serde_json::Value;

    /// A writer into memory.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("kept").extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_panic_is_a_line_of_the_log_like_any_other() {
        let kept = Kept::default();
        let writer = kept.clone();
        let subscriber =
            tracing_subscriber::fmt().json().flatten_event(true).with_writer(move || writer.clone()).finish();
        let payload: Box<dyn Any + Send> = Box::new("index out of\nbounds".to_owned());
        tracing::subscriber::with_default(subscriber, || tell_panic(Some("src/x.rs:1:2"), &*payload));
        let bytes = kept.0.lock().expect("kept").clone();
        let text = String::from_utf8(bytes).expect("UTF-8");
        assert_eq!(text.lines().count(), 1, "{text}");
        let line: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(line["level"], "ERROR");
        assert_eq!(line["location"], "src/x.rs:1:2");
        assert_eq!(line["reason"], r"index out of\nbounds");
        assert!(line["thread"].is_string() && line["message"].is_string(), "{text}");
    }

    #[test]
    fn what_a_panic_says_is_bounded_and_without_what_a_terminal_obeys() {
        assert_eq!(panic_words(&"a\u{1b}[31m\u{202e}é"), r"a\u{1b}[31m\u{202e}é");
        assert_eq!(panic_words(&7), "(nothing that is a text)");
        let long = panic_words(&"é".repeat(10_000));
        assert_eq!(long.chars().count(), PANIC_CHARS + 1);
    }
}
