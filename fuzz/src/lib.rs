//! The pure modules of batchshare, built by themselves: a fuzzer needs neither servers nor their libraries, and so
//! builds in a minute.

extern crate self as batchshare;

#[path = "../../src/domain/mod.rs"]
pub mod domain;
#[path = "../../src/contract/mod.rs"]
pub mod contract;

pub mod targets;
