//! How a command ends: exit codes for scripts, and one line for people.

use std::process::ExitCode;

use crate::app::AppError;
use crate::db::{DbError, FailureClass};

/// What `--help` says of the exit codes and of the settings.
pub(super) const EXIT_CODES: &str = "\
Exit codes:
  0  done; for share, jobs watch and jobs undo: the job completed
  1  an error that is none of the others
  2  usage or configuration: what was asked cannot be understood, or the settings do not fit
  3  the job completed with rejections (share, jobs watch, jobs undo)
  4  the job failed or was cancelled (share, jobs watch, jobs undo)
  5  not found: a job, a dead letter, a name, or nothing that matches
  6  a server could not be reached within 10 seconds
130  Ctrl-C was pressed while the command waited; a job that was asked for goes on

Settings: config/default.toml lists every key. A file given with --config lies over the defaults,
the environment over both: BATCHSHARE__DATABASE__URL=postgres://… sets database.url.";

/// The exit codes, which `--help` explains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    Done = 0,
    Failed = 1,
    Usage = 2,
    CompletedWithRejections = 3,
    JobFailed = 4,
    NotFound = 5,
    Unreachable = 6,
    /// What shells have for a program that Ctrl-C has ended.
    Interrupted = 130,
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
    /// One line that says what failed, on what, and what to do. It is empty where nobody reads any more.
    pub message: String,
}

impl Failure {
    pub(super) fn new(code: Code, message: impl Into<String>) -> Self {
        // A library may have put several lines into its text.
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

    /// The reader of our output has gone, as `head` does. This is no failure.
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
            AppError::Config(_) | AppError::Key(_) | AppError::OldDatabase { .. } => {
                Self::usage(error.to_string())
            }
            AppError::Database(error) => error.into(),
            error => Self::failed(error.to_string()),
        }
    }
}
