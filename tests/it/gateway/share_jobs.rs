//! Asking for batch shares, and what the requester is told about them.

use serde_json::{Value, json};

use super::app::{Answer, App};
use crate::fixtures::Fixture;
use crate::on_both_stores;

fn people() -> Fixture {
    Fixture::new()
        .person(1, "ana", "Ana Souza", "ana@example.com")
        .user(2, "bruno")
        .user(3, "carla")
        .personal_group(20, "Carla's group", 3, &[])
        .secret(101, 1, "Stripe")
        .secret(102, 1, "Adyen")
        .tags(102, &["prod"])
        .secret(103, 2, "Bruno's")
        .secret(104, 2, "Viewed")
        .view(104, 1)
        .secret(105, 2, "Edited")
        .edit(105, 1)
}

fn share(ids: &[i64]) -> Value {
    json!({"secrets": {"ids": ids}, "recipients": [{"kind": "user", "id": 2}]})
}

fn job_id(answer: &Answer) -> String {
    answer.ok(202)["job_id"].as_str().expect("a job id").to_owned()
}

on_both_stores! {
    async fn a_job_is_accepted_at_once_and_can_be_looked_up(kind: Kind) {
        let app = App::start(kind, people()).await;
        let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let body = json!({"secrets": {"ids": [102, 101, 102]},
                          "recipients": [{"kind": "user", "id": 2}, {"kind": "user_group", "id": 9, "permission": "edit"}]});
        let answer = app.request("POST", "/share-jobs").user("ana").header("traceparent", trace).json(body).send().await;
        let id = job_id(&answer);
        assert_eq!(answer.header("location"), format!("/api/v1/share-jobs/{id}"));
        for (field, value) in [
            ("run", json!(1)), ("state", json!("queued")), ("pairs", json!(4)), ("done_pairs", json!(0)),
            ("counts", json!({"granted": 0, "upgraded": 0, "unchanged": 0, "rejected": 0})),
            ("rejections_total", json!(0)), ("attempts", json!(0)), ("reason", json!(null)),
            ("started_at", json!(null)), ("finished_at", json!(null)),
        ] {
            assert_eq!(answer.body[field], value, "{field}");
        }
        assert!(answer.body["requested_at"].as_str().is_some_and(|time| time.ends_with('Z')));
        assert!(answer.body.get("retry").is_none());
        // Whoever looks a job up is told as well what it is called, which the answer to POST does not read.
        let mut titled = answer.body.clone();
        titled["first_recipients"] = json!([
            {"kind": "user", "id": 2, "name": "bruno"}, {"kind": "user_group", "id": 9, "name": null},
        ]);
        titled["first_secrets"] = json!([{"id": 101, "name": "Stripe"}, {"id": 102, "name": "Adyen"}]);
        assert_eq!(app.get("ana", &format!("/share-jobs/{id}")).await.ok(200), &titled);
        assert_eq!(app.get("ana", &format!("/share-jobs/{}", id.to_uppercase())).await.ok(200), &titled);
        let kept = format!("SELECT count(*) FROM jobs WHERE traceparent = '{trace}'");
        assert_eq!(app.test.number(&kept).await, 1);
        assert_eq!(app.test.number("SELECT count(*) FROM outbox").await, 1);
    }

    async fn a_wrong_traceparent_is_dropped(kind: Kind) {
        let app = App::start(kind, people()).await;
        let call = app.request("POST", "/share-jobs").user("ana").header("traceparent", "00-evil");
        call.json(share(&[101])).send().await.ok(202);
        assert_eq!(app.test.number("SELECT count(*) FROM jobs WHERE traceparent = '00-evil'").await, 0);
    }

    async fn a_wrong_body_names_its_field_and_makes_no_job(kind: Kind) {
        let app = App::start(kind, people()).await;
        let to = json!([{"kind": "user", "id": 2}]);
        let with = |recipients: Value| json!({"secrets": {"ids": [101]}, "recipients": recipients});
        let expecting = |expect: Value| json!({"secrets": {"ids": [101]}, "recipients": to, "expect": expect});
        for (body, field) in [
            (json!({}), "secrets"),
            (json!({"recipients": to}), "secrets"),
            (json!({"secrets": 7, "recipients": to}), "secrets"),
            (json!({"secrets": [101], "recipients": to}), "secrets"),
            (json!({"secrets": {}, "recipients": to}), "secrets.ids"),
            (json!({"secrets": {"ids": []}, "recipients": to}), "secrets.ids"),
            (json!({"secrets": {"ids": null}, "recipients": to}), "secrets.ids"),
            (json!({"secrets": {"ids": 101}, "recipients": to}), "secrets.ids"),
            (json!({"secrets": {"ids": [101, 0]}, "recipients": to}), "secrets.ids[1]"),
            (json!({"secrets": {"ids": [101, "102"]}, "recipients": to}), "secrets.ids[1]"),
            (json!({"secrets": {"ids": [1.5]}, "recipients": to}), "secrets.ids[0]"),
            (json!({"secrets": {"ids": [9_007_199_254_740_992_i64]}, "recipients": to}), "secrets.ids[0]"),
            (json!({"secrets": {"ids": [101], "all": {}}, "recipients": to}), "secrets.all"),
            (json!({"secrets": {"all": true}, "recipients": to}), "secrets.all"),
            (json!({"secrets": {"all": {"search": 7}}, "recipients": to}), "secrets.all.search"),
            (json!({"secrets": {"all": {"search": "a\u{0}"}}, "recipients": to}), "secrets.all.search"),
            (json!({"secrets": {"all": {"shared": "no"}}, "recipients": to}), "secrets.all.shared"),
            (json!({"secrets": {"all": {"except": [0]}}, "recipients": to}), "secrets.all.except[0]"),
            (json!({"secrets": {"ids": [101]}}), "recipients"),
            (json!({"secrets": {"ids": [101]}, "recipients": to, "note": 7}), "note"),
            (json!({"secrets": {"ids": [101]}, "recipients": to, "note": "a\tb"}), "note"),
            (json!({"secrets": {"ids": [101]}, "recipients": to, "note": "x".repeat(501)}), "note"),
            (with(json!([])), "recipients"),
            (with(json!({"kind": "user", "id": 2})), "recipients"),
            (with(json!([7])), "recipients[0]"),
            (with(json!([{"kind": "user", "id": 2}, {"id": 2}])), "recipients[1].kind"),
            (with(json!([{"kind": "robot", "id": 2}])), "recipients[0].kind"),
            (with(json!([{"kind": "user"}])), "recipients[0].id"),
            (with(json!([{"kind": "user", "id": -1}])), "recipients[0].id"),
            (with(json!([{"kind": "user", "id": 2, "permission": "own"}])), "recipients[0].permission"),
            (expecting(json!(7)), "expect"),
            (expecting(json!({"granted": 1, "upgraded": 0, "unchanged": 0})), "expect.rejected"),
            (expecting(json!({"granted": -1, "upgraded": 0, "unchanged": 0, "rejected": 0})), "expect.granted"),
            (expecting(json!({"granted": 1.5, "upgraded": 0, "unchanged": 0, "rejected": 0})), "expect.granted"),
            (expecting(json!({"granted": null, "upgraded": 0, "unchanged": 0, "rejected": 0})), "expect.granted"),
            (expecting(json!({"granted": 0, "upgraded": 0, "unchanged": 0, "rejected": 0, "pairs": 0})), "expect.pairs"),
        ] {
            let text = body.to_string();
            let answer = app.post("ana", "/share-jobs", body.clone()).await;
            assert_eq!(answer.problem(400), field, "{text}");
            assert!(!answer.text.contains("robot") && !answer.text.contains("own\""));
            assert_eq!(app.post("ana", "/share-jobs/preview", body).await.body, answer.body, "{text}");
        }
        app.post("ana", "/share-jobs", json!([])).await.problem(400);
        app.post("ana", "/share-jobs/preview", json!([])).await.problem(400);
        // An unshare expects nothing.
        assert_eq!(app.post("ana", "/unshare-jobs", expecting(json!({"granted": 0, "upgraded": 0, "unchanged": 0, "rejected": 0}))).await.problem(400), "expect");
        assert_eq!(app.test.number("SELECT count(*) FROM jobs").await, 0);
    }

    async fn whoever_is_signed_in_is_the_requester_whatever_the_body_says(kind: Kind) {
        let app = App::start(kind, people()).await;
        let mut body = share(&[101]);
        body["requested_by"] = json!(2);
        assert_eq!(app.post("ana", "/share-jobs", body).await.problem(400), "requested_by");
        assert_eq!(app.test.number("SELECT count(*) FROM jobs").await, 0);
        app.post("ana", "/share-jobs", share(&[101])).await.ok(202);
        assert_eq!(app.test.number("SELECT requested_by FROM jobs").await, 1);
    }

    async fn the_same_key_again_is_the_same_job(kind: Kind) {
        let app = App::start(kind, people()).await;
        let post = async |user: &str, key: &str, body: Value| {
            app.request("POST", "/share-jobs").user(user).header("Idempotency-Key", key).json(body).send().await
        };
        let first = post("ana", "key 1", share(&[101, 102])).await;
        let again = post("ana", "key 1", share(&[102, 101, 101])).await;
        assert_eq!((job_id(&first), first.header("location")), (job_id(&again), again.header("location")));
        assert_eq!(post("ana", "key 1", share(&[101])).await.problem(422), "Idempotency-Key");
        assert_ne!(job_id(&post("ana", "key 2", share(&[101, 102])).await), job_id(&first));
        assert_ne!(job_id(&post("bruno", "key 1", share(&[101, 102])).await), job_id(&first));
        assert_eq!(app.test.number("SELECT count(*) FROM jobs").await, 3);
    }

    async fn a_note_is_a_part_of_the_request_in_its_normal_form(kind: Kind) {
        let app = App::start(kind, people()).await;
        let post = async |key: &str, note: Value| {
            let mut body = share(&[101]);
            body["note"] = note;
            app.request("POST", "/share-jobs").user("ana").header("Idempotency-Key", key).json(body).send().await
        };
        let first = post("a", json!("Acesso até sexta: produc\u{327}a\u{303}o")).await;
        assert_eq!(first.ok(202)["note"], "Acesso até sexta: produção");
        let same = post("a", json!("Acesso até sexta: produção")).await;
        assert_eq!(job_id(&same), job_id(&first));
        for other in [json!("acesso até sexta: produção"), json!(""), json!(null)] {
            assert_eq!(post("a", other).await.problem(422), "Idempotency-Key");
        }
        // None, null and an empty one are the same: no note.
        let bare = app.request("POST", "/share-jobs").user("ana").header("Idempotency-Key", "b").json(share(&[101]));
        let bare = bare.send().await;
        assert!(bare.ok(202).get("note").is_none());
        for none in [json!(""), json!(null)] {
            assert_eq!(job_id(&post("b", none).await), job_id(&bare));
        }
        let shown = app.get("ana", &format!("/share-jobs/{}", job_id(&first))).await;
        assert_eq!(shown.ok(200)["note"], "Acesso até sexta: produção");
        assert_eq!(app.get("ana", "/share-jobs").await.ok(200)["items"][1]["note"], "Acesso até sexta: produção");
        // The note leaves with the message, so that the worker finds the same request.
        let messages = app.test.number("SELECT count(*) FROM outbox").await;
        assert_eq!(messages, 2);
        let mut taking = share(&[101]);
        taking["note"] = json!("Bye");
        assert_eq!(app.post("ana", "/unshare-jobs", taking).await.problem(400), "note");
    }

    async fn repeats_at_the_same_time_make_one_job(kind: Kind) {
        let app = App::start(kind, people()).await;
        let calls = (0..8).map(|_| {
            app.request("POST", "/share-jobs").user("ana").header("Idempotency-Key", "k").json(share(&[101])).send()
        });
        let answers = futures_util::future::join_all(calls).await;
        let first = job_id(&answers[0]);
        assert!(answers.iter().all(|answer| job_id(answer) == first));
        assert_eq!(app.test.number("SELECT count(*) FROM jobs").await, 1);
        assert_eq!(app.test.number("SELECT count(*) FROM outbox").await, 1);
    }

    async fn a_key_is_printable_and_not_too_long(kind: Kind) {
        let app = App::start(kind, people()).await;
        let post = |key: &str| {
            app.request("POST", "/share-jobs").user("ana").header("Idempotency-Key", key).json(share(&[101])).send()
        };
        for bad in ["", &"k".repeat(256), "\u{fc}", "a\tb"] {
            assert_eq!(post(bad).await.problem(400), "Idempotency-Key", "{bad:?}");
        }
        post(&"k".repeat(255)).await.ok(202);
        let twice = app.request("POST", "/share-jobs").header("Idempotency-Key", "a").header("Idempotency-Key", "b");
        assert_eq!(twice.json(share(&[101])).send().await.problem(400), "Idempotency-Key");
    }

    async fn all_is_what_i_may_share_and_matches(kind: Kind) {
        let app = App::start(kind, people().disabled(102)).await;
        let all = |filter: Value| json!({"secrets": {"all": filter}, "recipients": [{"kind": "user", "id": 2}]});
        let pairs = async |filter: Value| app.post("ana", "/share-jobs", all(filter)).await.ok(202)["pairs"].clone();
        // The job has 101, 105 and 102, which is disabled and rejected later. It does not have 104, which ana may
        // only view.
        assert_eq!(pairs(json!({})).await, 3);
        assert_eq!(pairs(json!({"except": [102, 999]})).await, 2);
        assert_eq!(pairs(json!({"search": "EDIT"})).await, 1);
        assert_eq!(pairs(json!({"tag": "prod"})).await, 1);
        assert_eq!(pairs(json!({"shared": false})).await, 3);
        assert_eq!(app.post("ana", "/share-jobs", all(json!({"search": "%"}))).await.problem(422), "secrets.all");
        assert_eq!(app.post("ana", "/share-jobs", all(json!({"search": "viewed"}))).await.problem(422), "secrets.all");
    }

    async fn a_job_over_a_limit_is_refused_by_field(kind: Kind) {
        let app = App::start_with(kind, people(), |settings| {
            settings.limits.secrets = 2;
            settings.limits.recipients = 2;
            settings.limits.pairs = 3;
        }).await;
        let to = |count: i64| (1..=count).map(|id| json!({"kind": "user", "id": id})).collect::<Vec<_>>();
        let post = async |secrets: Value, recipients: i64| {
            let body = json!({"secrets": secrets, "recipients": to(recipients)});
            let answer = app.post("ana", "/share-jobs", body.clone()).await;
            let preview = app.post("ana", "/share-jobs/preview", body).await;
            if answer.status == 202 {
                preview.ok(200);
            } else {
                assert_eq!(preview.body, answer.body);
            }
            answer
        };
        assert_eq!(post(json!({"ids": [1, 2, 3]}), 1).await.problem(422), "secrets.ids");
        assert_eq!(post(json!({"ids": [1]}), 3).await.problem(422), "recipients");
        assert_eq!(post(json!({"ids": [1, 2]}), 2).await.problem(422), "secrets.ids");
        assert_eq!(post(json!({"all": {}}), 1).await.problem(422), "secrets.all");
        // The limit counts ids after duplicates are merged.
        post(json!({"ids": [1, 2, 1, 2]}), 1).await.ok(202);
    }

    async fn too_many_unfinished_jobs_are_told_to_wait(kind: Kind) {
        let app = App::start_with(kind, people(), |settings| settings.limits.unfinished_jobs = 2).await;
        app.post("ana", "/share-jobs", share(&[101])).await.ok(202);
        app.post("ana", "/share-jobs", share(&[101])).await.ok(202);
        let answer = app.post("ana", "/share-jobs", share(&[101])).await;
        answer.problem(429);
        assert!(answer.header("retry-after").parse::<u32>().is_ok_and(|seconds| seconds > 0));
        app.post("bruno", "/share-jobs", share(&[101])).await.ok(202);
        assert_eq!(app.test.number("SELECT count(*) FROM jobs").await, 3);
    }

    async fn my_jobs_come_newest_first_and_nobody_elses(kind: Kind) {
        let app = App::start(kind, people()).await;
        let mut mine = Vec::new();
        for _ in 0..3 {
            mine.push(job_id(&app.post("ana", "/share-jobs", share(&[101])).await));
        }
        let other = job_id(&app.post("bruno", "/share-jobs", share(&[101])).await);
        mine.reverse();
        let ids = |answer: &Answer| -> Vec<String> {
            let items = answer.ok(200)["items"].as_array().expect("items");
            items.iter().map(|job| job["job_id"].as_str().expect("an id").to_owned()).collect()
        };
        assert_eq!(ids(&app.get("ana", "/share-jobs").await), mine);
        let first = app.get("ana", "/share-jobs?limit=2").await;
        assert_eq!(ids(&first), mine[..2]);
        let second = app.get("ana", &format!("/share-jobs?limit=2&cursor={}", first.next().expect("more"))).await;
        assert_eq!((ids(&second), second.next()), (mine[2..].to_vec(), None));
        assert_eq!(app.get("ana", "/share-jobs?cursor=LTE").await.problem(400), "cursor");
        app.get("ana", &format!("/share-jobs/{other}")).await.problem(404);
        app.get("ana", &format!("/share-jobs/{other}/rejections")).await.problem(404);
        app.get("ana", "/share-jobs/0199c3a0-0000-7000-8000-00000000dead").await.problem(404);
        // Other spellings of a UUID are no ids of jobs.
        app.get("ana", &format!("/share-jobs/{}", mine[0].replace('-', ""))).await.problem(404);
    }

    async fn rejections_have_the_names_that_i_may_know(kind: Kind) {
        let app = App::start(kind, people()).await;
        let id = job_id(&app.post("ana", "/share-jobs", share(&[101, 103, 104, 999])).await);
        for (side, kind, subject, reason, pairs) in [
            (1, 0, 103, "not_found", 4), (1, 0, 104, "not_allowed", 4), (1, 0, 999, "not_found", 4),
            (2, 1, 2, "no_account", 1), (2, 1, 20, "not_found", 1), (2, 3, 20, "not_found", 1), (2, 2, 777, "not_found", 0),
        ] {
            app.test.sql(&format!(
                "INSERT INTO job_rejections (job, side, kind, subject, lane, reason, pairs) \
                 SELECT id, {side}, {kind}, {subject}, 0, '{reason}', {pairs} FROM jobs"
            )).await;
        }
        let answer = app.get("ana", &format!("/share-jobs/{id}/rejections")).await;
        let item = |kind: &str, recipient: Option<&str>, id: i64, name: Option<&str>, reason: &str, pairs: i64| {
            let username = name.filter(|_| recipient == Some("user"));
            let email = username.map(|username| format!("{username}@example.com"));
            json!({"kind": kind, "recipient_kind": recipient, "id": id, "name": name, "username": username,
                   "email": email, "reason": reason, "pairs": pairs})
        };
        assert_eq!(
            *answer.ok(200),
            json!({"items": [
                item("secret", None, 103, None, "not_found", 4),
                item("secret", None, 104, Some("Viewed"), "not_allowed", 4),
                item("secret", None, 999, None, "not_found", 4),
                item("recipient", Some("user"), 2, Some("bruno"), "no_account", 1),
                // The request names a group as a user, and carla's personal group is nobody else's to know.
                item("recipient", Some("user"), 20, None, "not_found", 1),
                item("recipient", Some("user_group"), 777, None, "not_found", 0),
                item("recipient", Some("personal_group"), 20, None, "not_found", 1),
            ], "next_cursor": null})
        );
        let mut seen = Vec::new();
        let mut cursor = String::new();
        loop {
            let page = app.get("ana", &format!("/share-jobs/{id}/rejections?limit=3&cursor={cursor}")).await;
            seen.extend(page.ids());
            match page.next() {
                Some(next) => cursor = next,
                None => break,
            }
        }
        assert_eq!(seen, answer.ids());
    }

    async fn a_waiting_job_says_why_and_until_when(kind: Kind) {
        let app = App::start(kind, people()).await;
        let id = job_id(&app.post("ana", "/share-jobs", share(&[101])).await);
        app.test.sql("UPDATE jobs SET attempts = 1, failures = 1, last_error = 'the database was busy', not_before = 60000").await;
        let answer = app.get("ana", &format!("/share-jobs/{id}")).await;
        assert_eq!((&answer.ok(200)["state"], &answer.body["attempts"]), (&json!("retrying"), &json!(1)));
        assert_eq!(
            answer.body["retry"],
            json!({"reason": "transient", "next_attempt_at": "1970-01-01T00:01:00Z"})
        );
    }

    async fn notices_are_mine_until_i_dismiss_them(kind: Kind) {
        let app = App::start(kind, people()).await;
        let id = job_id(&app.post("ana", "/share-jobs", share(&[101])).await);
        app.test.sql(
            "INSERT INTO notices (job, run, user_id, state, reason, pairs, granted, upgraded, unchanged, rejected, \
             rejections_total, created_at) SELECT id, 1, 1, 'failed', 'nothing_to_share', 2, 0, 0, 0, 2, 1, 1000 FROM jobs"
        ).await;
        let answer = app.get("ana", "/notices").await;
        let notice = answer.ok(200)["items"][0].clone();
        let number = notice["id"].as_i64().expect("an id");
        assert_eq!(
            notice,
            json!({"id": number, "job_id": id, "run": 1, "state": "failed", "secrets": 1, "recipients": 1, "pairs": 2, "done_pairs": 2,
                   "counts": {"granted": 0, "upgraded": 0, "unchanged": 0, "rejected": 2}, "kind": "share",
                   "reason": "nothing_to_share", "rejections_total": 1, "created_at": "1970-01-01T00:00:01Z",
                   "dismissed_at": null, "first_recipients": [{"kind": "user", "id": 2, "name": "bruno"}],
                   "first_secrets": [{"id": 101, "name": "Stripe"}]})
        );
        assert!(app.get("bruno", "/notices").await.ids().is_empty());
        let dismiss =
            async |user: &str, id: i64| app.post(user, &format!("/notices/{id}/dismiss"), json!({})).await;
        dismiss("bruno", number).await.problem(404);
        dismiss("ana", number + 1).await.problem(404);
        dismiss("ana", number).await.ok(204);
        dismiss("ana", number).await.ok(204);
        assert!(app.get("ana", "/notices").await.ids().is_empty());
        assert_eq!(app.get("ana", "/notices?dismissed=true").await.ids(), [number]);
        assert_eq!(app.get("ana", "/notices?dismissed=x").await.problem(400), "dismissed");
        // All at once, up to the one that was seen; nobody else's.
        app.test.sql("UPDATE notices SET dismissed_at = NULL").await;
        let all = async |user: &str, query: &str| app.post(user, &format!("/notices/dismiss{query}"), json!({})).await;
        for query in ["", "?until=", "?until=x"] {
            assert_eq!(all("ana", query).await.problem(400), "until", "{query}");
        }
        all("bruno", &format!("?until={number}")).await.ok(204);
        all("ana", &format!("?until={}", number - 1)).await.ok(204);
        assert_eq!(app.get("ana", "/notices").await.ids(), [number]);
        all("ana", &format!("?until={number}")).await.ok(204);
        all("ana", &format!("?until={}", number + 1)).await.ok(204);
        assert!(app.get("ana", "/notices").await.ids().is_empty());
    }

    async fn my_job_is_cancelled_at_once_and_nobody_elses(kind: Kind) {
        let app = App::start(kind, people()).await;
        let id = job_id(&app.post("ana", "/share-jobs", share(&[101])).await);
        let path = format!("/share-jobs/{id}/cancel");
        app.post("bruno", &path, json!({})).await.problem(404);
        app.post("ana", "/share-jobs/0199c3a0-7b1e-7c3a-9f00-0123456789ab/cancel", json!({})).await.problem(404);
        app.post("ana", "/share-jobs/x/cancel", json!({})).await.problem(404);
        app.get("ana", &path).await.problem(405);
        let ended = app.post("ana", &path, json!({})).await.ok(200).clone();
        assert_eq!(
            (&ended["state"], &ended["ended_by"], &ended["done_pairs"], &ended["started_at"]),
            (&json!("cancelled"), &json!(1), &json!(0), &Value::Null)
        );
        assert!(ended["finished_at"].is_string());
        assert_eq!(*app.post("ana", &path, json!({})).await.ok(200), ended);
        assert_eq!(*app.get("ana", &format!("/share-jobs/{id}")).await.ok(200), ended);
        let other = job_id(&app.post("ana", "/share-jobs", share(&[102])).await);
        app.test.sql(&format!("UPDATE jobs SET state = 'completed', finished_at = requested_at WHERE job_id = '{other}'")).await;
        let answer = app.post("ana", &format!("/share-jobs/{other}/cancel"), json!({})).await;
        answer.problem(409);
        assert_eq!(answer.body["type"], "urn:batchshare:problem:job_ended");
        assert!(answer.text.contains("completed"), "{}", answer.text);
    }
}
