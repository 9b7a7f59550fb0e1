//! RabbitMQ 3.10 can be made to move no more dead letters, of any queue: its process for one queue ends over a message, and
//! over the next start of itself, until what starts those processes gives up. It says so in its own log only.

use super::raw::{Answer, MESSAGE_ID, Properties, RawPublisher, Table, long};
use super::{a_good_job_is_done, publisher};
use crate::chaos::servers::Servers;
use crate::process::{Env, Program, http, until};
use crate::production::Site;
use crate::support::eventually;

fn often() -> Env {
    vec![("BATCHSHARE__BROKER__CHECK_INTERVAL_MS", "1000".to_owned())]
}

fn health(work: &mut Program) -> String {
    let address = work.logged("the worker's health is told", "listen=Some(");
    address.trim_end_matches(')').to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters_that_do_not_come_are_told_within_a_minute_and_stop_nobody() {
    // A RabbitMQ of its own: the message ends this for all queues of the server, whosever they are.
    let servers = tokio::task::block_in_place(Servers::start);
    let url = servers.amqp_url(servers.mq_port);
    let mut env = often();
    env.push(("BATCHSHARE__BROKER__URL", url.clone()));
    let mut site = Site::start_with(env).await;
    for work in &mut site.work {
        assert_eq!(work.stop(), 0);
    }
    // With nobody to take it, it expires, and its header is no list of what RabbitMQ puts there.
    let odd = Table::default().array(b"x-death", &[(b'S', long(b"odd"))]);
    let properties = Properties::persistent().expiration(1).headers(&odd);
    let exchange = format!("{}.jobs", site.prefix);
    assert_eq!(
        RawPublisher::connect(&url).publish(&exchange, "job.requested", &properties, b"{}"),
        Answer::Taken
    );
    site.work = vec![Program::start(&["work"], &site.env)];
    let address = health(&mut site.work[0]);
    a_good_job_is_done(&site, 1_001);
    if std::env::var_os("BATCHSHARE_TEST_NEWER").is_some() {
        // RabbitMQ 4 keeps death headers from clients: it is a dead letter like any other.
        eventually("the letter", 60, async || {
            (site.db.number("SELECT COUNT(*) FROM dead_letters").await == 1).then_some(())
        })
        .await;
        return;
    }
    // Another queue may be found first: RabbitMQ's dead-lettering stops for all of them.
    let queue = format!("{}.jobs", site.prefix);
    until("it is told", 60, || {
        let (status, health) = http("GET", &address, "/readyz", "ana", None);
        let told = health["dead_letters"]["queues"].to_string().contains(&queue);
        (status == 200 && health["status"] == "degraded" && told).then_some(())
    });
    let log = site.work[0].log();
    assert!(
        (1..=2).contains(&log.lines().filter(|line| line.contains("moves no dead letters")).count()),
        "{log}"
    );
    let gauge =
        format!("batchshare_dead_lettering_stuck{{messaging_destination_name=\"{}.jobs\"}} 1", site.prefix);
    let metrics = super::frames::metrics(&address);
    assert!(metrics.contains(&gauge), "{metrics}");
    // Work goes on all the same.
    a_good_job_is_done(&site, 1_002);
    // What docs/operations.md says to do: the queue goes with the message, RabbitMQ starts again, and the worker
    // declares the queue.
    servers.rabbitmqctl(&["delete_queue", &format!("{}.jobs", site.prefix)]);
    servers.rabbitmqctl(&["stop_app"]);
    servers.rabbitmqctl(&["start_app"]);
    until("it is well again", 90, || {
        let (status, health) = http("GET", &address, "/readyz", "ana", None);
        (status == 200 && health["status"] == "ok").then_some(())
    });
    a_good_job_is_done(&site, 1_003);
    assert_eq!(site.work[0].stop(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_leaves_nothing_behind_and_a_forged_one_does_nothing() {
    let mut env = often();
    env[0].1 = "300".to_owned();
    let site = Site::start_with(env).await;
    let came = "SELECT COUNT(*) FROM broker_checks WHERE seen_at IS NOT NULL";
    eventually("both came", 60, async || (site.db.number(came).await == 2).then_some(())).await;
    let exchange = format!("{}.jobs", site.prefix);
    let mut to_broker = publisher();
    for number in 0..50 {
        let id = format!("check/jobs/{number}");
        let properties = Properties::persistent().short(MESSAGE_ID, id.as_bytes());
        let properties = if number % 2 == 0 { properties } else { properties.expiration(number) };
        let sent = to_broker.publish(&exchange, "job.requested", &properties, b"batchshare check");
        assert_eq!(sent, Answer::Taken);
    }
    // Without its id it is poison like any other, and with another body, too.
    let properties = Properties::persistent().short(MESSAGE_ID, b"check/jobs/x");
    for (properties, body) in
        [(&Properties::persistent(), &b"batchshare check"[..]), (&properties, b"batchshare check!")]
    {
        assert_eq!(to_broker.publish(&exchange, "job.requested", properties, body), Answer::Taken);
    }
    let letters = "SELECT COUNT(*) FROM dead_letters WHERE reason = 'not_json'";
    eventually("two letters", 60, async || (site.db.number(letters).await == 2).then_some(())).await;
    a_good_job_is_done(&site, 1_001);
    eventually("both came again", 60, async || (site.db.number(came).await == 2).then_some(())).await;
    assert_eq!(site.db.number("SELECT COUNT(*) FROM dead_letters").await, 2);
    assert_eq!(site.db.number("SELECT COUNT(*) FROM jobs").await, 1);
    for work in &site.work {
        assert!(!work.log().contains("moves no dead letters"), "{}", work.log());
    }
}
