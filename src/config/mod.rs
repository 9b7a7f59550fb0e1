//! Configuration: the built-in default.toml, a file, and the environment. Each wins over those before it.

mod check;
mod environment;
mod error;
mod layers;
mod load;
mod management;
mod settings;

pub use error::ConfigError;
pub use settings::{
    Auth, AuthMode, AuthProxy, Broker, Database, Gateway, LimitSettings, Log, LogFormat, Relay, Settings,
    Shutdown, Vault, Worker,
};

#[cfg(test)]
mod tests;
