//! Cancels in the production shape, and by the program as one process.

use serde_json::{Value, json};

use crate::process::{http, run, until};
use crate::production::{Site, message};

/// A chunk is one secret's recipients, so that a large job takes its time.
async fn slow_site() -> Site {
    Site::start_with(vec![("BATCHSHARE__WORKER__CHUNK_PAIRS", "20".to_owned())]).await
}

fn cancel(site: &Site, gateway: usize, id: &str) -> (u16, Value) {
    let path = format!("/api/v1/share-jobs/{id}/cancel");
    http("POST", &site.addresses[gateway], &path, "ana", None)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_job_is_cancelled_by_the_other_gateway_and_stops() {
    let site = slow_site().await;
    let share = message("", 1_001..=2_200, 3..=22)["data"].clone();
    let body = json!({"secrets": share["secrets"], "recipients": share["recipients"]});
    let (status, job) = http("POST", &site.addresses[0], "/api/v1/share-jobs", "ana", Some(&body));
    assert_eq!(status, 202, "{job}");
    let id = job["job_id"].as_str().expect("an id").to_owned();
    let shown = |gateway: usize| {
        http("GET", &site.addresses[gateway], &format!("/api/v1/share-jobs/{id}"), "ana", None).1
    };
    until("some of it is done", 60, || Some(shown(0)).filter(|job| job["done_pairs"] != 0));
    let (status, ended) = cancel(&site, 1, &id);
    assert_eq!(
        (status, &ended["state"], &ended["ended_by"]),
        (200, &json!("cancelled"), &json!(1)),
        "{ended}"
    );
    let done = ended["done_pairs"].as_i64().expect("a number");
    assert!((1..24_000).contains(&done), "{done} is in the middle");
    assert_eq!(cancel(&site, 0, &id), (200, ended.clone()), "again, at the other gateway");
    assert_eq!(shown(0), ended);
    assert_eq!(
        http("POST", &site.addresses[0], &format!("/api/v1/share-jobs/{id}/cancel"), "user3", None).0,
        404
    );
    let notices = until("its notice", 30, || {
        let (_, notices) = http("GET", &site.addresses[0], "/api/v1/notices", "ana", None);
        let all = notices["items"].as_array().expect("items").clone();
        (!all.is_empty()).then_some(all)
    });
    assert_eq!(notices.len(), 1);
    assert_eq!((&notices[0]["state"], &notices[0]["done_pairs"]), (&json!("cancelled"), &json!(done)));
    // Another job is begun and ended by the workers behind whatever steps were left of this one.
    let body = json!({"secrets": {"ids": [1001]}, "recipients": [{"kind": "user", "id": 2}]});
    let (_, other) = http("POST", &site.addresses[1], "/api/v1/share-jobs", "ana", Some(&body));
    let other = other["job_id"].as_str().expect("an id").to_owned();
    until("the other's end", 30, || {
        let (_, job) = http("GET", &site.addresses[0], &format!("/api/v1/share-jobs/{other}"), "ana", None);
        (job["state"] == "completed").then_some(())
    });
    site.quiet().await;
    assert_eq!(site.db.number("SELECT COUNT(*) FROM grants WHERE principal_id <> 2").await, done);
    assert_eq!(site.db.number("SELECT COUNT(*) FROM dead_letters").await, 0);
    assert_eq!(shown(1), ended);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_by_message_that_came_too_early_cancels_its_job() {
    let site = slow_site().await;
    let order = |id: &str, job: &str, by: i64| {
        json!({"specversion": "1.0", "id": id, "source": "/mysafe/ui", "type": "batchshare.cancel.requested.v1",
               "data": {"requested_by": by, "job_id": job}})
        .to_string()
    };
    let job = "0199c3a0-7b1e-7c3a-9f00-0123456789ab";
    let never = "0199c3a0-7b1e-7c3a-9f00-0123456789ac";
    site.amqp_publish(order("0199c3a0-9d44-7f21-8a00-000000000001", job, 1).as_bytes());
    site.amqp_publish(order("0199c3a0-9d44-7f21-8a00-000000000002", never, 1).as_bytes());
    site.amqp_publish(order("0199c3a0-9d44-7f21-8a00-000000000003", job, 3).as_bytes());
    let waiting = async |count: i64| {
        crate::support::eventually("orders that wait", 30, async || {
            (site.db.number("SELECT COUNT(*) FROM pending_orders").await == count).then_some(())
        })
        .await;
    };
    waiting(3).await;
    site.amqp_publish(message(job, 1_001..=2_200, 3..=22).to_string().as_bytes());
    let ended = until("its end", 60, || {
        let (_, job) = http("GET", &site.addresses[0], &format!("/api/v1/share-jobs/{job}"), "ana", None);
        job["finished_at"].is_string().then_some(job)
    });
    assert_eq!((&ended["state"], &ended["ended_by"]), (&json!("cancelled"), &json!(1)), "{ended}");
    waiting(2).await;
    // Ten minutes later.
    site.db.sql("UPDATE pending_orders SET created_at = created_at - 600000, due_at = 0").await;
    waiting(0).await;
    assert_eq!(site.dead("unknown_job").await, 2);
    site.quiet().await;
    let given = site.db.number("SELECT COUNT(*) FROM grants").await;
    assert_eq!(ended["done_pairs"].as_i64(), Some(given));
    assert_eq!(site.db.number("SELECT COUNT(*) FROM jobs").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_ends_all_jobs_of_a_program_gone_wild() {
    let mut site = slow_site().await;
    for work in &mut site.work {
        assert_eq!(work.stop(), 0);
    }
    let share = |who: &str| {
        let body = json!({"secrets": {"ids": [1001, 1002]}, "recipients": [{"kind": "user", "id": 3}]});
        let (status, job) = http("POST", &site.addresses[0], "/api/v1/share-jobs", who, Some(&body));
        assert_eq!(status, 202, "{job}");
        job["job_id"].as_str().expect("an id").to_owned()
    };
    let (mine, others): (Vec<String>, String) = ((0..5).map(|_| share("ana")).collect(), share("user4"));
    let cli = |args: &[&str]| run(&[&["jobs", "cancel"], args].concat(), &site.env);

    let (code, out, err) = cli(&[&mine[0]]);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("was cancelled") && out.contains("2 not touched"), "{out}");
    let (code, out, err) = cli(&[&mine[0], "--json"]);
    assert_eq!(code, 0, "{err}");
    let job: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((&job["state"], &job["ended_by"]), (&json!("cancelled"), &json!("operator")));

    let (code, out, err) = cli(&["--all-of", "ana"]);
    assert_eq!((code, out.as_str()), (2, ""), "{err}");
    assert!(err.contains("--yes"), "{err}");
    let (code, out, err) = cli(&["--all-of", "ana", "--yes"]);
    assert_eq!((code, out.lines().count()), (0, 4), "{err}");
    assert!(
        mine[1..].iter().all(|id| out.contains(&format!("job {id}: cancelled, 0 of 2 pairs done"))),
        "{out}"
    );
    assert!(err.contains("4 jobs cancelled, with 0 pairs done"), "{err}");
    assert_eq!(cli(&["--all-of", "ana", "--yes"]).0, 5, "none is left");
    assert_eq!(cli(&["--all-of", "nobody", "--yes"]).0, 5);
    assert_eq!(cli(&["0199c3a0-7b1e-7c3a-9f00-0123456789ab"]).0, 5);
    assert_eq!(cli(&[]).0, 2);
    assert_eq!(cli(&[&mine[0], "--all-of", "ana"]).0, 2);

    site.work.push(crate::process::Program::start(&["work"], &site.env));
    until("the other person's job", 30, || {
        let (_, job) =
            http("GET", &site.addresses[0], &format!("/api/v1/share-jobs/{others}"), "user4", None);
        (!job["finished_at"].is_null()).then_some(())
    });
    let (code, _, err) = cli(&[&others]);
    assert_eq!(code, 1);
    assert!(err.contains("has ended as failed"), "{err}");
    let left = site.db.number("SELECT COUNT(*) FROM jobs WHERE state = 'cancelled' AND ended_by = 0").await;
    assert_eq!(left, 5);
    assert_eq!(site.db.number("SELECT COUNT(*) FROM grants").await, 0);
}
