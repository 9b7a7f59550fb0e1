//! What supervisors and Prometheus ask: is the process alive, can it serve, and what has it counted.

pub(super) mod health;
pub(super) mod look;
pub(super) mod scrape;
pub(super) mod startup;
