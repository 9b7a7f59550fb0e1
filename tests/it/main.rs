//! The one integration target: everything on real parts. `./dev test` starts the servers.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    unreachable_pub,
    reason = "what a test needs and does not get is a failed test"
)]

mod about;
mod access;
mod audit;
mod backup;
mod broker;
mod broker_rabbitmq;
mod cancel;
mod chaos;
mod cli;
mod cli_jobs;
mod clock;
mod constraints;
mod contract;
mod dead;
mod dead_program;
mod dependencies;
mod documents;
mod due;
mod embedded;
mod environment;
mod export;
mod faults;
mod faulty;
mod fixtures;
mod flood;
mod gateway;
mod held;
mod hostile;
mod import;
mod lanes;
mod layers;
mod least;
mod ledger;
mod letters;
mod metrics;
mod migrations;
mod model;
mod orders;
mod outages;
mod page;
mod panics;
mod policies;
mod preview;
mod process;
mod production;
mod properties;
mod received;
mod refusals;
mod relay;
mod rest;
mod share;
mod sim;
mod starting;
mod startup;
mod stopping;
mod stream;
mod support;
mod take;
mod taken_back;
mod texts;
mod together;
mod undo;
mod unshare;
mod why;
mod wishes;
mod world;
