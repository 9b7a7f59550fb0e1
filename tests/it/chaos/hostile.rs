//! A hostile publisher, beside everything else that breaks. Whatever it writes into properties, headers and bodies, it
//! stops nobody's job and changes none, and its messages are kept as dead letters.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::load::Ledger;
use super::site::PREFIX;
use crate::hostile::raw::{
    Answer, EXPIRATION, FREE_TEXTS, MESSAGE_ID, Properties, RawPublisher, Table, long,
};

/// Publishes until it is told to stop.
pub struct Hostile {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<BTreeSet<String>>,
}

impl Hostile {
    /// `ledger` has the jobs that there are. The publisher forges dead letters with their ids.
    pub fn start(seed: u64, url: String, ledger: Arc<Mutex<Ledger>>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut rng = StdRng::seed_from_u64(seed ^ 0xBAD);
            let mut taken = BTreeSet::new();
            let mut publisher = None;
            while !told.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(rng.random_range(50..250)));
                let Some(connected) = publisher.as_mut() else {
                    // The server may be away, since that is one of the faults.
                    publisher = RawPublisher::try_connect(&url).ok();
                    continue;
                };
                let mark = uuid::Uuid::now_v7().to_string();
                let victim = ledger.lock().expect("the ledger").accepted.keys().next_back().cloned();
                let properties = properties(&mut rng, victim.as_deref().unwrap_or(&mark));
                let body = format!("hostile {mark}");
                let exchange = format!("{PREFIX}.jobs");
                match connected.try_publish(&exchange, "job.requested", &properties, body.as_bytes()) {
                    Ok(Answer::Taken) => drop(taken.insert(mark)),
                    Ok(Answer::NotTaken) => {}
                    Ok(Answer::Closed(..)) | Err(_) => publisher = None,
                }
            }
            taken
        });
        Self { stop, thread }
    }

    /// The marks of the messages that RabbitMQ has confirmed.
    pub fn finish(self) -> BTreeSet<String> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the hostile publisher")
    }
}

/// Bytes that are not text, and headers that only the broker or batchshare itself sets. One combination is left out: a
/// header `x-death` that is no list of tables, together with an expiration, stops the dead-lettering of a queue of
/// RabbitMQ 3.10 for good (docs/operations.md).
fn properties(rng: &mut StdRng, victim: &str) -> Properties {
    let mut properties = Properties::persistent();
    let free = FREE_TEXTS[rng.random_range(0..FREE_TEXTS.len())];
    properties = properties.short(free, &[0xFF, 0xC3, b'a', 0x80]);
    if rng.random_range(0..3) == 0 {
        properties = properties.short(MESSAGE_ID, format!("{victim}/2").as_bytes());
    }
    if rng.random_range(0..3) == 0 {
        properties = properties.short(EXPIRATION, b"0");
    }
    let forged = Table::default()
        .text("x-batchshare-dead-id", victim)
        .text("x-batchshare-dead-reason", "delivery_limit")
        .text("x-batchshare-dead-queue", "steps")
        .text("x-first-death-queue", &format!("{PREFIX}.jobs"))
        .text("x-first-death-reason", "delivery_limit")
        .array(b"CC", &[(b'S', long(b"dead.own"))])
        .raw(b"\xFE\xFF", b't', &[1]);
    properties.headers(&forged)
}
