//! What operators do is recorded in the transaction that does it, and a refused sign-in once a minute and cause.

use std::io::Cursor;
use std::sync::Arc;
use std::time::Duration;

use batchshare::app::demo;
use batchshare::db::Db;
use batchshare::domain::{Actor, DeadReason, DeadState, Origin};
use batchshare::store::{AuditEntry, DeadLetter, Discarded, ImportError, Publisher, Replayed, Sealer, Store};
use serde_json::json;

use super::trail::{entry, hide, rows_with, told, trail, unhide};
use crate::dead::{LEASE, letter};
use crate::on_both_stores;
use crate::support::{Kind, TestDb, settings};
use crate::world::*;

/// Stands in for the vault.
fn sealer() -> Option<Sealer> {
    Some(Arc::new(|_, _| Ok((b"sealed".to_vec(), "k1".to_owned()))))
}

const FILE: &str = r#"
{"type":"user","id":7,"username":"ana","name":"Ana Souza"}
{"type":"user_group","id":12,"name":"Pagamentos","members":[7]}
{"type":"personal_group","id":31,"name":"Plantao","owner":7}
{"type":"secret","id":101,"owner":7,"name":"Stripe","url":"https://api.example.com","client_id":"ci","client_secret":"not-to-be-seen"}
{"type":"secret","id":102,"owner":7,"name":"Adyen","url":"https://api.example.com","client_id":"ci"}
"#;

async fn import(store: &Store, text: &str) -> Result<(), ImportError> {
    store.import(Cursor::new(text.to_owned()), sealer()).await.map(drop)
}

on_both_stores! {
    async fn an_import_is_recorded_with_its_counts_or_changes_nothing(kind: Kind) {
        let test = TestDb::new(kind).await;
        let store = Store::new(test.db.clone());
        import(&store, FILE).await.expect("imported");
        let counts = json!({"users": 1, "user_groups": 1, "personal_groups": 1, "secrets": 2});
        assert_eq!(told(&test).await, [entry("import_done", counts)]);
        assert_eq!(trail(&test).await[0].by, Actor::Operator);
        assert_eq!(rows_with(&test, kind, "not-to-be-seen").await, 0);
        // A file that is refused, and one that has no line, change nothing.
        import(&store, "{\"type\":\"user\"}").await.expect_err("refused");
        import(&store, "\n\n").await.expect("nothing");
        assert_eq!(trail(&test).await.len(), 1);
        hide(&test).await;
        let renamed = FILE.replace("Stripe", "Other");
        assert!(matches!(import(&store, &renamed).await, Err(ImportError::Db(_))));
        unhide(&test).await;
        assert_eq!(test.texts("SELECT name AS t FROM secrets WHERE id = 101").await, ["Stripe"]);
        assert_eq!(trail(&test).await.len(), 1);
    }

    async fn the_demos_own_people_are_nobodys_import(kind: Kind) {
        let test = TestDb::new(kind).await;
        let store = Store::new(test.db.clone());
        for _ in 0..2 {
            store.import_if_empty(demo::lines(), sealer()).await.expect("imported");
        }
        let trail = trail(&test).await;
        assert_eq!((trail.len(), trail[0].by), (1, Actor::Nobody));
    }

    async fn what_was_done_with_dead_letters_is_recorded_with_them(kind: Kind) {
        let world = World::new(kind).await;
        for number in 0..3 {
            let letter = letter(DeadReason::NotJson, Origin::Request, b"not-to-be-seen".to_vec());
            world.store.bury(DeadLetter { message_id: Some(format!("m-{number}")), ..letter }).await.expect("bury");
        }
        let ids: Vec<i64> = world.dead().await.iter().map(|item| item.id).collect();

        hide(&world.test).await;
        world.store.replay_letter(ids[0], LEASE, Publisher::AsItIs).await.expect_err("not recorded");
        world.store.discard_letter(ids[1]).await.expect_err("not recorded");
        unhide(&world.test).await;
        assert!(world.dead().await.iter().all(|item| item.state == DeadState::Kept));
        assert_eq!(world.test.number("SELECT count(*) FROM outbox").await, 0);
        assert_eq!(trail(&world.test).await, []);

        assert_eq!(world.replay(ids[0]).await, Replayed::Sent);
        assert_eq!(world.store.discard_letter(ids[1]).await.expect("discard"), Discarded::Done);
        // What is settled stays as it is, and what is not there is not touched.
        for id in [ids[0], ids[1], 9_999] {
            world.replay(id).await;
            world.store.discard_letter(id).await.expect("discard");
        }
        let expected = [
            entry("dead_letter_replayed", json!({"letter": ids[0], "reason": "not_json", "run": null, "trusted": false})),
            entry("dead_letter_discarded", json!({"letter": ids[1], "reason": "not_json"})),
        ];
        assert_eq!(told(&world.test).await, expected);
        assert!(trail(&world.test).await.iter().all(|item| item.by == Actor::Operator));
        assert_eq!(rows_with(&world.test, kind, "not-to-be-seen").await, 0);
    }

    async fn a_refused_sign_in_has_one_row_a_minute_and_cause_of_all_processes(kind: Kind) {
        let test = TestDb::new(kind).await;
        let options = settings("sqlite://unused.db").db_options();
        let other = Db::new(test.db.target().clone(), options, test.db.clock().clone());
        let stores = [Store::new(test.db.clone()), Store::new(other)];
        let refuse = async |cause: &str| {
            let all = (0..20).map(|number| {
                let (store, cause) = (stores[number % 2].clone(), cause.to_owned());
                let address = format!("192.0.2.{number}");
                tokio::spawn(async move { store.record(AuditEntry::SignInRefused { cause, address }).await })
            });
            for recorded in futures_util::future::join_all(all).await {
                recorded.expect("no panic").expect("recorded or not needed");
            }
        };
        refuse("there is no such user").await;
        refuse("another cause").await;
        let rows = async || test.number("SELECT count(*) FROM audit").await;
        let minutes = "SELECT count(DISTINCT CAST(at / 60000 AS TEXT) || detail) FROM \
                       (SELECT at, substr(detail, strpos(detail, 'cause')) AS detail FROM audit) AS told";
        let minutes = if kind == Kind::Sqlite { minutes.replace("strpos", "instr") } else { minutes.to_owned() };
        // The test may be at work while a minute ends.
        assert_eq!(rows().await, test.number(&minutes).await);
        assert!((2..=4).contains(&rows().await));
        if kind == Kind::Sqlite {
            let before = rows().await;
            test.db.clock().advance(Duration::from_secs(60));
            refuse("another cause").await;
            assert!(rows().await > before, "the next minute has a row of its own");
        }
    }
}

/// No statement of the program changes or deletes what is recorded.
#[test]
fn what_is_recorded_is_never_changed_or_deleted() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders = vec![folder];
    let mut read = 0;
    while let Some(folder) = folders.pop() {
        for found in std::fs::read_dir(folder).expect("a folder") {
            let path = found.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(text) = std::fs::read_to_string(&path) {
                read += 1;
                for forbidden in ["UPDATE audit", "DELETE FROM audit", "schema::audit", "audit::table"] {
                    assert!(!text.contains(forbidden), "{}: {forbidden}", path.display());
                }
            }
        }
    }
    assert!(read > 50);
}
