//! The resources of the HTTP API, one file each, and how their requests are read (`input`).

pub(super) mod about;
pub(super) mod access;
mod array;
pub(super) mod demo;
pub(super) mod export;
pub(super) mod grants;
mod input;
mod limited;
mod listing;
pub(super) mod me;
pub(super) mod notices;
pub(super) mod received;
pub(super) mod recipients;
pub(super) mod rejections;
pub(super) mod remaining;
pub(super) mod rest;
pub(super) mod secrets;
pub(super) mod share_jobs;
pub(super) mod share_preview;
pub(super) mod undo;
pub(super) mod unshare_jobs;
