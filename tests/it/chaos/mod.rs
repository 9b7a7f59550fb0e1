//! Real processes on private servers, while things break. Jobs are requested all the time, and at the end every
//! promise is checked by SQL, by the queues and by a log of all events.
//!
//! `./dev chaos --seconds N --seed S` runs it for longer (BATCHSHARE_CHAOS_SECONDS and _SEED). The seed chooses the
//! jobs and the faults, but their timing differs from run to run.

mod check;
mod control;
mod hostile;
mod load;
mod model;
mod received;
pub mod relay;
pub mod servers;
mod site;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rand::SeedableRng as _;
use rand::rngs::StdRng;

use self::hostile::Hostile;
use self::load::{Ledger, Load};
use self::relay::Mode;
use self::site::Site;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_of_all_kinds_lose_nothing_and_double_nothing() {
    let seconds = setting("BATCHSHARE_CHAOS_SECONDS", 30);
    let seed = setting("BATCHSHARE_CHAOS_SEED", 1);
    println!("chaos: {seconds} s with seed {seed}; again: ./dev chaos --seconds {seconds} --seed {seed}");
    let mut site = Site::start().await;
    let log = check::EventLog::declare(&site).await;
    let load = Load::start(seed, site.addresses.clone(), site.broker());
    let url = site.servers.amqp_url(site.servers.mq_port);
    let hostile = Hostile::start(seed, url, std::sync::Arc::clone(&load.ledger));
    let mut rng = StdRng::seed_from_u64(seed);
    let mut faults: BTreeMap<&str, u32> = BTreeMap::new();
    let began = Instant::now();
    let end = began + Duration::from_secs(seconds);
    while Instant::now() < end {
        let fault = site.fault(&mut rng).await;
        println!("chaos: {:5.1} s: {fault}", began.elapsed().as_secs_f64());
        *faults.entry(fault).or_default() += 1;
        load.ended(check::ended(&site));
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    site.pg.set(Mode::Flow);
    site.mq.set(Mode::Flow);
    let last_fault = Instant::now();
    let hostile = tokio::task::block_in_place(|| hostile.finish());
    let ledger = Ledger { hostile, ..load.finish().await };
    let quiet = check::quiet(&site, &ledger).await;
    let quiet_after = quiet - last_fault;
    let found = check::everything(&mut site, &ledger, log).await;
    let survived: u32 = faults.values().sum();
    println!("chaos: {survived} faults survived: {faults:?}");
    println!(
        "chaos: {} jobs, {} of which cancel, undo or unshare, {} events, {} messages sent again, {} poison, {} hostile, {} taken back, {} answers refused",
        ledger.jobs().len(),
        ledger.controlled(),
        found.events,
        ledger.sent_again,
        ledger.poison.len(),
        ledger.hostile.len(),
        ledger.revoked.len(),
        ledger.refused
    );
    println!("chaos: {}", found.kinds.join(", "));
    println!(
        "chaos: quiet {:.1} s after the last fault; lost 0, doubled 0, stuck 0, and no grant differs from the model",
        quiet_after.as_secs_f64()
    );
    println!("chaos: memory of workers at most {} MiB", found.worker_mib);
    // In a run of a few minutes or more there is a fault every four seconds, and everything is quiet within 15
    // seconds. A short run is not held to that: it may have drawn the slow faults, on a machine that has more to do.
    let (a_fault_in_s, limit) = if seconds < 300 { (10, 30) } else { (4, 15) };
    assert!(u64::from(survived) >= seconds / a_fault_in_s, "only {survived} faults in {seconds} s");
    assert!(quiet_after < Duration::from_secs(limit), "quiet only after {quiet_after:?}");
}
