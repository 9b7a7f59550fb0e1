//! The export of a job over HTTP.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};

use super::app::{Answer, App};
use crate::fixtures::Fixture;
use crate::on_both_stores;
use crate::support::eventually;

fn people() -> Fixture {
    Fixture::new()
        .person(1, "ana", "Ana Souza", "ana@example.com")
        .person(2, "bruno", "=Bruno, \"Dias\"", "bruno@example.com")
        .user(3, "carla")
        .personal_group(20, "Carla's group", 3, &[])
        .secret(101, 1, "+Stripe")
        .secret(102, 1, "Ação")
        .secret(103, 3, "Carla's")
}

async fn ask(app: &App, secrets: Value) -> String {
    let recipients =
        json!([{"kind": "user", "id": 2, "permission": "edit"}, {"kind": "personal_group", "id": 20}]);
    let answer = app.post("ana", "/share-jobs", json!({"secrets": secrets, "recipients": recipients})).await;
    answer.ok(202)["job_id"].as_str().expect("a job id").to_owned()
}

fn table(answer: &Answer) -> Vec<Vec<String>> {
    let text = answer.text.strip_prefix('\u{feff}').expect("a byte order mark");
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(text.as_bytes());
    let cells = |record: csv::StringRecord| record.iter().map(ToOwned::to_owned).collect();
    reader.records().map(|record| cells(record.expect("CSV"))).collect()
}

on_both_stores! {
    async fn an_export_names_what_the_reader_may_see_and_no_more(kind: Kind) {
        let app = App::start(kind, people()).await;
        let job = ask(&app, json!({"ids": [101, 102, 103, 999]})).await;
        // The secret is bruno's by now, and he has given ana nothing.
        app.test.sql("UPDATE secrets SET owner_id = 2 WHERE id = 102").await;
        let answer = app.get("ana", &format!("/share-jobs/{job}/export")).await;
        assert_eq!((answer.status, answer.header("content-type")), (200, "text/csv; charset=utf-8; header=present"));
        let file = format!("attachment; filename=\"batchshare-{job}.csv\"");
        assert_eq!(answer.header("content-disposition"), file);
        let rows = table(&answer);
        let bruno = ["user", "2", "'=Bruno, \"Dias\"", "edit"];
        let group = ["personal_group", "20", "", "view"];
        let line = |secret: [&str; 2], of: [&str; 4], now: &str| {
            let cells = [&secret[..], &of[..], &["not_reached", "", now][..]].concat();
            cells.into_iter().map(ToOwned::to_owned).collect::<Vec<String>>()
        };
        let expected = [
            line(["101", "'+Stripe"], bruno, "nothing"), line(["101", "'+Stripe"], group, "nothing"),
            line(["102", ""], bruno, ""), line(["102", ""], group, ""),
            line(["103", ""], bruno, ""), line(["103", ""], group, ""),
            line(["999", ""], bruno, ""), line(["999", ""], group, ""),
        ];
        assert_eq!(rows[0].join(","), "secret_id,secret_name,recipient_kind,recipient_id,recipient_name,permission,outcome,reason,now");
        assert_eq!(rows[1..], expected);

        let answer = app.get("ana", &format!("/share-jobs/{job}/export?format=jsonl")).await;
        assert_eq!((answer.status, answer.header("content-type")), (200, "application/x-ndjson"));
        assert!(answer.header("content-disposition").ends_with(".jsonl\""));
        let lines: Vec<Value> = answer.text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert_eq!(lines.len(), expected.len());
        assert_eq!(lines[0], json!({
            "secret_id": 101, "secret_name": "+Stripe", "recipient_kind": "user", "recipient_id": 2,
            "recipient_name": "=Bruno, \"Dias\"", "permission": "edit", "outcome": "not_reached", "reason": null, "now": "nothing",
        }));
        assert_eq!((&lines[7]["secret_name"], &lines[7]["recipient_name"], &lines[7]["now"]), (&Value::Null, &Value::Null, &Value::Null));
    }

    async fn an_export_is_refused_like_its_job_and_takes_two_formats(kind: Kind) {
        let app = App::start(kind, people()).await;
        let job = ask(&app, json!({"all": {}})).await;
        let path = format!("/share-jobs/{job}/export");
        app.get("bruno", &path).await.problem(404);
        app.get("ana", "/share-jobs/1/export").await.problem(404);
        app.get("ana", "/share-jobs/00000000-0000-4000-8000-000000000000/export").await.problem(404);
        for format in ["xlsx", "CSV", "csv%20", "jsonl&format=csv"] {
            app.get("ana", &format!("{path}?format={format}")).await.problem(400);
        }
        app.get("ana", &format!("{path}?fromat=csv")).await.problem(400);
        // All of ana's are two.
        assert_eq!(table(&app.get("ana", &format!("{path}?format=csv")).await).len(), 1 + 4);
        assert_eq!(app.get("ana", &format!("{path}?format=jsonl")).await.text.lines().count(), 4);
    }
}

/// Asks for the export of a large job, and reads no more than the beginning of the answer.
fn ask_and_wait(app: &App, job: &str) -> TcpStream {
    let mut stream = TcpStream::connect(&app.address).expect("a connection");
    stream.set_read_timeout(Some(Duration::from_secs(120))).expect("a timeout");
    let head = format!(
        "GET /api/v1/share-jobs/{job}/export?format=jsonl HTTP/1.1\r\nHost: {}\r\nX-Batchshare-User: ana\r\n\r\n",
        app.address
    );
    stream.write_all(head.as_bytes()).expect("a request");
    let mut beginning = [0; 12];
    stream.read_exact(&mut beginning).expect("an answer begins");
    assert_eq!(&beginning, b"HTTP/1.1 200");
    stream
}

on_both_stores! {
    async fn whoever_reads_an_export_slowly_holds_no_connection_and_is_cut_off_by_an_error(kind: Kind) {
        // Whoever reads nothing is not closed while this test looks.
        let app = App::start_with(kind, people(), |settings| settings.gateway.write_timeout_ms = 300_000).await;
        let small = ask(&app, json!({"ids": [101]})).await;
        // It is larger than what a connection takes before somebody reads: 600,000 lines of more than 150 bytes.
        let recipients: Vec<Value> = (1_000..1_200).map(|id| json!({"kind": "user", "id": id})).collect();
        let ids: Vec<i64> = (10_000..13_000).collect();
        let body = json!({"secrets": {"ids": ids}, "recipients": recipients});
        let large = app.post("ana", "/share-jobs", body).await.ok(202)["job_id"].as_str().expect("an id").to_owned();
        let mut slow = [ask_and_wait(&app, &large), ask_and_wait(&app, &large)];
        eventually("no connection is in use, and nothing is read any more", 120, async || {
            let before = app.test.db.statements();
            tokio::time::sleep(Duration::from_millis(500)).await;
            let quiet = app.test.db.statements() == before && app.test.db.connections().in_use == 0;
            quiet.then_some(())
        })
        .await;
        // These are as many as one person may have. Other reads of the person, and others, are served.
        let path = format!("/share-jobs/{small}/export");
        assert_eq!(app.get("ana", &path).await.ok(429)["type"], "urn:batchshare:problem:too_many_exports");
        assert_eq!(app.get("ana", "/secrets").await.status, 200);
        app.get("bruno", &path).await.problem(404);
        // An error in the middle cuts the answer off, so that nobody takes a part for all.
        app.test.sql("ALTER TABLE secrets RENAME TO secrets_away").await;
        for stream in &mut slow {
            let mut text = Vec::new();
            match stream.read_to_end(&mut text) {
                Ok(_) => {}
                Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
            }
            assert!(!text.ends_with(b"0\r\n\r\n"), "it ends as if it were whole");
        }
        app.test.sql("ALTER TABLE secrets_away RENAME TO secrets").await;
        // An error before the beginning is a problem, and the places are free again.
        eventually("a place", 60, async || (app.get("ana", &path).await.status == 200).then_some(())).await;
    }
}
