//! The protocol of a job: how a job is requested, begun, worked on in lanes, ended, retried and replayed.
//!
//! Everybody takes locks in the same order, so that no two transactions wait for each other: first the row of the job,
//! then the rows of its lanes by number, then secrets by id, then the rows of grants by key.

pub(super) mod about;
pub(super) mod apply;
pub(super) mod aside;
pub(super) mod asked;
pub(super) mod begin;
pub(super) mod cancel;
pub(super) mod death;
pub(super) mod decide;
pub(super) mod due;
pub(super) mod ending;
pub(super) mod export;
pub(super) mod failures;
pub(super) mod heirs;
pub(super) mod insert;
pub(super) mod lane_rows;
pub(super) mod lane_work;
pub(super) mod lanes;
pub(super) mod ledger;
pub(super) mod left;
pub(super) mod opened;
pub(super) mod orders;
pub(super) mod outcomes;
pub(super) mod parts;
pub(super) mod preview;
pub(super) mod read;
pub(super) mod rejections;
pub(super) mod remaining;
pub(super) mod replay;
pub(super) mod request;
pub(super) mod rest;
pub(super) mod row;
pub(super) mod selection;
pub(super) mod share_preview;
pub(super) mod snapshot;
pub(super) mod start;
pub(super) mod submit;
pub(super) mod taking;
pub(super) mod title;
pub(super) mod undo;
pub(super) mod unshare;
