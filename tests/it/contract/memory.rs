//! A message of the largest size costs at most three times its size while it is read.
//!
//! Measured in a process of its own, which is this test program again: its peak is nobody else's.

use std::process::Command;

use super::*;

const LARGEST: usize = 2 * 1024 * 1024;
/// What a page here and a buffer there are.
const SLACK: usize = 512 * 1024;
const CHILD: &str = "BATCHSHARE_TEST_MESSAGE";

/// Messages of just under the largest size, each of a shape that a tree of values makes much of.
fn shapes() -> Vec<(&'static str, Vec<u8>)> {
    let event = |envelope: &str, data: &str| {
        format!(
            r#"{{"specversion":"1.0","id":"{JOB}","source":"s",{envelope}"type":"{}","data":{data}}}"#,
            contract::REQUEST_TYPE
        )
    };
    let to = r#"[{"kind":"user","id":7}]"#;
    let good = format!(r#"{{"requested_by":42,"secrets":{{"ids":[101]}},"recipients":{to}}}"#);
    let fill = |item: &dyn Fn(usize) -> String, room: usize| {
        let mut text = String::with_capacity(room);
        for index in 0.. {
            let next = item(index);
            if text.len() + next.len() > room {
                break;
            }
            text.push_str(&next);
        }
        text.trim_end_matches(',').to_owned()
    };
    let room = LARGEST - 1_000;
    let ids = |item: &dyn Fn(usize) -> String| {
        let ids = fill(item, room);
        event("", &format!(r#"{{"requested_by":42,"secrets":{{"ids":[{ids}]}},"recipients":{to}}}"#))
    };
    let people = fill(&|index| format!(r#"{{"kind":"user","id":{}}},"#, index + 1), room);
    let same = fill(&|_| r#"{"kind":"user","id":1},"#.to_owned(), room);
    let all = |text: &str| {
        let data =
            format!(r#"{{"requested_by":42,"secrets":{{"all":{{"search":"{text}"}}}},"recipients":{to}}}"#);
        event("", &data)
    };
    let base64 = {
        use base64::Engine as _;
        let ids = fill(&|index| format!("{},", index + 1), room * 3 / 4 - 100);
        let data = format!(r#"{{"requested_by":42,"secrets":{{"ids":[{ids}]}},"recipients":{to}}}"#);
        let text = base64::engine::general_purpose::STANDARD.encode(data);
        event("", &good).replace(&format!("\"data\":{good}"), &format!("\"data_base64\":\"{text}\""))
    };
    [
        (
            "short unknown members",
            event(&format!("{},", fill(&|i| format!("\"x{i}\":1,"), room - 200)), &good),
        ),
        ("unknown arrays", event(&format!("\"x\":[{}],", fill(&|_| "[],".to_owned(), room - 200)), &good)),
        (
            "unknown objects",
            event(&format!("\"x\":[{}],", fill(&|_| "{\"a\":{}},".to_owned(), room - 200)), &good),
        ),
        ("an unknown text", event(&format!("\"x\":\"{}\",", "y".repeat(room - 200)), &good)),
        (
            "an unknown text with escapes",
            event(&format!("\"x\":\"{}\",", "\\n".repeat(room / 2 - 200)), &good),
        ),
        ("a name without end", event(&format!("\"{}\":1,", "\\u0041".repeat(room / 6 - 200)), &good)),
        ("one id, often", ids(&|_| "1,".to_owned())),
        ("short ids", ids(&|index| format!("{},", index % 9 + 1))),
        ("as many ids as fit", ids(&|index| format!("{},", index + 1))),
        ("ids backwards", ids(&|index| format!("{},", 900_000 - index))),
        ("ids in no order", ids(&|index| format!("{},", index * 7_919 % 300_007 + 1))),
        (
            "as many people as fit",
            event("", &format!(r#"{{"requested_by":42,"secrets":{{"ids":[1]}},"recipients":[{people}]}}"#)),
        ),
        (
            "one person, often",
            event("", &format!(r#"{{"requested_by":42,"secrets":{{"ids":[1]}},"recipients":[{same}]}}"#)),
        ),
        ("a search without end", all(&"\\u00e7".repeat(room / 6 - 100))),
        (
            "an unknown member of the data",
            event("", &format!("{{\"x\":[{}]}}", fill(&|_| "1,".to_owned(), room - 200))),
        ),
        ("a name without end in the data", event("", &format!("{{\"{}\":1}}", "x".repeat(room - 200)))),
        (
            "a name with escapes without end in the data",
            event("", &format!("{{\"{}\":1}}", "\\n".repeat(room / 2 - 200))),
        ),
        (
            "a text where an id belongs",
            event("", &format!("{{\"requested_by\":\"{}\"}}", "\u{e000}".repeat(room / 3 - 200))),
        ),
        ("deep arrays", event(&format!("\"x\":{},", "[".repeat(room - 200)), &good)),
        (
            "deep arrays in the data",
            event("", &format!("{{\"x\":{}{}}}", "[".repeat(room / 2 - 200), "]".repeat(room / 2 - 200))),
        ),
        ("a source without end", event(&format!("\"subject\":\"{}\",", "\\t".repeat(room / 2 - 200)), &good)),
        ("data in base64", base64.clone()),
        ("data in base64 with escapes", base64.replace("MS", "\\u004dS").chars().take(LARGEST).collect()),
    ]
    .map(|(name, text)| (name, text.into_bytes()))
    .into()
}

fn status(field: &str) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("its status");
    let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("the field");
    line.split_whitespace().find_map(|word| word.parse::<usize>().ok()).expect("a number") * 1024
}

/// In the child: reads the message of the file that the environment names, and says what it cost.
fn measure(path: &str) {
    let body = std::fs::read(path).expect("the message");
    // Once with a small one, so that code and tables are there.
    assert!(decode(golden("job.requested.ids").to_string().as_bytes()).is_ok());
    std::fs::write("/proc/self/clear_refs", "5").expect("the peak is forgotten");
    let before = status("VmRSS:");
    let read = decode(&body);
    let cost = status("VmHWM:").saturating_sub(before);
    println!("cost={cost} read={}", read.map_or_else(|poison| poison.to_string(), |_| "good".to_owned()));
}

#[test]
fn a_message_costs_at_most_three_times_its_size_while_it_is_read() {
    if let Ok(path) = std::env::var(CHILD) {
        return measure(&path);
    }
    let folder = tempfile::tempdir().expect("a folder");
    let mut good = 0;
    for (name, body) in shapes() {
        assert!(body.len() <= LARGEST && body.len() > LARGEST * 3 / 5, "{name} has {}", body.len());
        let path = folder.path().join("message");
        std::fs::write(&path, &body).expect("written");
        let output = Command::new(std::env::current_exe().expect("this program"))
            .args([
                "--exact",
                "contract::memory::a_message_costs_at_most_three_times_its_size_while_it_is_read",
            ])
            .args(["--nocapture", "--test-threads=1"])
            .env(CHILD, &path)
            .output()
            .expect("it runs");
        let text = String::from_utf8_lossy(&output.stdout);
        let line = text.lines().find_map(|line| line.split_once("cost=")).map(|(_, rest)| rest);
        let (cost, read) = line.and_then(|line| line.split_once(" read=")).expect("its cost");
        let cost: usize = cost.parse().expect("a number");
        println!("{name}: {} bytes, {cost} more: {read:.80}", body.len());
        good += usize::from(read == "good");
        // The message itself is the first time.
        assert!(cost <= 2 * body.len() + SLACK, "{name} has {} bytes and costs {cost} more", body.len());
    }
    assert!(good >= 12, "only {good} of them are good");
}
