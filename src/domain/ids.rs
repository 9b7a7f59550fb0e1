//! A type for each kind of id, so that the compiler tells a secret's id from a principal's.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The largest id: 2^53 - 1, the largest integer that every JSON reader keeps exact.
pub const MAX_ID: i64 = (1 << 53) - 1;

/// Generates an id that is an integer from 1 to [`MAX_ID`].
macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "i64", into = "i64")]
        pub struct $name(i64);

        impl $name {
            /// `None` where the number is not from 1 to [`MAX_ID`].
            #[must_use]
            pub fn new(id: i64) -> Option<Self> {
                (1..=MAX_ID).contains(&id).then_some(Self(id))
            }

            /// The number.
            #[must_use]
            pub fn get(self) -> i64 {
                self.0
            }
        }

        impl TryFrom<i64> for $name {
            type Error = String;
            fn try_from(id: i64) -> Result<Self, String> {
                Self::new(id).ok_or_else(|| format!("{id} is not an id: ids are integers from 1 to {MAX_ID}"))
            }
        }

        impl From<$name> for i64 {
            fn from(id: $name) -> i64 {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number_id! {
    /// An API secret.
    SecretId
}
number_id! {
    /// Whoever can hold a grant: a user, a user group or a personal group. All of them have their ids from one range.
    PrincipalId
}
number_id! {
    /// A job's short internal id, to which grants and lanes refer. It never leaves the database.
    JobKey
}

/// Generates an id that is a UUID. It is accepted in upper and lower case, and kept and shown in lower case.
macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            #[must_use]
            pub fn uuid(self) -> Uuid {
                self.0
            }
        }

        impl FromStr for $name {
            type Err = ();

            /// Only the form with hyphens is an id. A UUID in another form would be another text to whoever compares
            /// texts.
            fn from_str(text: &str) -> Result<Self, ()> {
                if text.len() != 36 {
                    return Err(());
                }
                Uuid::try_parse(text).map(Self).map_err(|_| ())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }
    };
}

uuid_id! {
    /// A job's public id.
    JobId
}
uuid_id! {
    /// The id of an order that came by message, which is the id of its event.
    OrderId
}

impl JobId {
    /// A new id, ordered by time (UUID v7).
    #[must_use]
    pub fn generate() -> Self {
        Self(Uuid::now_v7())
    }

    /// The id of the job that an order to undo becomes: the order's own.
    #[must_use]
    pub fn of_order(order: OrderId) -> Self {
        Self(order.0)
    }
}

impl Serialize for JobId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
