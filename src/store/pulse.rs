//! Whether the database takes writes: not what it says, but by writing.
//!
//! A server may answer every question and keep nothing: its disk is full, or a synchronous standby stands still and
//! every commit waits for it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use diesel::RunQueryDsl as _;
use diesel::sql_types::BigInt;

use crate::db::{Db, DbError, statement};

/// A write of so short a time ago says enough.
const FRESH: Duration = Duration::from_secs(5);
/// A write that takes longer is told, before anybody gives up on it.
const SLOW: Duration = Duration::from_secs(3);
/// When something was last written to see whether it can be.
#[derive(Default)]
pub(super) struct Pulse {
    /// Locked while somebody tries.
    turn: Arc<tokio::sync::Mutex<()>>,
    last: RwLock<Option<Instant>>,
    /// It was told that nothing is written.
    told: AtomicBool,
}

/// Rows to write to, so that processes do not wait for each other.
const PLACES: u32 = 64;

impl Pulse {
    /// See [`Store::takes_writes`](crate::store::Store::takes_writes).
    pub(super) async fn check(self: Arc<Self>, db: &Db) -> Result<(), DbError> {
        let fresh = || self.last_write().is_some_and(|ago| ago < FRESH);
        if fresh() {
            return Ok(());
        }
        let turn = Arc::clone(&self.turn).lock_owned().await;
        if fresh() {
            return Ok(());
        }
        let (db, pulse) = (db.clone(), Arc::clone(&self));
        let tried = tokio::spawn(async move {
            let _turn = turn;
            let write = db.write(|conn| {
                let place = i64::from(std::process::id() % PLACES);
                let sql = "INSERT INTO write_checks (place, at) VALUES ($1, now_ms()) \
                           ON CONFLICT (place) DO UPDATE SET at = excluded.at";
                statement(sql).bind::<BigInt, _>(place).execute(conn)?;
                Ok(())
            });
            tokio::pin!(write);
            let result = match tokio::time::timeout(SLOW, &mut write).await {
                Ok(result) => result,
                Err(_) => {
                    // Once, however often it is looked.
                    if !pulse.told.swap(true, Ordering::Relaxed) {
                        tracing::warn!(
                            seconds = SLOW.as_secs(),
                            "the database answers, and a write is not confirmed; does a synchronous standby stand still?"
                        );
                    }
                    write.await
                }
            };
            match &result {
                Ok(()) => {
                    *pulse.last.write().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
                    if pulse.told.swap(false, Ordering::Relaxed) {
                        tracing::info!("the database takes writes again");
                    }
                }
                Err(error) if !pulse.told.swap(true, Ordering::Relaxed) => {
                    tracing::warn!(%error, "the database takes no writes");
                }
                Err(_) => {}
            }
            result
        });
        tried.await.unwrap_or(Err(DbError::Panicked))
    }

    /// How long ago the last such write was confirmed; none where there was none yet.
    pub(super) fn last_write(&self) -> Option<Duration> {
        let last = *self.last.read().unwrap_or_else(PoisonError::into_inner);
        last.map(|at| at.elapsed())
    }
}
