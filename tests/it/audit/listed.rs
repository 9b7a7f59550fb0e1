//! `audit list`: what was recorded and what jobs tell, as one list.

use std::collections::BTreeSet;

use batchshare::domain::{Actor, JobId, Permission};
use batchshare::store::{AuditEntry, AuditFilter, AuditItem, Since};
use serde_json::{Value, json};

use crate::on_both_stores;
use crate::process::{Env, run};
use crate::support::Kind;
use crate::world::*;

impl World {
    async fn audit(&self, filter: AuditFilter) -> Vec<AuditItem> {
        self.store.audit(filter, None, 1_000).await.expect("a listing").0
    }

    /// The actions that a filter selects, oldest first.
    async fn actions(&self, filter: AuditFilter) -> Vec<String> {
        let mut actions: Vec<String> = self.audit(filter).await.into_iter().map(|item| item.action).collect();
        actions.reverse();
        actions
    }

    /// Two jobs of ana and one of bruno. Then ana's first job is undone, bruno's is cancelled, and bruno takes back what
    /// ana's second job gave to eva. The jobs, in this order.
    async fn history(&self) -> [JobId; 3] {
        self.secrets(ANA, [101, 102, 103]).await;
        self.grant(102, BRUNO, Permission::Edit).await;
        let (first, second) = (share([101], &[EVA]), share([102], &[EVA]));
        let third = share_as(BRUNO, second.request.selection.clone(), vec![to(ANAS_TEAM, Permission::View)]);
        for job in [&first, &second, &third] {
            self.run(job).await;
        }
        let undo = JobId::generate();
        let undone =
            AuditEntry::JobUndone { job: first.job_id, undo, by: Actor::Operator, as_operator: true };
        let cancelled = AuditEntry::JobCancelled { job: third.job_id, by: principal(BRUNO).into() };
        self.store.record(undone).await.expect("recorded");
        self.store.record(cancelled).await.expect("recorded");
        self.store.revoke(principal(BRUNO), secret(102), principal(EVA)).await.expect("taken back");
        [first.job_id, second.job_id, third.job_id]
    }
}

const OF_A_JOB: [&str; 3] = ["job_asked", "job_begun", "job_ended"];

on_both_stores! {
    async fn what_jobs_tell_and_what_is_recorded_are_one_list_in_the_order_of_time(kind: Kind) {
        let world = World::new(kind).await;
        let [first, second, third] = world.history().await;
        let all = world.audit(AuditFilter::default()).await;
        assert_eq!(all.len(), 3 * 3 + 3);
        assert!(all.is_sorted_by(|newer, older| newer.at >= older.at));
        let of = |action: &str| all.iter().filter(|item| item.action == action).cloned().collect::<Vec<_>>();
        let asked: Vec<(Vec<JobId>, Actor)> = of("job_asked").into_iter().map(|item| (item.jobs, item.by)).collect();
        for asked_by in [(vec![first], principal(ANA).into()), (vec![third], principal(BRUNO).into())] {
            assert!(asked.contains(&asked_by), "{asked:?}");
        }
        assert_eq!(of("job_ended")[0].detail, json!({"reason": null, "run": 1, "state": "completed"}));
        let undone = &of("job_undone")[0];
        assert_eq!((undone.by, undone.jobs[0], undone.jobs.len()), (Actor::Operator, first, 2));
        assert_eq!(undone.detail, json!({"as_operator": true, "undo": undone.jobs[1]}));
        assert_eq!((of("job_cancelled")[0].by, &of("job_cancelled")[0].jobs), (principal(BRUNO).into(), &vec![third]));
        let taken = &of("grant_revoked")[0];
        assert_eq!((taken.by, taken.principal), (principal(BRUNO).into(), Some(principal(EVA))));
        assert_eq!((taken.secret, &taken.jobs), (Some(secret(102)), &vec![second]));
        assert_eq!(taken.detail["permission"], "view");
    }

    async fn a_list_is_of_a_secret_a_person_or_a_job_and_from_a_time_on(kind: Kind) {
        let world = World::new(kind).await;
        let [first, second, third] = world.history().await;
        let none = AuditFilter::default;
        let sorted = |mut actions: Vec<String>| { actions.sort(); actions };
        let expected = |more: &[&str], jobs: usize| {
            let all = OF_A_JOB.repeat(jobs).into_iter().chain(more.iter().copied());
            sorted(all.map(ToOwned::to_owned).collect())
        };
        let job = async |job| sorted(world.actions(AuditFilter { job: Some(job), ..none() }).await);
        assert_eq!(job(first).await, expected(&["job_undone"], 1));
        assert_eq!(job(second).await, expected(&["grant_revoked"], 1));
        assert_eq!(job(third).await, expected(&["job_cancelled"], 1));
        let undone = world.audit(AuditFilter { job: Some(first), ..none() }).await;
        let undo = undone.iter().find(|item| item.action == "job_undone").expect("undone").jobs[1];
        assert_eq!(job(undo).await, expected(&["job_undone"], 0));

        let person = async |id| sorted(world.actions(AuditFilter { person: Some(principal(id)), ..none() }).await);
        assert_eq!(person(ANA).await, expected(&[], 2));
        // What bruno did, and what was done with eva's access.
        assert_eq!(person(BRUNO).await, expected(&["grant_revoked", "job_cancelled"], 1));
        assert_eq!(person(EVA).await, expected(&["grant_revoked"], 0));

        let of_secret = async |id| sorted(world.actions(AuditFilter { secret: Some(secret(id)), ..none() }).await);
        assert_eq!(of_secret(101).await, expected(&[], 1));
        // What ana's second job gave was taken back, and bruno's job still gives access.
        assert_eq!(of_secret(102).await, expected(&["grant_revoked"], 1));
        assert_eq!(of_secret(103).await, [""; 0]);
        let both = AuditFilter { secret: Some(secret(102)), person: Some(principal(EVA)), ..none() };
        assert_eq!(world.actions(both).await, ["grant_revoked"]);

        // A person who takes their own access back is told of once.
        world.grant(103, BRUNO, Permission::Edit).await;
        world.store.revoke(principal(BRUNO), secret(103), principal(BRUNO)).await.expect("taken back");
        assert_eq!(of_secret(103).await, ["grant_revoked"]);
        assert_eq!(person(BRUNO).await, expected(&["grant_revoked", "grant_revoked", "job_cancelled"], 1));

        let all = world.audit(none()).await;
        let at = all[2].at;
        let since = async |since| world.audit(AuditFilter { since: Some(since), ..none() }).await;
        assert_eq!(since(Since::At(at)).await, all.iter().filter(|item| item.at >= at).cloned().collect::<Vec<_>>());
        assert_eq!(since(Since::At(all[0].at + 1)).await, []);
        assert_eq!(since(Since::Ago(3_600_000)).await.len(), all.len());
        assert_eq!(since(Since::Ago(i64::from(u32::MAX) * 86_400_000)).await.len(), all.len());
    }

    async fn pages_of_any_size_have_everything_once_in_order(kind: Kind) {
        let world = World::new(kind).await;
        world.history().await;
        for filter in [AuditFilter::default(), AuditFilter { person: Some(principal(BRUNO)), ..AuditFilter::default() }] {
            let whole = world.audit(filter).await;
            for size in 1..=whole.len() + 1 {
                let (mut pages, mut cursor, mut calls) = (Vec::new(), None, 0);
                loop {
                    let (page, next) = world.store.audit(filter, cursor, size).await.expect("a page");
                    pages.extend(page);
                    calls += 1;
                    // A cursor is given to programs as a text.
                    cursor = next.map(|next| next.to_string().parse().expect("a cursor"));
                    if cursor.is_none() {
                        break;
                    }
                }
                assert_eq!((&pages, calls), (&whole, whole.len().div_ceil(size)), "{size}");
            }
        }
    }

    async fn the_list_is_printed_for_people_and_programs_and_obeys_no_name(kind: Kind) {
        let world = World::new(kind).await;
        let [first, ..] = world.history().await;
        world.test.sql(&format!(
            "UPDATE principals SET name = 'E\u{1b}[31mva\u{202e} \\n x' WHERE id = {EVA}; \
             UPDATE secrets SET name = 'Str\u{9b}ipe' WHERE id = 102; \
             UPDATE principals SET search_text = 'bruno\n' WHERE id = {BRUNO}"
        )).await;
        let mut env: Env = vec![("BATCHSHARE__DATABASE__URL", world.test.url.clone())];
        if kind == Kind::Postgres {
            // It is not connected: the command reads the database only.
            env.push(("BATCHSHARE__BROKER__URL", "amqp://127.0.0.1:1".to_owned()));
        }
        let (code, text, error) = run(&["audit", "list"], &env);
        assert_eq!((code, text.lines().count()), (0, 12), "{text}{error}");
        assert!(!text.chars().any(|c| (c.is_control() && c != '\n') || c == '\u{202e}'), "{text:?}");
        let taken = text.lines().find(|line| line.contains("grant_revoked")).expect("a line");
        for part in ["bruno (bruno)", "secret 102 Str\\u{9b}ipe", "of E\\u{1b}[31mva\\u{202e} \\\\n x (eva)", "permission=view"] {
            assert!(taken.contains(part), "{part}: {taken}");
        }
        let undone = text.lines().find(|line| line.contains("job_undone")).expect("a line");
        assert!(undone.contains("operator") && undone.contains(&format!("job {first}")), "{undone}");

        let (code, json, _) = run(&["audit", "list", "--json", "--limit", "5"], &env);
        assert_eq!(code, 0);
        let page: Value = serde_json::from_str(&json).expect("JSON");
        assert_eq!(page["items"].as_array().map(Vec::len), Some(5));
        let next = page["next_cursor"].as_str().expect("more");
        let (_, rest, _) = run(&["audit", "list", "--json", "--cursor", next], &env);
        let rest: Value = serde_json::from_str(&rest).expect("JSON");
        assert_eq!((rest["items"].as_array().map(Vec::len), &rest["next_cursor"]), (Some(7), &Value::Null));
        let both = [page, rest].map(|page| page["items"].as_array().expect("items").clone()).concat();
        let members: BTreeSet<&String> = both.iter().flat_map(|item| item.as_object().expect("an item").keys()).collect();
        assert_eq!(members.into_iter().collect::<Vec<_>>(), ["action", "at", "by", "detail", "jobs", "principal", "secret"]);
        let of = |action: &str| both.iter().find(|item| item["action"] == action).expect("an item");
        assert_eq!(of("grant_revoked")["by"], json!({"kind": "person", "id": BRUNO, "name": "bruno", "username": "bruno"}));
        assert_eq!(of("grant_revoked")["principal"]["username"], "eva");
        assert_eq!(of("grant_revoked")["secret"], json!({"id": 102, "name": "Str\u{9b}ipe"}));
        assert_eq!(of("job_undone")["by"], json!({"kind": "operator"}));
        assert_eq!(of("job_begun")["by"], Value::Null);

        let id = first.to_string();
        for (args, lines) in [
            (&["--job", &id][..], 4),
            (&["--person", "BRUNO"], 5),
            (&["--secret", "101"], 3),
            (&["--since", "1h"], 12),
            (&["--since", "2999-01-01"], 0),
        ] {
            let (code, text, error) = run(&[&["audit", "list"], args].concat(), &env);
            assert_eq!((code, text.lines().count()), (0, lines), "{args:?}: {text}{error}");
        }
        for (args, code) in [
            (&["--since", "yesterday"][..], 2), (&["--secret", "x"], 2), (&["--job", "7"], 2), (&["--cursor", "7"], 2),
            (&["--limit", "0"], 2), (&["--person", "nobody"], 5),
        ] {
            assert_eq!(run(&[&["audit", "list"], args].concat(), &env).0, code, "{args:?}");
        }
    }
}
