//! A management API that is away, refuses, or is something else: one error, in time, and never more memory than a bound.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use batchshare::broker::management::{Look, ManagementError};
use batchshare::broker::{Queue, Topology};

use super::policies;
use crate::support::{server, unique};

const SECRET: &str = "hunter2";

async fn look(management: &str) -> Result<Look, ManagementError> {
    let topology = Topology { prefix: unique("trouble") };
    let start = Instant::now();
    let look = policies(management, &server("BATCHSHARE_TEST_AMQP_URL"), &topology).look().await;
    assert!(start.elapsed() < Duration::from_secs(20), "{look:?} after {:?}", start.elapsed());
    if let Err(error) = &look {
        let told = format!("{error} {error:?}");
        assert!(!told.contains(SECRET) && !told.contains('\n') && told.len() < 1_000, "{told}");
    }
    look
}

/// A server that does this with each connection, once the request's head was read; and its URL.
fn answering(answer: impl Fn(TcpStream) + Send + Clone + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://me:{SECRET}@{}", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let answer = answer.clone();
            std::thread::spawn(move || {
                let (mut head, mut byte) = (Vec::new(), [0]);
                let mut reader = stream.try_clone().expect("a stream");
                while !head.ends_with(b"\r\n\r\n") && reader.read_exact(&mut byte).is_ok() {
                    head.push(byte[0]);
                }
                answer(stream);
            });
        }
    });
    url
}

/// A server that answers with these bytes and closes.
fn saying(text: &'static str) -> String {
    answering(move |mut stream| drop(stream.write_all(text.as_bytes())))
}

/// A server that sends a head and then parts without an end, with a pause before each.
fn endless(head: &'static str, part: &'static [u8], pause: Duration) -> String {
    answering(move |mut stream| {
        let _ = stream.write_all(head.as_bytes());
        while stream.write_all(part).is_ok() {
            std::thread::sleep(pause);
        }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_and_a_server_that_is_away_are_said() {
    let right = server("BATCHSHARE_TEST_MANAGEMENT_URL");
    for user in ["guest", "no%20body%C3%B6"] {
        let wrong = right.replace("guest:guest", &format!("{user}:{SECRET}"));
        assert_eq!(look(&wrong).await, Err(ManagementError::Refused(401)), "{user}");
    }
    // The right one: queues that are not there are unknown.
    assert_eq!(look(&right).await.expect("an answer").unknown, Queue::ALL);

    let port = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port();
    for host in [format!("127.0.0.1:{port}"), "nowhere.invalid".to_owned()] {
        let error = look(&format!("http://me:{SECRET}@{host}")).await.expect_err("away");
        assert_eq!(error.kind(), "unavailable");
        assert!(error.to_string().contains(&host), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn something_else_than_the_management_api_is_said() {
    let ok = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n";
    for (text, expected) in [
        ("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", ManagementError::Refused(403)),
        (
            "HTTP/1.1 301 Moved\r\nLocation: http://other/\r\nContent-Length: 0\r\n\r\n",
            ManagementError::Status(301),
        ),
        ("HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n", ManagementError::Status(500)),
        ("HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n<html></html>", ManagementError::Other),
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", ManagementError::Other),
        ("AMQP\0\0\x09\x01\r\n\r\n", ManagementError::Other),
        ("SSH-2.0-hunter2\r\n\r\n", ManagementError::Other),
    ] {
        assert_eq!(look(&saying(text)).await, Err(expected), "{text:?}");
    }
    for text in ["", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{"] {
        assert_eq!(look(&saying(text)).await.expect_err(text).kind(), "unavailable", "{text:?}");
    }
    // JSON of another shape tells nothing of a queue, and is nobody's panic.
    for body in ["[]", "1", "\"a\"", "{}", "{\"policy\":1}"] {
        let text = format!("{ok}Content-Length: {}\r\n\r\n{body}", body.len()).leak();
        assert_eq!(look(&saying(text)).await.expect("JSON").unknown, Queue::ALL, "{body}");
    }
    for body in [
        r#"{"effective_policy_definition":[],"policy":"","operator_policy":null}"#,
        r#"{"effective_policy_definition":null,"policy":"x"}"#,
        r#"{"effective_policy_definition":"x","policy":7}"#,
        // What no policy is named for has no policy.
        r#"{"effective_policy_definition":{"message-ttl":1}}"#,
        r#"{"effective_policy_definition":{"message-ttl":"1","max-length":1e99},"policy":"x"}"#,
    ] {
        let text = format!("{ok}Content-Length: {}\r\n\r\n{body}", body.len()).leak();
        assert_eq!(look(&saying(text)).await, Ok(Look::default()), "{body}");
    }
}

/// Each would go on for ever: with much, with little, with nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_without_an_end_is_given_up() {
    const PART: &[u8] = &[b' '; 64 * 1024];
    let (none, often) = (Duration::ZERO, Duration::from_millis(200));
    let large = "HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n";
    let to_the_end = "HTTP/1.1 200 OK\r\n\r\n";
    for head in [large, to_the_end] {
        assert_eq!(look(&endless(head, PART, none)).await, Err(ManagementError::Other), "{head}");
    }
    let chunks = endless("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"4\r\n    \r\n", none);
    assert_eq!(look(&chunks).await, Err(ManagementError::Other));
    // A head of any length.
    let error = look(&endless("HTTP/1.1 200 OK\r\nX: ", PART, none)).await.expect_err("a long head");
    assert!(["other", "unavailable"].contains(&error.kind()), "{error}");

    let late = |error: ManagementError| {
        assert!(error.to_string().contains("within 5s"), "{error}");
    };
    let (drop_by_drop, slow_head, silent) = (
        endless(to_the_end, b" ", often),
        endless("HTTP/1.1 200 OK\r\n", b"X: y\r\n", often),
        answering(|stream| {
            let _kept = stream;
            std::thread::sleep(Duration::from_secs(60));
        }),
    );
    let (a, b, c) = tokio::join!(look(&drop_by_drop), look(&slow_head), look(&silent));
    [a, b, c].into_iter().for_each(|look| late(look.expect_err("no end")));
}
