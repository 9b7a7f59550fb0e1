//! The connections below [`super::Db`]: how they are made, tested, lent to a call, kept while idle, and closed.

use std::os::unix::fs::MetadataExt as _;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use diesel::connection::{Connection as _, InstrumentationEvent};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::db::clock::Clock;
use crate::db::conn::Conn;
use crate::db::connect::connect;
use crate::db::error::DbError;
use crate::db::limit::Limit;
use crate::db::options::DbOptions;
use crate::db::target::Target;

/// How many connections there are and what they do. For SQLite, its writer and its readers are counted together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Connections {
    pub in_use: usize,
    pub idle: usize,
    /// There are at most so many at a time.
    pub size: usize,
    /// The number of calls that wait for one.
    pub waiting: usize,
}

/// What all handles on one database share.
pub(super) struct Inner {
    pub(super) target: Target,
    pub(super) options: DbOptions,
    pub(super) clock: Clock,
    writers: Pool,
    /// Only SQLite has these. With PostgreSQL, reads take a connection of `writers`.
    readers: Option<Pool>,
    /// The number of statements that were sent, including those of transactions.
    statements: Arc<AtomicU64>,
    /// It goes up with each outage. Idle connections that are older are dropped unused.
    generation: AtomicU64,
    /// The number of calls that were given up while their threads still have a connection.
    abandoned: AtomicU64,
    /// Only for SQLite: device and inode of the file that is open.
    file: OnceLock<(u64, u64)>,
}

pub(super) struct Pool {
    size: usize,
    pub(super) permits: Arc<Semaphore>,
    idle: Mutex<Vec<Kept>>,
    waiting: AtomicUsize,
}

/// A call that waits for a place in a pool.
pub(super) struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A connection and what tells whether it may be used again.
struct Kept {
    conn: Conn,
    /// How long a statement may run on SQLite.
    limit: Limit,
    generation: u64,
    /// The connection is closed after this time.
    ends: Instant,
    /// When it was given back; `None` for one that was just made.
    idle_since: Option<Instant>,
}

/// A connection that was idle for longer than this is tested before it reads, because load balancers cut idle
/// connections, and a statement that was sent is not sent again. (A write is tested by its BEGIN.)
const TEST_AFTER: Duration = Duration::from_secs(1);

impl Pool {
    fn new(size: usize) -> Self {
        let size = size.max(1);
        let (permits, waiting) = (Arc::new(Semaphore::new(size)), AtomicUsize::new(0));
        Self { size, permits, idle: Mutex::new(Vec::new()), waiting }
    }

    pub(super) fn in_line(&self) -> Waiting<'_> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        Waiting(&self.waiting)
    }
}

/// What a call needs a connection for.
#[derive(Clone, Copy)]
pub(super) enum Way {
    Read,
    /// A write transaction, which waits for a lock as long as `locks` says.
    Transaction {
        locks: Option<Duration>,
    },
    /// A transaction that only reads and sees everything as it was at one moment. None of its statements may run longer
    /// than `each`.
    Snapshot {
        each: Duration,
    },
    /// Work without a transaction of ours, on a connection that may write.
    OnWriter,
}

/// A place in a pool. A call has it until it ends or is given up.
pub(super) struct Place {
    inner: Arc<Inner>,
    state: Mutex<PlaceState>,
}

struct PlaceState {
    permit: Option<OwnedSemaphorePermit>,
    given_up: bool,
    ended: bool,
}

impl Place {
    pub(super) fn new(inner: &Arc<Inner>, permit: Option<OwnedSemaphorePermit>) -> Arc<Self> {
        let state = PlaceState { permit, given_up: false, ended: false };
        Arc::new(Self { inner: Arc::clone(inner), state: Mutex::new(state) })
    }

    /// Notes that nobody waits for the call any more.
    pub(super) fn give_up(&self) {
        let mut state = locked(&self.state);
        if state.ended {
            return;
        }
        state.given_up = true;
        self.inner.abandoned.fetch_add(1, Ordering::Relaxed);
        // A server that is silent for ever must not keep a place in the pool for ever. SQLite has no silent server,
        // and its one writer must stay one.
        if !self.inner.target.is_sqlite() {
            self.inner.generation.fetch_add(1, Ordering::Relaxed);
            drop(state.permit.take());
        }
    }
}

/// When this is dropped, also by a panic, the call of its place has ended.
struct Ending(Arc<Place>);

impl Drop for Ending {
    fn drop(&mut self) {
        let mut state = locked(&self.0.state);
        state.ended = true;
        drop(state.permit.take());
        if state.given_up {
            self.0.inner.abandoned.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Inner {
    pub(super) fn new(target: Target, options: DbOptions, clock: Clock) -> Self {
        let (writers, readers) = if target.is_sqlite() {
            (1, Some(Pool::new(options.pool_size)))
        } else {
            (options.pool_size, None)
        };
        Self {
            target,
            options,
            clock,
            writers: Pool::new(writers),
            readers,
            statements: Arc::default(),
            generation: AtomicU64::new(0),
            abandoned: AtomicU64::new(0),
            file: OnceLock::new(),
        }
    }

    pub(super) fn statements(&self) -> u64 {
        self.statements.load(Ordering::Relaxed)
    }

    pub(super) fn connections(&self) -> Connections {
        let pools = std::iter::once(&self.writers).chain(&self.readers);
        pools.fold(Connections::default(), |sum, pool| Connections {
            in_use: sum.in_use + pool.size.saturating_sub(pool.permits.available_permits()),
            idle: sum.idle + locked(&pool.idle).len(),
            size: sum.size + pool.size,
            waiting: sum.waiting + pool.waiting.load(Ordering::Relaxed),
        })
    }

    pub(super) fn abandoned(&self) -> u64 {
        self.abandoned.load(Ordering::Relaxed)
    }

    pub(super) async fn spawn<T: Send + 'static>(
        self: Arc<Self>,
        way: Way,
        place: Arc<Place>,
        work: impl FnOnce(&mut Conn) -> Result<T, DbError> + Send + 'static,
    ) -> Result<T, DbError> {
        // If the caller is gone, the work still ends and the connection comes back. The end of the work frees the
        // place, whoever is still looking.
        tokio::task::spawn_blocking(move || {
            let ending = Ending(place);
            if locked(&ending.0.state).given_up {
                // Given up before it began: nobody reads this.
                return Err(DbError::Panicked);
            }
            let mut kept = self.ready(way)?;
            let result = work(&mut kept.conn);
            self.give_back(way, kept, result.as_ref().err());
            result
        })
        .await
        .unwrap_or(Err(DbError::Panicked))
    }

    pub(super) fn pool(&self, way: Way) -> &Pool {
        self.readers
            .as_ref()
            .filter(|_| matches!(way, Way::Read | Way::Snapshot { .. }))
            .unwrap_or(&self.writers)
    }

    /// A connection that works, in a transaction if one is wanted. If an idle connection turns out to be dead,
    /// nothing was done with it yet: all idle ones are dropped, and a new one is made, once.
    fn ready(&self, way: Way) -> Result<Kept, DbError> {
        let mut kept = self.take(way)?;
        let Err(error) = kept.prepare(way, &self.options) else { return Ok(kept) };
        let was_idle = kept.idle_since.is_some();
        let lost = error.connection_lost();
        self.give_back(way, kept, Some(&error));
        if !(lost && was_idle) {
            return Err(error);
        }
        let mut kept = self.connect()?;
        match kept.prepare(way, &self.options) {
            Ok(()) => Ok(kept),
            Err(error) => {
                self.give_back(way, kept, Some(&error));
                Err(error)
            }
        }
    }

    fn take(&self, way: Way) -> Result<Kept, DbError> {
        self.same_file()?;
        let (generation, now) = (self.generation.load(Ordering::Relaxed), Instant::now());
        let mut idle = locked(&self.pool(way).idle);
        let old: Vec<Kept> =
            idle.extract_if(.., |kept| kept.generation != generation || kept.ends <= now).collect();
        let found = idle.pop();
        drop(idle);
        // They are closed here, while nobody waits for the list.
        drop(old);
        found.map_or_else(|| self.connect(), Ok)
    }

    fn connect(&self) -> Result<Kept, DbError> {
        let generation = self.generation.load(Ordering::Relaxed);
        let limit = Limit::new();
        let mut conn = connect(&self.target, &self.options, &self.clock, &limit)?;
        if let Some(file) = self.file_now() {
            self.file.get_or_init(|| file);
        }
        let (statements, of_each) = (Arc::clone(&self.statements), limit.clone());
        conn.set_instrumentation(move |event: InstrumentationEvent<'_>| {
            if matches!(event, InstrumentationEvent::StartQuery { .. }) {
                statements.fetch_add(1, Ordering::Relaxed);
                of_each.begin();
            }
        });
        // A connection to SQLite lasts as long as the process, because opening the file anew would change nothing.
        let lifetime = match self.target.is_sqlite() {
            true => FOR_EVER,
            false => self.options.max_lifetime.mul_f64(rand::random_range(0.875..1.125)),
        };
        Ok(Kept { conn, limit, generation, ends: Instant::now() + lifetime, idle_since: None })
    }

    fn give_back(&self, way: Way, mut kept: Kept, failure: Option<&DbError>) {
        if failure.is_some_and(DbError::connection_lost) {
            self.generation.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let now = Instant::now();
        // A connection from before an outage is dropped here: it could be one too many.
        if kept.generation == self.generation.load(Ordering::Relaxed) && kept.ends > now {
            kept.idle_since = Some(now);
            locked(&self.pool(way).idle).push(kept);
        }
    }

    /// Which file SQLite's path names now. It is another one after the file was moved away or replaced.
    fn file_now(&self) -> Option<(u64, u64)> {
        let Target::Sqlite { path } = &self.target else { return None };
        std::fs::metadata(path).ok().map(|file| (file.dev(), file.ino()))
    }

    /// Checks that the file was not removed or replaced while it is open: it would still take what is written, and
    /// nobody would find it.
    fn same_file(&self) -> Result<(), DbError> {
        match self.file.get() {
            Some(opened) if self.file_now() != Some(*opened) => Err(DbError::Connect {
                target: self.target.to_string(),
                message: "the file was removed or replaced while it was open; start batchshare again"
                    .to_owned(),
            }),
            _ => Ok(()),
        }
    }
}

/// It is longer than any process runs.
const FOR_EVER: Duration = Duration::from_secs(10 * 365 * 24 * 3_600);

impl Kept {
    fn prepare(&mut self, way: Way, options: &DbOptions) -> Result<(), DbError> {
        self.limit.set(match way {
            Way::Read => options.read_timeout,
            Way::Snapshot { each } => each,
            Way::Transaction { .. } | Way::OnWriter => options.statement_timeout,
        });
        match way {
            Way::Transaction { locks } => {
                self.conn.begin(options.statement_timeout, locks, options.lock_timeout)
            }
            Way::Snapshot { each } => self.conn.begin_snapshot(each),
            Way::Read | Way::OnWriter => {
                match self.idle_since.is_some_and(|since| since.elapsed() > TEST_AFTER) {
                    true => self.conn.test(),
                    false => Ok(()),
                }
            }
        }
    }
}
