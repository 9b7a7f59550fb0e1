//! Messages whose properties and headers no client library would write: RabbitMQ passes them on as they are, and
//! lapin ends the connection of whoever reads them. Each message is good in its body, so each is a job that gets done.

use std::time::{Duration, Instant};

use super::raw::{Answer, CONTENT_TYPE, FREE_TEXTS, MESSAGE_ID, Properties, TYPE, Table, long};
use super::{a_good_job_is_done, good_request, publisher};
use crate::process::{Program, http, until};
use crate::production::Site;

/// What is no UTF-8, or is, and still nothing that a person would write.
const TEXTS: [&[u8]; 7] =
    [b"\xff", b"a\xc3", b"\xed\xa0\x80", b"\xf8\x88\x80\x80\x80", b"", b"\0", b"\xfe\xff\0j"];

/// A value of each type that RabbitMQ knows, as its letter and bytes.
fn of_every_type() -> Vec<(u8, Vec<u8>)> {
    let mut all = vec![
        (b't', vec![7]),
        (b'b', vec![0xFF]),
        (b'B', vec![0xFF]),
        (b's', vec![0xFF; 2]),
        (b'u', vec![0xFF; 2]),
        (b'I', vec![0x80, 0, 0, 0]),
        (b'i', vec![0xFF; 4]),
        (b'l', vec![0xFF; 8]),
        (b'L', vec![0x80, 0, 0, 0, 0, 0, 0, 0]),
        (b'f', vec![0x7F, 0xC0, 0, 0]),
        (b'd', vec![0xFF, 0xF0, 0, 0, 0, 0, 0, 0]),
        (b'D', vec![255, 0xFF, 0xFF, 0xFF, 0xFF]),
        (b'T', vec![0xFF; 8]),
        (b'V', vec![]),
    ];
    for bytes in [&b""[..], b"\xff\0\xfe", b"text"] {
        all.push((b'S', long(bytes)));
        all.push((b'x', long(bytes)));
    }
    all.push((b'A', long(b"")));
    all.push((b'F', long(b"")));
    all
}

/// A table in a table, so many deep, each with this name.
fn deep_tables(name: &[u8], depth: usize) -> Table {
    (0..depth).fold(Table::default().text("end", "x"), |inner, _| Table::default().table(name, &inner))
}

fn deep_arrays(depth: usize) -> Table {
    let mut value = (b'V', Vec::new());
    for _ in 0..depth {
        let mut bytes = vec![value.0];
        bytes.extend(value.1);
        value = (b'A', long(&bytes));
    }
    Table::default().raw(b"deep", value.0, &value.1)
}

/// Ten lines a minute at most are told of it, in each minute since then or part of one.
fn assert_quiet(programs: &[Program], since: Instant) {
    let minutes = usize::try_from(since.elapsed().as_secs() / 60 + 1).expect("few");
    for program in programs {
        let log = program.log();
        let about = |line: &&str| line.contains("WARN") || line.contains("ERROR");
        let lines: Vec<&str> = log.lines().filter(about).collect();
        assert!(lines.len() <= 10 * minutes, "{} lines:\n{}", lines.len(), lines.join("\n"));
        assert!(!log.contains("panicked"), "{log}");
    }
}

/// Sends each message and holds the promise: what RabbitMQ took is done or kept, good jobs go on, the workers' memory
/// and logs stay small, and they stop at once.
async fn all_are_done(messages: Vec<(String, Properties)>) {
    let began = Instant::now();
    let mut site = Site::start().await;
    a_good_job_is_done(&site, 1_001);
    let before: Vec<u64> = site.work.iter().map(|work| work.memory_kib("VmRSS")).collect();
    let exchange = format!("{}.jobs", site.prefix);
    let mut jobs = Vec::new();
    let mut to_broker = publisher();
    for (what, properties) in &messages {
        let job = uuid::Uuid::now_v7().to_string();
        let secret = 1_002 + i64::try_from(jobs.len()).expect("few");
        match to_broker.publish(&exchange, "job.requested", properties, &good_request(&job, secret)) {
            Answer::Taken => jobs.push((what, job)),
            // What RabbitMQ itself refuses meets nobody.
            Answer::NotTaken | Answer::Closed(..) => to_broker = publisher(),
        }
    }
    assert!(jobs.len() * 2 > messages.len(), "RabbitMQ took {} of {}", jobs.len(), messages.len());
    for (what, job) in &jobs {
        let path = format!("/api/v1/share-jobs/{job}");
        until(&format!("the job with {what}"), 60, || {
            (http("GET", &site.addresses[0], &path, "ana", None).1["state"] == "completed").then_some(())
        });
    }
    a_good_job_is_done(&site, 2_200);
    for (work, before) in site.work.iter().zip(before) {
        let now = work.memory_kib("VmRSS");
        assert!(now < before + 100 * 1024, "{before} KiB became {now}");
    }
    assert_quiet(&site.work, began);
    assert_quiet(&site.serve, began);
    for work in &mut site.work {
        let asked = Instant::now();
        assert_eq!(work.stop(), 0);
        assert!(asked.elapsed() < Duration::from_secs(3), "{:?}", asked.elapsed());
    }
    assert_eq!(site.db.number("SELECT COUNT(*) FROM dead_letters").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn texts_of_properties_that_are_no_texts_stop_nobody() {
    let mut messages = Vec::new();
    for property in FREE_TEXTS {
        for text in TEXTS {
            let properties = Properties::persistent().short(property, text);
            messages.push((format!("{property:?} {text:?}"), properties));
        }
        let long = [0xFF; 255];
        messages.push((format!("{property:?} of 255"), Properties::persistent().short(property, &long)));
    }
    let all =
        FREE_TEXTS.iter().fold(Properties::persistent(), |all, property| all.short(*property, b"\xff\xfe"));
    messages.push(("all".to_owned(), all.timestamp(u64::MAX).priority(255)));
    all_are_done(messages).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_of_headers_that_are_no_texts_stop_nobody() {
    let mut messages = Vec::new();
    for text in TEXTS {
        for (kind, value) in of_every_type() {
            let inner = Table::default().raw(text, kind, &value);
            for (what, table) in [
                ("a header", inner.clone()),
                ("in a table", Table::default().table(text, &inner)),
                ("in a table of an array", Table::default().array(b"a", &[(b'F', inner.encoded())])),
                ("deep", (0..5).fold(inner.clone(), |inner, _| Table::default().table(b"t", &inner))),
            ] {
                let what = format!("{what} {text:?} of type {}", char::from(kind));
                messages.push((what, Properties::persistent().headers(&table)));
            }
        }
    }
    // Three of four are enough for a run, and each is met in turn.
    let messages = messages.into_iter().enumerate().filter(|(at, _)| at % 4 != 1).map(|(_, of)| of).collect();
    all_are_done(messages).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_that_are_deep_many_or_large_stop_nobody() {
    let mut messages = Vec::new();
    let mut add = |what: &str, table: &Table| {
        messages.push((what.to_owned(), Properties::persistent().short(MESSAGE_ID, b"\xff").headers(table)));
    };
    for depth in [7, 8, 9, 50, 1_000, 10_000] {
        add(&format!("{depth} tables deep"), &deep_tables(b"t", depth));
        add(&format!("{depth} nameless tables deep"), &deep_tables(b"", depth));
        add(&format!("{depth} arrays deep"), &deep_arrays(depth));
    }
    for kind in [b'V', b't'] {
        let one = if kind == b'V' { vec![] } else { vec![1] };
        let most = 120_000 / (1 + one.len());
        add("a long array", &Table::default().array(b"long", &vec![(kind, one.clone()); most]));
        let names = (0..20_000_u16)
            .fold(Table::default(), |all, name| all.raw(&[b'n', (name >> 8) as u8, name as u8], kind, &one));
        add("many headers", &names);
        add("many within", &Table::default().table(b"in", &names));
    }
    for size in [4_000, 32_000, 100_000, 130_900] {
        add(&format!("{size} bytes"), &Table::default().raw(b"\xfe", b'S', &long(&vec![0xFF; size])));
    }
    // Each of them a few times: what a worker holds at once is not to be much.
    let messages = (0..4).flat_map(|_| messages.clone()).collect();
    all_are_done(messages).await;
}

/// A routing key is a publisher's, too: with `CC` it need not lead anywhere.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_routing_key_that_is_no_text_stops_nobody() {
    let began = Instant::now();
    let site = Site::start().await;
    let exchange = format!("{}.jobs", site.prefix);
    let copy = Table::default().array(b"CC", &[(b'S', long(b"job.requested"))]);
    let blind = Table::default().array(b"BCC", &[(b'S', long(b"job.requested"))]);
    let mut to_broker = publisher();
    for (secret, (key, table)) in
        (1_001..).zip([(&b"\xff\xfe"[..], &copy), (b"\xff", &blind), (b"\xc3", &copy)])
    {
        let job = uuid::Uuid::now_v7().to_string();
        let properties = Properties::persistent().headers(table);
        let sent = to_broker.publish(&exchange, key, &properties, &good_request(&job, secret));
        assert_eq!(sent, Answer::Taken);
        let path = format!("/api/v1/share-jobs/{job}");
        until("the job's end", 60, || {
            (http("GET", &site.addresses[0], &path, "ana", None).1["state"] == "completed").then_some(())
        });
    }
    a_good_job_is_done(&site, 1_010);
    assert_quiet(&site.work, began);
}

/// Headers that fill their frame, and to which RabbitMQ adds what it knows of a death: more than was agreed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_letter_whose_headers_fill_their_frame_stops_nobody() {
    let began = Instant::now();
    let mut site = Site::start().await;
    // Nobody takes them, so that they expire.
    let gone: Vec<i32> = site.work.iter_mut().map(Program::stop).collect();
    assert_eq!(gone, [0, 0]);
    let exchange = format!("{}.jobs", site.prefix);
    let mut to_broker = publisher();
    let mut sent_to_die = 0;
    for (name, kind) in [(&b"large"[..], b'S'), (b"z", b'x'), (b"x-first-death-reason", b'S')] {
        let table = Table::default().raw(name, kind, &long(&vec![b'x'; 131_000]));
        let properties = Properties::persistent().expiration(1).headers(&table);
        // A body of its own: the broker's letters are told apart by that and the second of their death.
        let body = format!("{{\"letter\":{sent_to_die}}}");
        let sent = to_broker.publish(&exchange, "job.requested", &properties, body.as_bytes());
        assert_eq!(sent, Answer::Taken);
        sent_to_die += 1;
    }
    // Dead before a worker can take them.
    let asking =
        batchshare::broker::Broker::new(batchshare::broker::Rabbit::new(batchshare::broker::RabbitOptions {
            topology: batchshare::broker::Topology { prefix: site.prefix.clone() },
            ..crate::broker::options()
        }));
    crate::support::eventually("their death", 60, async || {
        let depth = asking.depth(batchshare::broker::Queue::Dead).await.expect("a depth");
        (depth == sent_to_die).then_some(())
    })
    .await;
    site.work = vec![Program::start(&["work"], &site.env)];
    a_good_job_is_done(&site, 1_001);
    crate::support::eventually("the letters", 60, async || {
        (site.db.number("SELECT COUNT(*) FROM dead_letters").await == sent_to_die as i64).then_some(())
    })
    .await;
    assert_quiet(&site.work, began);
}

/// What was mended is counted, and told in a few lines however much of it there is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_it_is_counted_and_told_in_few_lines() {
    let mut site = Site::start().await;
    let exchange = format!("{}.jobs", site.prefix);
    let mut to_broker = publisher();
    let properties = Properties::persistent().short(TYPE, b"\xff").short(CONTENT_TYPE, b"\xfe");
    for _ in 0..1_000 {
        let sent = to_broker.publish(&exchange, "job.requested", &properties, b"poison");
        assert_eq!(sent, Answer::Taken);
    }
    a_good_job_is_done(&site, 1_001);
    crate::support::eventually("the letters", 60, async || {
        (site.db.number("SELECT COUNT(*) FROM dead_letters").await == 1_000).then_some(())
    })
    .await;
    let mut mended = 0;
    for work in &mut site.work {
        let address = work.logged("the worker's health is told", "listen=Some(");
        let address = address.trim_end_matches(')').to_owned();
        let text = metrics(&address);
        let line = text.lines().find(|line| line.starts_with("batchshare_messages_mended_total "));
        mended += line.and_then(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).expect("the counter");
        let told = work.log().lines().filter(|line| line.contains("they were mended")).count();
        assert!(told <= 10, "{told} lines");
    }
    assert!(mended >= 1_000, "{mended} were counted");
    assert_eq!(site.db.number("SELECT COUNT(*) FROM jobs").await, 1);
}

pub fn metrics(address: &str) -> String {
    use std::io::{Read as _, Write as _};
    let mut stream = std::net::TcpStream::connect(address).expect("the worker's health");
    stream.write_all(b"GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n").expect("asked");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer");
    text
}
