//! Keeps secrets and grants, and knows who may do what with which secret.

pub(super) mod access;
pub(super) mod claims;
pub(super) mod client_secret;
pub(super) mod confirm;
pub(super) mod facts;
pub(super) mod filter;
pub(super) mod foresee;
pub(super) mod givers;
pub(super) mod grants;
pub(super) mod holders;
pub(super) mod keys;
pub(super) mod people;
pub(super) mod reach;
pub(super) mod secret;
pub(super) mod secrets;
pub(super) mod selected;
pub(super) mod take_away;
pub(super) mod take_back;
pub(super) mod why;
