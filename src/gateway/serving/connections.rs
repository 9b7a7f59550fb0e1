//! The places for connections: how many there are, from which addresses they are taken, and which connection is
//! closed when somebody else needs its place.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Resource, getrlimit, setrlimit};

use crate::gateway::serving::activity::Activity;

/// How many of the files that the process may open are kept for the database, the broker and others. It is a quarter
/// of them where that is more.
const KEPT_BACK: u64 = 64;

/// One in so many of the waiting connections is closed at a time. Finding the oldest means looking at all of them,
/// and this makes it rare.
const ONE_IN: usize = 32;

/// How often the log may say that there is no room.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// The connections that are open. Cheap to clone: all clones are the same one.
#[derive(Clone)]
pub(super) struct Connections(Arc<Inner>);

struct Inner {
    most: usize,
    most_per_address: usize,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    next: u64,
    all: HashMap<u64, (IpAddr, Arc<Activity>)>,
    by_address: HashMap<IpAddr, usize>,
    told: Option<Instant>,
}

impl Open {
    fn remove(&mut self, number: u64) {
        let Some((address, _)) = self.all.remove(&number) else { return };
        if let Some(count) = self.by_address.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                self.by_address.remove(&address);
            }
        }
    }

    /// Closes those connections that have waited longest for a request, from this address or from all. False where
    /// none waits.
    fn evict(&mut self, address: Option<IpAddr>) -> bool {
        let mut waiting: Vec<(Instant, u64)> = self
            .all
            .iter()
            .filter(|(_, (of, _))| address.is_none_or(|address| address == *of))
            .filter_map(|(number, (_, activity))| Some((activity.waits_since()?, *number)))
            .collect();
        waiting.sort_unstable();
        waiting.truncate(waiting.len().div_ceil(ONE_IN));
        for (_, number) in &waiting {
            if let Some((_, activity)) = self.all.get(number) {
                activity.evict();
            }
            // The place is free from now on. The file is free in a moment, when the connection's task has ended.
            self.remove(*number);
        }
        !waiting.is_empty()
    }

    /// Whether it is time for another line in the log.
    fn may_tell(&mut self) -> bool {
        let may = self.told.is_none_or(|told| told.elapsed() >= TELL_EVERY);
        if may {
            self.told = Some(Instant::now());
        }
        may
    }
}

impl Connections {
    /// Room for `most` connections, or for fewer where the process may not open so many files.
    pub(super) fn new(most: usize, most_per_address: usize) -> Self {
        let fitting = fitting(most);
        if fitting < most {
            tracing::info!(
                connections = fitting,
                "fewer connections than gateway.max_connections: the process may not open more files (ulimit -n)"
            );
        }
        Self(Arc::new(Inner { most: fitting, most_per_address, open: Mutex::default() }))
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a connection from this address. Where all places are taken, the connections that have waited
    /// longest for a request lose theirs, so that half a request holds up nobody. `None` where every connection has a
    /// request in hand.
    pub(super) fn place(&self, address: IpAddr) -> Option<Place> {
        let address = network(address);
        let mut open = self.open();
        let of_address = open.by_address.get(&address).copied().unwrap_or(0);
        let (full, full_for_address) = (open.all.len() >= self.0.most, of_address >= self.0.most_per_address);
        if full || full_for_address {
            if open.may_tell() {
                let key =
                    if full { "gateway.max_connections" } else { "gateway.max_connections_per_address" };
                tracing::warn!(%address, "{key} is reached: the connections that wait longest are closed");
            }
            let whose = Some(address).filter(|_| full_for_address);
            if !open.evict(whose) {
                return None;
            }
        }
        let (number, activity) = (open.next, Arc::new(Activity::new()));
        open.next += 1;
        open.all.insert(number, (address, Arc::clone(&activity)));
        *open.by_address.entry(address).or_default() += 1;
        drop(open);
        Some(Place { connections: self.clone(), number, activity })
    }

    /// Closes some connections that only wait.
    pub(super) fn make_room(&self) {
        self.open().evict(None);
    }

    /// Logs that no connection could be accepted, once in a while.
    pub(super) fn tell_trouble(&self, error: &std::io::Error) {
        if self.open().may_tell() {
            tracing::warn!(%error, "no connection can be taken: those that wait longest are closed");
        }
    }
}

/// The network that counts as one address. Whoever has one address of IPv6 usually has 2^64 of them, all with the
/// same first 64 bits.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        address => address,
    }
}

/// Raises the process's limit of open files as far as that is allowed and needed, and says how many of the wanted
/// connections fit below it.
fn fitting(wanted: usize) -> usize {
    let mut limit = getrlimit(Resource::Nofile);
    let wanted_files = (wanted as u64).saturating_mul(2).saturating_add(1_024);
    let may = limit.maximum.unwrap_or(u64::MAX);
    if limit.current.is_some_and(|current| current < wanted_files.min(may)) {
        let raised = rustix::process::Rlimit { current: Some(wanted_files.min(may)), ..limit };
        if setrlimit(Resource::Nofile, raised).is_ok() {
            limit = getrlimit(Resource::Nofile);
        }
    }
    let Some(files) = limit.current else { return wanted };
    let rest = files.saturating_sub((files / 4).max(KEPT_BACK)).max(1);
    usize::try_from(rest).unwrap_or(usize::MAX).min(wanted)
}

/// A place for a connection. It is given back when this is dropped.
pub(super) struct Place {
    connections: Connections,
    number: u64,
    activity: Arc<Activity>,
}

impl Place {
    pub(super) fn activity(&self) -> &Arc<Activity> {
        &self.activity
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connections.open().remove(self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::serving::activity::InHand;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[tokio::test]
    async fn who_waits_longest_gives_its_place_away_and_who_is_asked_something_does_not() {
        let connections = Connections::new(3, 3);
        let taken: Vec<Place> = (0..3).filter_map(|last| connections.place(address(last))).collect();
        let asked = InHand::new(Arc::clone(taken[0].activity()));
        std::thread::sleep(Duration::from_millis(5));
        let fourth = connections.place(address(9)).expect("a place");
        taken[1].activity().evicted().await;
        let all_asked: Vec<InHand> =
            [&taken[2], &fourth].iter().map(|place| InHand::new(Arc::clone(place.activity()))).collect();
        assert!(connections.place(address(9)).is_none(), "all are in use");
        drop((asked, all_asked));
        assert!(connections.place(address(9)).is_some());
    }

    #[tokio::test]
    async fn an_address_that_is_full_takes_no_place_from_others() {
        let connections = Connections::new(10, 2);
        let other = connections.place(address(1)).expect("a place");
        let taken: Vec<Place> = (0..2).filter_map(|_| connections.place(address(2))).collect();
        let third = connections.place(address(2)).expect("its own first");
        taken[0].activity().evicted().await;
        let busy: Vec<InHand> =
            [&taken[1], &third].iter().map(|place| InHand::new(Arc::clone(place.activity()))).collect();
        assert!(connections.place(address(2)).is_none());
        assert!(other.activity().waits_since().is_some());
        drop(busy);
    }

    #[test]
    fn a_network_of_ipv6_is_one_address() {
        let of = |text: &str| network(text.parse().expect("an address"));
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:0:0:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
    }
}
