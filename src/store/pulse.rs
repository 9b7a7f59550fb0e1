//! Finds out whether the database takes writes, by writing to it.
//!
//! A server that answers queries may still be unable to keep anything: its disk is full, or its synchronous standby
//! has stopped and every commit waits for it. Only a write shows that.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use diesel::RunQueryDsl as _;
use diesel::sql_types::BigInt;

use crate::db::{Db, DbError, statement};

/// If the last write was confirmed within this time, no new one is tried.
const FRESH: Duration = Duration::from_secs(5);
/// A write that takes longer than this is logged. Callers usually give up later than that.
const SLOW: Duration = Duration::from_secs(3);

/// The state of the checks of this process.
#[derive(Default)]
pub(super) struct Pulse {
    /// Locked while a check is under way, so that there is only one at a time.
    turn: Arc<tokio::sync::Mutex<()>>,
    /// When a check last confirmed a write.
    last: RwLock<Option<Instant>>,
    /// Whether the log says that the database takes no writes. It is said once, and so is the end of it.
    told: AtomicBool,
}

/// The number of rows that processes write to. Each process takes one by its id, so that they seldom wait for each
/// other.
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
                    // This is logged once, however many checks find it.
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

    /// How long ago a check last confirmed a write. `None` if there was none yet.
    pub(super) fn last_write(&self) -> Option<Duration> {
        let last = *self.last.read().unwrap_or_else(PoisonError::into_inner);
        last.map(|at| at.elapsed())
    }
}
