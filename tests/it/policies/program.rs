//! What the program tells of policies: in its log, its readiness, its metrics, and at `topology --declare`.

use serde_json::json;

use super::Operator;
use crate::process::{Program, http, run, until};
use crate::production::Site;
use crate::support::{server, unique};

const FOUND: &str = "takes messages out of this queue that were confirmed";

fn management() -> (&'static str, String) {
    ("BATCHSHARE__BROKER__MANAGEMENT_URL", server("BATCHSHARE_TEST_MANAGEMENT_URL"))
}

/// How many lines of its log have all these words.
fn lines(program: &Program, words: &[&str]) -> usize {
    program.log().lines().filter(|line| words.iter().all(|word| line.contains(word))).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn serve_and_work_tell_each_policy_once_and_are_degraded_while_it_is_there() {
    let operator = Operator::of("/");
    let mut site = Site::start_with(vec![management()]).await;
    let health = site.work[0].logged("the worker's health is told", "listen=Some(");
    let places = [health.trim_end_matches(')').to_owned(), site.addresses[0].clone()];
    for place in &places {
        let (status, health) = http("GET", place, "/readyz", "ana", None);
        assert_eq!((status, &health["policies"]), (200, &json!(null)), "{health}");
    }
    // Set while they run, and found within a minute.
    let (jobs, name) = (format!("{}.jobs", site.prefix), format!("{} \u{1b}[31m", site.prefix));
    operator.set("policies", &name, &jobs, json!({"message-ttl": 86_400_000}));
    for (place, program) in places.iter().zip([&site.work[0], &site.serve[0]]) {
        until("it is told", 120, || (lines(program, &[FOUND]) > 0).then_some(()));
        let words = ["WARN", FOUND, &site.prefix, "message-ttl = 86400000", "kind=\"policy\"", &jobs];
        assert_eq!(lines(program, &words), 1, "{}", program.log());
        assert!(!program.log().contains('\u{1b}'), "a name is escaped");
        let (status, health) = http("GET", place, "/readyz", "ana", None);
        assert_eq!((status, &health["status"]), (200, &json!("degraded")), "{health}");
        assert_eq!(health["policies"]["queues"], json!([jobs]), "{health}");
        let metrics = crate::hostile::frames::metrics(place);
        for (queue, is_so) in [("jobs", 1), ("steps", 0), ("notices", 0), ("dead", 0)] {
            let gauge = format!(
                "batchshare_queue_policy_takes_messages{{messaging_destination_name=\"{}.{queue}\"}} {is_so}",
                site.prefix
            );
            assert!(metrics.contains(&gauge), "{metrics}");
        }
    }
    // A process that starts tells it at once.
    site.work[1].kill();
    site.work[1] = Program::start(&["work"], &site.env);
    site.work[1].logged(FOUND, "queue=");
    operator.clear("policies", &name);
    until("it is gone", 120, || {
        let (_, health) = http("GET", &places[0], "/readyz", "ana", None);
        (health["status"] == "ok").then_some(())
    });
    for program in [&site.work[0], &site.serve[0]] {
        until("so it is told", 120, || (lines(program, &["any more", &jobs]) == 1).then_some(()));
        assert_eq!(lines(program, &[FOUND]), 1, "{}", program.log());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_management_api_that_is_away_keeps_nothing_from_starting() {
    let port =
        std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port();
    let away = format!("http://me:hunter2@127.0.0.1:{port}");
    let mut site = Site::start_with(vec![("BATCHSHARE__BROKER__MANAGEMENT_URL", away)]).await;
    let body = json!({"secrets": {"ids": [1_001]}, "recipients": [{"kind": "user", "id": 3}]});
    let (status, _) = http("POST", &site.addresses[0], "/api/v1/share-jobs", "ana", Some(&body));
    assert_eq!(status, 202);
    let words = ["WARN", "cannot look for policies of RabbitMQ", "broker.management_url"];
    for program in site.work.iter_mut().chain(&mut site.serve) {
        program.logged(words[1], "reason=");
        assert_eq!(lines(program, &words), 1, "{}", program.log());
        assert!(!program.log().contains("hunter2"));
        assert_eq!(program.stop(), 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_declaration_of_the_topology_tells_policies() {
    let prefix = unique("declares");
    let mut env = vec![
        ("BATCHSHARE__BROKER__URL", server("BATCHSHARE_TEST_AMQP_URL")),
        ("BATCHSHARE__BROKER__PREFIX", prefix.clone()),
        management(),
    ];
    let operator = Operator::of("/");
    operator.set("operator-policies", &prefix, &format!("{prefix}.steps"), json!({"expires": 5_000_000}));
    // The queues are new: RabbitMQ takes some seconds to tell.
    let (code, out, err) = run(&["topology", "--declare"], &env);
    operator.clear("operator-policies", &prefix);
    assert_eq!((code, out.as_str()), (0, ""), "{err}");
    let line = format!("warning: the operator policy \"{prefix}\" takes messages out of {prefix}.steps");
    assert!(
        err.lines().any(|found| found.starts_with(&line) && found.contains("expires = 5000000")),
        "{err}"
    );
    assert_eq!(err.lines().count(), 2, "{err}");

    env.pop();
    env.push(("BATCHSHARE__BROKER__MANAGEMENT_URL", "http://me:hunter2@127.0.0.1:1".to_owned()));
    let (code, _, err) = run(&["topology", "--declare"], &env);
    assert_eq!(code, 0);
    assert!(err.contains("cannot look for policies (broker.management_url)"), "{err}");
    assert!(!err.contains("hunter2"), "{err}");
    // A name that cannot be one of a policy's is no news.
    let (code, _, err) = run(&["topology"], &env);
    assert_eq!((code, err.as_str()), (0, ""));
}
