//! What everybody else sees while one person attacks: a gateway as a process, others who use it, and a gateway
//! that nobody attacks, by which it is told what the machine alone makes slow.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::process::{Env, Program, http, try_http};
use crate::production::Site;
use crate::support::Kind;

/// The promise: nobody else waits for longer, and a stop takes no longer.
const PROMISED: Duration = Duration::from_secs(1);

/// What the promise allows on this machine at this moment: the promise, and some times what the same takes at a
/// gateway that nobody attacks. Never more than `at_most`, however busy the machine.
pub(super) fn allowed(control: Duration, at_most: Duration) -> Duration {
    at_most.min(PROMISED + control * 4)
}

/// All roles on SQLite, with the demo's people, and attacked by nobody.
pub(super) struct Control {
    program: Program,
    address: String,
    _folder: tempfile::TempDir,
}

impl Control {
    pub(super) fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut program = Program::start(&["up"], &crate::embedded::settings(&folder));
        let address = program.address();
        Self { program, address, _folder: folder }
    }

    /// Stops it beside what the caller does meanwhile; how long it took.
    pub(super) fn stop(mut self) -> JoinHandle<Duration> {
        std::thread::spawn(move || {
            let asked = Instant::now();
            assert_eq!(self.program.stop(), 0, "{}", self.program.log());
            asked.elapsed()
        })
    }
}

/// A gateway as a process: all roles on SQLite, or one of two gateways on PostgreSQL.
pub(super) struct Gateway {
    pub(super) program: Program,
    pub(super) address: String,
    /// Of its database.
    pub(super) url: String,
    /// What there is to share, and with whom.
    pub(super) secret: i64,
    other: &'static str,
    control: Control,
    _site: Option<Site>,
    _folder: tempfile::TempDir,
}

impl Gateway {
    pub(super) async fn start(kind: Kind, further: Env) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let control = Control::start();
        match kind {
            Kind::Sqlite => {
                let mut env = crate::embedded::settings(&folder);
                let url = env[0].1.clone();
                env.extend(further);
                let mut program = Program::start(&["up"], &env);
                let address = program.address();
                let (_, ids) = http("GET", &address, "/api/v1/secrets/ids", "ana", None);
                let secret = ids[0]["id"].as_i64().expect("a secret");
                Self { program, address, url, secret, other: "bruno", control, _site: None, _folder: folder }
            }
            Kind::Postgres => {
                let mut site = Site::start_with(further).await;
                let (program, address) = (site.serve.remove(0), site.addresses.remove(0));
                let url = site.db.url.clone();
                let (secret, other) = (1_001, "user2");
                Self { program, address, url, secret, other, control, _site: Some(site), _folder: folder }
            }
        }
    }

    /// Stops it, within a second on a quiet machine.
    pub(super) fn stops(mut self) {
        let control = self.control.stop();
        let asked = Instant::now();
        assert_eq!(self.program.stop(), 0, "{}", self.program.log());
        let took = asked.elapsed();
        let control = control.join().expect("it stops");
        let allowed = allowed(control, Duration::from_secs(5));
        assert!(took < allowed, "it took {took:?}, and one that nobody attacked {control:?}");
    }
}

/// Somebody else who looks and shares meanwhile, on connections of their own; and the same at the control.
pub(super) struct Others {
    over: Arc<AtomicBool>,
    here: JoinHandle<Vec<Duration>>,
    control: JoinHandle<Vec<Duration>>,
}

impl Others {
    pub(super) fn begin(gateway: &Gateway) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let here = look(&gateway.address, gateway.other, &over);
        let control = look(&gateway.control.address, "bruno", &over);
        Self { over, here, control }
    }

    /// The promise: of a hundred requests, 99 took less than a second (on a quiet machine).
    pub(super) fn were_served(self) {
        self.over.store(true, Ordering::Relaxed);
        let [(here, count), (control, _)] =
            [self.here, self.control].map(|thread| p99(thread.join().expect("they were answered")));
        // Fewer than a hundred requests do not tell how long 99 of a hundred take: two slow ones are not two in a
        // hundred. Then only the time counts that nobody may wait for, however busy the machine is.
        let at_most = Duration::from_secs(3);
        let allowed = if count < 100 { at_most } else { allowed(control, at_most) };
        assert!(here < allowed, "p99 of {count} requests was {here:?}, and without an attack {control:?}");
    }
}

fn look(address: &str, person: &'static str, over: &Arc<AtomicBool>) -> JoinHandle<Vec<Duration>> {
    let (address, over) = (address.to_owned(), Arc::clone(over));
    std::thread::spawn(move || {
        let mut took = Vec::new();
        while !over.load(Ordering::Relaxed) {
            for path in ["/api/v1/me", "/api/v1/notices", "/api/v1/secrets?limit=5"] {
                let began = Instant::now();
                // Who came in the moment when a place was taken away comes again, as every client does.
                let answer = (0..3).find_map(|_| try_http("GET", &address, path, person, None, None));
                assert_eq!(answer.expect("an answer").0, 200, "{path}");
                took.push(began.elapsed());
            }
        }
        took
    })
}

/// And how many there were.
fn p99(mut took: Vec<Duration>) -> (Duration, usize) {
    took.sort_unstable();
    assert!(took.len() >= 3);
    (took[(took.len() - 1) * 99 / 100], took.len())
}
