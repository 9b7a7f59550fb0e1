//! A hook around the calls to the database.

use futures_util::future::BoxFuture;

use crate::db::error::DbError;

/// Somebody who sees each call to the database before it is made, and each write after it was committed, and who may
/// delay it, or answer it with an error in the database's place.
///
/// It is how the tests put calls in order and make each of them fail once: [`crate::db::Db::with_hook`] installs one,
/// and no part of the program does. Without a hook a call costs one comparison more.
pub trait CallHook: Send + Sync {
    /// Awaited before a call, while it has no connection yet. `Err`: nothing is done, and the caller gets the error.
    fn before_call(&self, writing: bool) -> BoxFuture<'_, Result<(), DbError>>;
    /// Awaited after a write transaction was committed. `Err`: the caller gets the error though the write took effect,
    /// as when the answer to a commit is lost.
    fn after_write(&self) -> BoxFuture<'_, Result<(), DbError>>;
}
