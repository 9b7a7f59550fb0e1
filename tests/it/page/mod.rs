//! The page as a person uses it: Debian's Chromium, driven over WebDriver.

mod axe;
mod below;
pub mod browser;
mod calm;
mod control;
mod desk;
mod driver;
pub mod element;
mod failure;
mod harness;
mod large;
mod live;
mod names;
mod people;
mod reading;
mod received;
mod result;
mod session;
mod states;
mod trouble;
mod views;
mod walk;
