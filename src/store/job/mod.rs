//! The protocol of a job: how it is asked for, begun, worked on in lanes, ended, retried and replayed.

pub(super) mod aside;
pub(super) mod asked;
pub(super) mod begin;
pub(super) mod death;
pub(super) mod due;
pub(super) mod ending;
pub(super) mod failures;
pub(super) mod insert;
pub(super) mod lane_rows;
pub(super) mod lanes;
pub(super) mod read;
pub(super) mod rejections;
pub(super) mod replay;
pub(super) mod request;
pub(super) mod row;
pub(super) mod selection;
pub(super) mod snapshot;
pub(super) mod submit;
