//! The page as a person uses it: Debian's Chromium, driven over WebDriver.

mod axe;
pub mod browser;
mod driver;
pub mod element;
mod failure;
mod harness;
mod session;
