//! The pure modules of batchshare, built by themselves. The fuzzer needs neither servers nor their libraries, and so it
//! builds in a minute.

extern crate self as batchshare;

#[path = "../../src/domain/mod.rs"]
pub mod domain;
#[path = "../../src/contract/mod.rs"]
pub mod contract;

pub mod targets;
