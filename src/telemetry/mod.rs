//! What an operator sees of a running process: its logs and what it counts.

pub mod logs;
pub mod metrics;
