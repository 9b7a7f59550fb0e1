//! Headers whose names stand twice: RabbitMQ 3.10 reads and writes the first, and lapin keeps the last. The publisher has
//! our own RabbitMQ user, as where a UI shares it, so that what its letters say of a job would count.

use batchshare::broker::Queue;
use serde_json::json;

use super::letters::{ask, ctl, death, deaths, start_workers, state, stop_workers, waits};
use super::raw::{Answer, EXPIRATION, MESSAGE_ID, Properties, Table, USER_ID, long};
use super::{publisher, request};
use crate::process::until;
use crate::production::Site;
use crate::support::{eventually, server};

/// Headers that say of a message what RabbitMQ is to say, expired in the jobs, and behind it what it is not to say.
fn doubled(prefix: &str) -> Vec<Table> {
    let jobs = format!("{prefix}.jobs");
    let expired = death(&jobs, "expired");
    let mut all = Vec::new();
    for queue in ["jobs", "steps", "dead"] {
        let full = format!("{prefix}.{queue}");
        let forged = death(&full, "delivery_limit");
        let once = |entry: &Table| Table::default().array(b"x-death", &deaths(std::slice::from_ref(entry)));
        // RabbitMQ adds its own entry to the first of the headers.
        all.push(once(&expired).with(&once(&forged)));
        all.push(Table::default().array(b"x-death", &[]).with(&once(&forged)));
        all.push(once(&expired).with(&once(&forged)).with(&once(&forged)));
        // It finds the entry of its queue and reason by the first of their names, and leaves the others in it.
        all.push(once(&expired.clone().text("reason", "delivery_limit")));
        all.push(once(&expired.clone().text("queue", &full).text("reason", "delivery_limit")));
        let numbers = Table::default().raw(b"queue", b'I', &[0; 4]).raw(b"reason", b'V', b"");
        all.push(once(&expired.clone().with(&numbers).text("queue", &full).text("reason", "delivery_limit")));
        // Names that the later ones might be given instead.
        let fillers = Table::default().text("????!", "a").text("?????!", "b");
        all.push(once(&fillers.with(&expired).text("queue", &full).text("reason", "delivery_limit")));
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_death_header_that_stands_twice_does_not_steer_its_letter() {
    let mut site = Site::start().await;
    let exchange = format!("{}.jobs", site.prefix);
    stop_workers(&mut site);
    let job = ask(&site, 1_001..=1_002, 3..=4);
    site.quiet().await;
    // A queue lets messages die from its head: nothing that lives is to be before them. Due work asks again.
    ctl(&["purge_queue", &exchange]);
    let later = "(extract(epoch FROM now()) * 1000)::bigint + 3600000";
    site.db.sql(&format!("UPDATE jobs SET not_before = {later}, due_at = {later}")).await;
    let before = state(&site, &job);
    assert_eq!(before["state"], "queued");

    let url = server("BATCHSHARE_TEST_AMQP_URL");
    let us = url.split(['/', ':']).find(|part| !part.is_empty() && *part != "amqp").expect("a user");
    let recipients = json!([{"kind": "user", "id": 3}, {"kind": "user", "id": 4}]);
    let same = json!({"requested_by": 1, "secrets": {"ids": [1_001, 1_002]}, "recipients": recipients});
    let (mut sent, mut to_broker) = (0, publisher());
    for headers in doubled(&site.prefix) {
        let headers = headers.array(b"CC", &[(b'S', long(b"job.requested"))]);
        let properties = Properties::persistent()
            .short(EXPIRATION, b"1")
            .short(MESSAGE_ID, job.as_bytes())
            .short(USER_ID, us.as_bytes())
            .headers(&headers);
        // No two alike: those would be one letter.
        let mut body = request(&job, &same);
        body.extend(" ".repeat(usize::try_from(sent).expect("few")).as_bytes());
        assert_eq!(to_broker.publish(&exchange, "elsewhere", &properties, &body), Answer::Taken);
        sent += 1;
    }
    waits(&site, Queue::Dead, sent).await;
    start_workers(&mut site);
    let all = i64::try_from(sent).expect("a number");
    eventually("every letter is kept", 120, async || {
        (site.db.number("SELECT COUNT(*) FROM dead_letters").await == all).then_some(())
    })
    .await;
    let reasons = site.db.texts("SELECT DISTINCT reason AS t FROM dead_letters").await;
    assert_eq!(reasons, ["expired"], "it is what RabbitMQ says");
    assert_eq!(state(&site, &job), before);
    site.db.sql("UPDATE jobs SET not_before = NULL, due_at = 0").await;
    until("the job's end", 120, || (state(&site, &job)["state"] == "completed").then_some(()));
}
