//! What can go wrong below the store, and the one function that says how bad it is.

use diesel::result::{DatabaseErrorKind, Error as DieselError};

/// How a failure of the database is treated (ARCHITECTURE.md, "Failures"). The third class, permanent, is about
/// messages: `contract` and `worker/handle.rs` find it, and no database tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureClass {
    /// The server is away or cannot work. It is waited for, and no attempt counts.
    Outage,
    /// Another try may work. The failure counts as an attempt.
    Transient,
}

/// An error of the database layer. `Display` never contains values of rows.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    #[error("cannot connect to the database {target}: {message}")]
    Connect { target: String, message: String },
    /// The server is there and refuses what the settings ask for, with this code (a SQLSTATE).
    #[error("the database {target} refuses the connection: {reason} (SQLSTATE {code}): {message}")]
    Refused { target: String, reason: &'static str, code: String, message: String },
    #[error("database error: {0}")]
    Query(DieselError),
    /// The commit was sent and its answer is unknown. The caller acts as if nothing had happened and
    /// relies on the work being idempotent.
    #[error("the outcome of a commit is unknown: {0}")]
    Commit(DieselError),
    /// What was asked for may still happen: the caller acts as after [`DbError::Commit`].
    #[error("the database did not answer within {0:?}")]
    Deadline(std::time::Duration),
    #[error("a database task panicked")]
    Panicked,
    /// What is stored cannot be read as what it should be.
    #[error("stored data is not valid: {0}")]
    Corrupt(String),
    /// The database answers, and this program cannot work with it until somebody changes that.
    #[error("{0}")]
    Unsuitable(String),
}

impl From<DieselError> for DbError {
    fn from(error: DieselError) -> Self {
        Self::Query(error)
    }
}

/// Words in the texts of servers, in English, that mean an outage. Diesel does not hand out SQLSTATE codes, so the
/// classes 53 and 57P01-57P03 and SQLite's result codes are recognised by their texts. For a server that speaks
/// another language, [`DbError::connection_lost`] catches most cases.
const OUTAGE_WORDS: &[&str] = &[
    // 53100, 53200, 53300, 53400
    "No space left on device",
    "could not extend file",
    "out of memory",
    "out of shared memory",
    "too many clients",
    "too many connections",
    "remaining connection slots",
    // 57P01, 57P02, 57P03
    "terminating connection",
    "the database system is",
    // a connection that broke under a statement
    "server closed the connection",
    "connection to server",
    "could not receive data from server",
    "could not send data to server",
    "no connection to the server",
    "SSL SYSCALL error",
    // SQLITE_FULL, SQLITE_IOERR, SQLITE_CANTOPEN, SQLITE_READONLY
    "database or disk is full",
    "disk I/O error",
    "unable to open database file",
    "attempt to write a readonly database",
];

impl DbError {
    /// The one decision between outage and transient. Anything unknown is transient, so that it is counted and ends.
    /// But a commit without an answer is an outage, whatever the reason: if a chunk was committed and is tried again
    /// in place, it finds that its own commit has moved the lane on, and stops as if another worker were working on
    /// the lane. When the message is delivered again, the lane is read anew, and the work goes on.
    #[must_use]
    pub fn class(&self) -> FailureClass {
        match self {
            Self::Connect { .. } | Self::Refused { .. } | Self::Deadline(_) | Self::Commit(_) => {
                FailureClass::Outage
            }
            Self::Query(error) => class_of(error),
            Self::Panicked | Self::Corrupt(_) | Self::Unsuitable(_) => FailureClass::Transient,
        }
    }

    /// Whether the server is there and refuses: the password is wrong, or there is no such database. Waiting is of no
    /// use then.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Refused { .. } => true,
            Self::Connect { message, .. } => Self::knows_refusal(message),
            _ => false,
        }
    }

    /// Whether a server's words at connecting are PostgreSQL's for an outage, in English.
    pub(super) fn knows_outage(said: &str) -> bool {
        // libpq itself says this one, and says it of each host.
        OUTAGE_WORDS.iter().any(|word| *word != "connection to server" && said.contains(word))
    }

    /// Whether a text of libpq's tells a refusal without a code: libpq's own words, or PostgreSQL's in English.
    pub(super) fn knows_refusal(text: &str) -> bool {
        const WORDS: &[&str] =
            &["authentication failed", "no password supplied", "does not exist", "no pg_hba.conf entry"];
        WORDS.iter().any(|word| text.contains(word))
    }

    /// Whether the connection must not be used again after this error.
    #[must_use]
    pub fn connection_lost(&self) -> bool {
        matches!(self, Self::Panicked) || self.class() == FailureClass::Outage
    }

    /// Whether two transactions waited for each other, and the database gave this one up. The same may work in a moment.
    #[must_use]
    pub fn is_deadlock(&self) -> bool {
        match self {
            Self::Query(DieselError::DatabaseError(_, information)) => {
                information.message().contains("deadlock detected")
            }
            _ => false,
        }
    }

    /// Whether the database is there and too busy: a lock, a deadlock, a time-out. The same may work in a moment.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        const WORDS: &[&str] = &["deadlock detected", "canceling statement due to", "database is locked"];
        match self {
            Self::Query(DieselError::DatabaseError(DatabaseErrorKind::SerializationFailure, _)) => true,
            Self::Query(DieselError::DatabaseError(_, information)) => {
                WORDS.iter().any(|word| information.message().contains(word))
            }
            _ => false,
        }
    }

    /// Whether the statement has waited long enough, for a lock or for its own end. To try it again at once would
    /// only hold up what waits behind it.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        const WORDS: &[&str] = &["canceling statement due to", "could not obtain lock"];
        matches!(self, Self::Query(DieselError::DatabaseError(_, information))
            if WORDS.iter().any(|word| information.message().contains(word)))
    }

    /// Whether somebody else has SQLite's one writer. Then nothing at all can be written, which is no single
    /// message's fault.
    #[must_use]
    pub fn is_writer_taken(&self) -> bool {
        matches!(self, Self::Query(DieselError::DatabaseError(_, information))
            if information.message().contains("database is locked"))
    }

    /// Whether a unique key was violated.
    #[must_use]
    pub fn is_unique_violation(&self) -> bool {
        matches!(self, Self::Query(DieselError::DatabaseError(DatabaseErrorKind::UniqueViolation, _)))
    }
}

fn class_of(error: &DieselError) -> FailureClass {
    match error {
        DieselError::DatabaseError(
            DatabaseErrorKind::ClosedConnection | DatabaseErrorKind::ReadOnlyTransaction,
            _,
        )
        | DieselError::BrokenTransactionManager => FailureClass::Outage,
        DieselError::DatabaseError(_, information) => {
            let text = information.message();
            if OUTAGE_WORDS.iter().any(|word| text.contains(word)) {
                FailureClass::Outage
            } else {
                FailureClass::Transient
            }
        }
        _ => FailureClass::Transient,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_text(kind: DatabaseErrorKind, text: &str) -> DbError {
        DbError::Query(DieselError::DatabaseError(kind, Box::new(text.to_owned())))
    }

    #[test]
    fn each_failure_has_the_class_of_the_table() {
        use DatabaseErrorKind::{ClosedConnection, ReadOnlyTransaction, SerializationFailure, Unknown};
        use FailureClass::{Outage, Transient};
        let table = [
            (ClosedConnection, "", Outage),
            (ReadOnlyTransaction, "cannot execute INSERT in a read-only transaction", Outage),
            (Unknown, "terminating connection due to administrator command", Outage),
            (Unknown, "the database system is shutting down", Outage),
            (Unknown, "could not extend file \"base/1\": No space left on device", Outage),
            (Unknown, "out of shared memory", Outage),
            // One statement's fault, while the server works for all others.
            (Unknown, "temporary file size exceeds temp_file_limit (1024kB)", Transient),
            (Unknown, "sorry, too many clients already", Outage),
            (Unknown, "database or disk is full", Outage),
            (Unknown, "disk I/O error", Outage),
            (SerializationFailure, "could not serialize access", Transient),
            (Unknown, "deadlock detected", Transient),
            (Unknown, "canceling statement due to lock timeout", Transient),
            (Unknown, "canceling statement due to statement timeout", Transient),
            (Unknown, "database is locked", Transient),
            (Unknown, "something never seen", Transient),
        ];
        for (kind, text, class) in table {
            assert_eq!(with_text(kind, text).class(), class, "{text}");
        }
    }

    #[test]
    fn only_what_may_work_in_a_moment_is_busy() {
        use DatabaseErrorKind::{SerializationFailure, Unknown};
        for text in ["deadlock detected", "canceling statement due to lock timeout", "database is locked"] {
            assert!(with_text(Unknown, text).is_busy(), "{text}");
        }
        assert!(with_text(SerializationFailure, "").is_busy());
        assert!(!with_text(Unknown, "something never seen").is_busy());
        assert!(!DbError::Corrupt(String::new()).is_busy());
    }

    #[test]
    fn only_a_deadlock_is_a_deadlock() {
        use DatabaseErrorKind::Unknown;
        assert!(with_text(Unknown, "deadlock detected").is_deadlock());
        assert!(!with_text(Unknown, "canceling statement due to lock timeout").is_deadlock());
    }

    #[test]
    fn a_lock_that_was_waited_for_is_told_from_a_writer_that_is_taken() {
        use DatabaseErrorKind::Unknown;
        for text in [
            "canceling statement due to lock timeout",
            "canceling statement due to statement timeout",
            "could not obtain lock on row in relation \"jobs\"",
        ] {
            assert!(with_text(Unknown, text).is_timeout(), "{text}");
        }
        let taken = with_text(Unknown, "database is locked");
        assert!(taken.is_writer_taken() && !taken.is_timeout());
        assert!(!with_text(Unknown, "deadlock detected").is_timeout());
    }

    #[test]
    fn a_commit_without_an_answer_is_an_outage() {
        let DbError::Query(error) = with_text(DatabaseErrorKind::Unknown, "something never seen") else {
            unreachable!("it is a query's")
        };
        assert_eq!(DbError::Commit(error).class(), FailureClass::Outage);
    }
}
