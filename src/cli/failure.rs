//! How a command ends: exit codes for scripts, and one line for people.

use std::process::ExitCode;

use crate::app::AppError;
use crate::db::{DbError, FailureClass};

/// The exit codes; `--help` explains them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    Done = 0,
    Failed = 1,
    Usage = 2,
    CompletedWithRejections = 3,
    JobFailed = 4,
    NotFound = 5,
    Unreachable = 6,
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        Self::from(code as u8)
    }
}

/// Why a command ends early.
#[derive(Debug)]
pub struct Failure {
    pub code: Code,
    /// One line: what, which, what to do. Empty where nobody reads any more.
    pub message: String,
}

impl Failure {
    pub(super) fn new(code: Code, message: impl Into<String>) -> Self {
        // One line, whatever a library put into its text.
        Self { code, message: message.into().trim().replace('\n', "; ") }
    }

    pub(super) fn failed(message: impl Into<String>) -> Self {
        Self::new(Code::Failed, message)
    }

    pub(super) fn usage(message: impl Into<String>) -> Self {
        Self::new(Code::Usage, message)
    }

    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Self::new(Code::NotFound, message)
    }

    /// The reader of our output has gone, which is its right (`| head`).
    pub(super) fn closed_pipe() -> Self {
        Self { code: Code::Done, message: String::new() }
    }
}

impl From<DbError> for Failure {
    fn from(error: DbError) -> Self {
        let code = match error.class() {
            FailureClass::Outage if !error.is_refusal() => Code::Unreachable,
            _ => Code::Failed,
        };
        Self::new(code, error.to_string())
    }
}

impl From<AppError> for Failure {
    fn from(error: AppError) -> Self {
        match error {
            AppError::Config(error) => Self::usage(error.to_string()),
            AppError::OldDatabase { .. } => Self::usage(error.to_string()),
            AppError::Database(error) => error.into(),
            error => Self::failed(error.to_string()),
        }
    }
}
