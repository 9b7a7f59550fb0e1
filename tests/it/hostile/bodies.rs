//! Bodies that a publisher may send: all the forms of a good request, and bodies that look like one and are not. The
//! program shares what a body clearly asks for, and nothing else.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::raw::{Answer, CONTENT_TYPE, Properties, Table};
use super::{a_good_job_is_done, publisher};
use crate::production::Site;
use crate::support::eventually;

/// A message. The text `JOB` in its body stands for the job's id.
struct Message {
    what: &'static str,
    /// For a message in binary mode: what its headers begin with, its content type, and the attribute that is left
    /// out.
    binary: Option<(&'static str, &'static str, &'static str)>,
    body: String,
}

fn message(what: &'static str, body: impl Into<String>) -> Message {
    Message { what, binary: None, body: body.into() }
}

impl Message {
    fn properties(&self, job: &str) -> Properties {
        let Some((prefix, kind, without)) = self.binary else { return Properties::persistent() };
        let mut headers = Table::default();
        for (name, value) in [("specversion", "1.0"), ("id", job), ("source", "/test"), ("type", TYPE)] {
            if name != without {
                headers = headers.text(&format!("{prefix}{name}"), value);
            }
        }
        Properties::persistent().headers(&headers).short(CONTENT_TYPE, kind.as_bytes())
    }
}

const TYPE: &str = "batchshare.job.requested.v1";

/// A structured event with this data and, before it, the members of `more`.
fn event(more: &str, data: &str) -> String {
    format!(r#"{{"specversion":"1.0",{more}"id":"JOB","source":"/test","type":"{TYPE}","data":{data}}}"#)
}

fn data(secrets: &str, recipient: &str) -> String {
    format!(r#"{{"requested_by":1,"secrets":{secrets},"recipients":[{{"kind":"user",{recipient}}}]}}"#)
}

fn one(secret: i64) -> String {
    data(&format!(r#"{{"ids":[{secret}]}}"#), "\"id\":3")
}

fn binary(
    what: &'static str,
    prefix: &'static str,
    kind: &'static str,
    without: &'static str,
    body: impl Into<String>,
) -> Message {
    Message { what, binary: Some((prefix, kind, without)), body: body.into() }
}

/// Good requests. Each shares one secret of its own, from 1,101 on, with user 3.
fn good() -> Vec<Message> {
    let text = |index: i64| event("", &one(1_101 + index));
    let encoded = STANDARD.encode(one(1_104));
    vec![
        message("a byte order mark", format!("\u{feff}{}", text(0))),
        message(
            "whole numbers as floats",
            event("", &data(r#"{"ids":[1102.0]}"#, "\"id\":0.3e1")).replace(":1,", ":1.0,"),
        ),
        message("extensions", event(r#""partitionkey":"a","x":[{"y":[null]}],"x":1,"#, &one(1_103))),
        message("base64", event("", "0").replace("\"data\":0", &format!("\"data_base64\":\"{encoded}\""))),
        binary("binary mode", "cloudEvents:", "application/json", "", one(1_105)),
        binary("binary mode with lines", "cloudEvents_", "application/json; charset=utf-8", "", one(1_106)),
        binary("binary mode as HTTP has it", "ce-", "application/json", "", one(1_107)),
        binary("headers beside a structured body", "ce-", "application/json", "", text(7)),
        binary("headers beside a structured type", "ce-", "application/cloudevents+json", "", text(8)),
    ]
}

/// Bad requests, each with the reason of the dead letter that it becomes.
fn bad() -> Vec<(&'static str, Message)> {
    let all = |filter: &str| data(&format!(r#"{{"all":{filter}}}"#), "\"id\":4");
    let many = |item: &str, bytes: usize| item.repeat(bytes / item.len());
    let all_of = |what, filter| ("invalid_field", message(what, event("", &all(filter))));
    vec![
        all_of("a tag by another name", r#"{"tags":"prod"}"#),
        all_of("a search by another name", r#"{"serach":"x"}"#),
        all_of("a search that comes twice", r#"{"search":"nothing","search":""}"#),
        all_of("a search that comes twice, once as null", r#"{"search":"nothing","search":null}"#),
        all_of("a filter as a list", r#"[]"#),
        (
            "invalid_field",
            message(
                "an unknown member beside all",
                event("", &data(r#"{"all":{},"tag":"prod"}"#, "\"id\":4")),
            ),
        ),
        (
            "invalid_field",
            message(
                "a permission by another name",
                event("", &data(r#"{"ids":[1001]}"#, r#""id":4,"permision":"edit""#)),
            ),
        ),
        (
            "invalid_field",
            message("ids that come twice", event("", &data(r#"{"ids":[1001],"ids":[1002]}"#, "\"id\":4"))),
        ),
        ("invalid_field", message("half an id", event("", &data(r#"{"ids":[1001.5]}"#, "\"id\":4")))),
        (
            "invalid_field",
            message("an object as a list", event("", r#"[1,{"ids":[1001]},[{"kind":"user","id":4}]]"#)),
        ),
        (
            "not_cloudevent",
            message("data that comes twice", event(&format!("\"data\":{},", one(1_001)), &one(1_002))),
        ),
        ("not_cloudevent", message("data and base64", event("\"data_base64\":\"e30=\",", &one(1_001)))),
        (
            "not_cloudevent",
            message("no base64", event("", "0").replace("\"data\":0", "\"data_base64\":\"???\"")),
        ),
        (
            "not_cloudevent",
            binary("binary mode without a source", "ce-", "application/json", "source", one(1_001)),
        ),
        ("invalid_field", binary("binary mode with words", "ce-", "text/plain", "", "hello")),
        (
            "not_json",
            message("a depth without end", event(&format!("\"x\":{},", "[".repeat(1_000_000)), &one(1_001))),
        ),
        (
            "not_json",
            message(
                "a depth that ends",
                event(&format!("\"x\":{}{},", "[".repeat(900_000), "]".repeat(900_000)), &one(1_001)),
            ),
        ),
        (
            "invalid_field",
            message(
                "a large unknown member",
                event("", &format!(r#"{{"x":[{}0]}}"#, many("[],", 2_000_000))),
            ),
        ),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn odd_bodies_share_what_they_ask_for_or_nothing() {
    let site = Site::start().await;
    let exchange = format!("{}.jobs", site.prefix);
    let mut publisher = publisher();
    let mut publish = |message: Message| {
        let job = uuid::Uuid::now_v7().to_string();
        let body = message.body.replace("JOB", &job);
        let sent = publisher.publish(&exchange, "job.requested", &message.properties(&job), body.as_bytes());
        assert_eq!(sent, Answer::Taken, "{}", message.what);
        (message.what, job)
    };
    let bad: Vec<(&str, (&str, String))> =
        bad().into_iter().map(|(reason, of)| (reason, publish(of))).collect();
    let good: Vec<(&str, String)> = good().into_iter().map(&mut publish).collect();
    let state = async |job: &str| {
        let sql = format!(
            "SELECT CAST(count(*) AS bigint) FROM jobs WHERE job_id = '{job}' AND state = 'completed'"
        );
        site.db.number(&sql).await
    };
    for (what, job) in &good {
        eventually(what, 60, async || (state(job).await == 1).then_some(())).await;
    }
    let letters = "SELECT count(*) FROM dead_letters";
    let expected = i64::try_from(bad.len()).expect("few");
    eventually("a letter for each", 60, async || (site.db.number(letters).await == expected).then_some(()))
        .await;
    for reason in ["invalid_field", "not_cloudevent", "not_json"] {
        let expected = bad.iter().filter(|(of, _)| *of == reason).count();
        assert_eq!(site.dead(reason).await, i64::try_from(expected).expect("few"), "{reason}");
    }
    for (_, (what, job)) in &bad {
        assert_eq!(state(job).await, 0, "{what}");
    }
    // Only the good requests were granted. Nothing was shared that `all` without its filter, or a second member,
    // would have asked for.
    let grants = site.db.number("SELECT count(*) FROM grants").await;
    assert_eq!(grants, i64::try_from(good.len()).expect("few"));
    let meant = "SELECT count(*) FROM grants WHERE principal_id = 3 AND secret_id BETWEEN 1101 AND 1109";
    assert_eq!(site.db.number(meant).await, grants);
    a_good_job_is_done(&site, 1_002);
    for program in site.work.iter().chain(&site.serve) {
        assert!(!program.log().contains("panicked"), "{}", program.log());
    }
}

/// Whatever a message of the largest size is made of, it costs a worker only a few times its size in memory.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_largest_bodies_cost_a_worker_little() {
    let site = Site::start().await;
    let exchange = format!("{}.jobs", site.prefix);
    a_good_job_is_done(&site, 1_001);
    let before: Vec<u64> = site.work.iter().map(|work| work.memory_kib("VmRSS:")).collect();
    let mut publisher = publisher();
    let room = 2 * 1024 * 1024 - 1_000;
    let shapes: Vec<String> =
        ["\"a\":1,", "\"b\":[[],[],{}],", "\"c\":{\"d\":{\"e\":null}},", "\"f\":\"\\n\\n\\n\\n\","]
            .into_iter()
            .map(|item| event(&item.repeat(room / item.len()), &one(1_001)))
            .collect();
    for _ in 0..5 {
        for shape in &shapes {
            let body = shape.replace("JOB", &uuid::Uuid::now_v7().to_string());
            let sent =
                publisher.publish(&exchange, "job.requested", &Properties::persistent(), body.as_bytes());
            assert_eq!(sent, Answer::Taken);
        }
    }
    eventually("their end", 60, async || {
        let ended = "SELECT count(*) FROM jobs WHERE state = 'completed'";
        (site.db.number(ended).await == 21).then_some(())
    })
    .await;
    for (work, before) in site.work.iter().zip(before) {
        let grown = work.memory_kib("VmHWM:").saturating_sub(before);
        // One worker may have all 20 messages at once, and lapin and the worker's queue hold each of them, too: that
        // makes 100 MiB. When bodies were read into trees of values, a single message took 170 MiB.
        assert!(grown < 100 * 1024, "{grown} KiB more at the peak");
    }
    a_good_job_is_done(&site, 1_002);
}
