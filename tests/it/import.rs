//! Import on both databases.

use std::io::Cursor;
use std::sync::Arc;

use batchshare::app::demo;
use batchshare::store::{ImportError, Imported, Sealer, Store};
use secrecy::ExposeSecret as _;

use crate::on_both_stores;
use crate::support::TestDb;

const PEOPLE: &str = r#"
{"type":"user","id":7,"username":"ana","name":"Ana Souza","email":"Ana@example.com"}
{"type":"user","id":8,"username":"bruno","name":"Bruno Dias","active":false,"has_account":false}
"#;
const VALUE: &str = "not-to-be-seen";

fn secret(id: i64, more: &str) -> String {
    format!(
        r#"{{"type":"secret","id":{id},"owner":7,"name":"Stripe {id}","url":"https://API.example.com","client_id":"ci"{more}}}"#
    )
}

/// Stands in for the vault: recognisable, and not the value.
fn sealer() -> Option<Sealer> {
    Some(Arc::new(|id, value| {
        Ok((format!("{id}:{}", value.expose_secret().len()).into_bytes(), "k1".to_owned()))
    }))
}

async fn import(db: &TestDb, text: &str) -> Result<Imported, ImportError> {
    Store::new(db.db.clone()).import(Cursor::new(text.to_owned()), sealer()).await
}

async fn rows(db: &TestDb) -> i64 {
    let counts =
        ["principals", "members", "secrets", "secret_tags"].map(|t| format!("(SELECT count(*) FROM {t})"));
    db.number(&counts.join(" + ")).await
}

/// Imports what must be refused; returns the message.
async fn refused(db: &TestDb, text: &str) -> String {
    let before = rows(db).await;
    let error = import(db, text).await.expect_err("refused");
    assert_eq!(rows(db).await, before, "a refused file changes nothing");
    error.to_string()
}

on_both_stores! {
    async fn lines_come_in_any_order_and_every_field_arrives(kind: Kind) {
        let db = TestDb::new(kind).await;
        let text = format!(
            "{}\n\r\n{}\n{}{}",
            secret(101, r#","client_secret":"abc","identifier":"Stripe-PROD","method":"POST","tags":["b","a"],"notes":"x\ny","disabled":true"#),
            r#"{"type":"personal_group","id":31,"name":"Plantão","owner":7,"members":[8],"visible_to_members":true}"#,
            r#"{"type":"user_group","id":12,"name":"Pagamentos","members":[8,7,8]}"#,
            PEOPLE,
        );
        let imported = import(&db, &text).await.expect("imported");
        assert_eq!(imported, Imported { users: 2, user_groups: 1, personal_groups: 1, secrets: 1 });
        let one = async |table: &str, condition: &str| db.number(&format!("SELECT count(*) FROM {table} WHERE {condition}")).await;
        for (table, condition) in [
            ("principals", "id = 7 AND kind = 1 AND name = 'Ana Souza' AND username = 'ana' AND email = 'Ana@example.com' \
              AND active AND has_account AND owner_id IS NULL AND search_text LIKE '%ana@example.com_\t'"),
            ("principals", "id = 8 AND NOT active AND NOT has_account AND email IS NULL"),
            ("principals", "id = 12 AND kind = 2 AND active AND has_account AND username IS NULL"),
            ("principals", "id = 31 AND kind = 3 AND owner_id = 7 AND visible_to_members AND search_text LIKE 'plantao%'"),
            ("secrets", "id = 101 AND owner_id = 7 AND identifier = 'Stripe-PROD' AND method = 'POST' AND disabled \
              AND url = 'https://API.example.com' AND client_id = 'ci' AND length(notes) = 3 \
              AND client_secret_key = 'k1' AND length(client_secret) = 5 AND updated_at > 1700000000000 \
              AND search_text LIKE 'stripe 101_stripe-prod_https://api.example.com_\t'"),
        ] {
            assert_eq!(one(table, condition).await, 1, "{condition}");
        }
        assert_eq!(one("members", "group_id IN (12, 31)").await, 3);
        assert_eq!(one("secret_tags", "secret_id = 101 AND tag IN ('a', 'b')").await, 2);
    }

    async fn a_second_import_replaces_members_and_tags_and_keeps_the_client_secret(kind: Kind) {
        let db = TestDb::new(kind).await;
        let first = format!(
            "{PEOPLE}{}\n{}",
            r#"{"type":"user_group","id":12,"name":"Pagamentos","members":[7,8]}"#,
            secret(101, r#","client_secret":"abc","tags":["a","b"]"#),
        );
        import(&db, &first).await.expect("imported");
        let all = rows(&db).await;
        import(&db, &first).await.expect("the same again");
        assert_eq!(rows(&db).await, all);

        let second = format!("{}\n{}", r#"{"type":"user_group","id":12,"name":"Contas","members":[8]}"#, secret(101, r#","tags":["c"]"#));
        import(&db, &second).await.expect("imported");
        assert_eq!(db.number("SELECT sum(user_id) FROM members WHERE group_id = 12").await, 8);
        assert_eq!(db.number("SELECT count(*) FROM principals WHERE name = 'Contas' AND search_text = 'contas\n\t'").await, 1);
        assert_eq!(db.number("SELECT count(*) FROM secret_tags").await, 1);
        assert_eq!(db.number("SELECT count(*) FROM secret_tags WHERE tag = 'c'").await, 1);
        assert_eq!(db.number("SELECT count(*) FROM secrets WHERE client_secret_key = 'k1' AND length(client_secret) = 5").await, 1);
    }

    async fn unique_texts_may_pass_from_one_line_to_another(kind: Kind) {
        let db = TestDb::new(kind).await;
        let user = |id: i64, name: &str| format!(r#"{{"type":"user","id":{id},"username":"{name}","name":"N"}}"#);
        let identified = |id: i64, name: &str| secret(id, &format!(r#","identifier":"{name}""#));
        let first = [user(7, "ana"), user(8, "bia"), identified(1, "x"), identified(2, "y")].join("\n");
        import(&db, &first).await.expect("imported");
        let swapped = [user(7, "bia"), user(8, "ana"), identified(2, "x"), secret(1, "")].join("\n");
        import(&db, &swapped).await.expect("imported");
        assert_eq!(db.number("SELECT id FROM principals WHERE username = 'ana'").await, 8);
        assert_eq!(db.number("SELECT id FROM secrets WHERE identifier = 'x'").await, 2);
        assert_eq!(db.number("SELECT count(*) FROM secrets WHERE identifier IS NULL").await, 1);
    }

    async fn whatever_is_wrong_names_its_line_and_changes_nothing(kind: Kind) {
        let db = TestDb::new(kind).await;
        import(&db, &format!("{PEOPLE}{}", secret(101, r#","identifier":"taken""#))).await.expect("imported");
        let group = r#"{"type":"user_group","id":12,"name":"G","members":[7,99]}"#;
        let cases = [
            ("{\"type\":".to_owned(), "line 2: the line is not JSON at column 8"),
            (r#"{"type":"team","id":1}"#.to_owned(), "line 2: type must be user, user_group, personal_group or secret"),
            (r#"{"type":"user","id":0,"username":"u","name":"n"}"#.to_owned(), "line 2: id must be an integer"),
            (r#"{"type":"user","id":1,"name":"n"}"#.to_owned(), "line 2: username is missing"),
            (group.to_owned(), "line 2: refers to user 99, and there is no such user"),
            (group.replace("99", "12"), "line 2: refers to user 12, and there is no such user"),
            (secret(5, "").replace("\"owner\":7", "\"owner\":98"), "line 2: refers to user 98"),
            (r#"{"type":"personal_group","id":31,"name":"G","owner":97,"members":[]}"#.to_owned(), "line 2: refers to user 97"),
            (r#"{"type":"user_group","id":7,"name":"G","members":[]}"#.to_owned(), "line 2: id is that of a principal of another type"),
            (r#"{"type":"user","id":9,"username":"ana","name":"n"}"#.to_owned(), "line 2: username is that of user 7"),
            (r#"{"type":"user","id":50,"username":"new","name":"n"}"#.to_owned(), "line 2: username is that of user 40"),
            (secret(102, r#","identifier":"taken""#), "line 2: identifier is that of secret 101"),
        ];
        for (line, message) in cases {
            let good = r#"{"type":"user","id":40,"username":"new","name":"New"}"#;
            let found = refused(&db, &format!("{good}\n{line}\n{}", secret(300, ""))).await;
            assert!(found.starts_with(message), "{found} is not {message}");
        }
    }

    async fn the_line_of_a_late_error_is_right_in_a_long_file(kind: Kind) {
        let db = TestDb::new(kind).await;
        let mut text: String = (1..=30_000)
            .map(|id| format!("{{\"type\":\"user\",\"id\":{id},\"username\":\"u{id}\",\"name\":\"N\"}}\n"))
            .collect();
        text.push_str(r#"{"type":"user","id":77777,"username":"u5","name":"N"}"#);
        assert_eq!(refused(&db, &text).await, "line 30001: username is that of user 5");
    }

    async fn an_id_twice_in_a_file_is_refused_with_both_lines(kind: Kind) {
        let db = TestDb::new(kind).await;
        import(&db, PEOPLE).await.expect("imported");
        let user = r#"{"type":"user","id":50,"username":"u","name":"N"}"#;
        let group = r#"{"type":"user_group","id":50,"name":"G"}"#;
        let own = r#"{"type":"personal_group","id":50,"name":"G","owner":7}"#;
        let again = r#"{"type":"user","id":50,"username":"other","name":"N"}"#;
        for (first, second) in [(user, again), (user, group), (group, own), (own, user), (group, group)] {
            assert_eq!(refused(&db, &format!("{first}\n\n{second}")).await, "line 3: id 50 is that of line 1 already");
        }
        let text = [secret(101, ""), user.to_owned(), secret(101, "")].join("\n");
        assert_eq!(refused(&db, &text).await, "line 3: id 101 is that of line 1 already");
        // However far apart; and a secret may have the number of a person.
        let mut text: String = (1..=12_000).map(|id| secret(1_000 + id, "") + "\n").collect();
        import(&db, &format!("{text}{}", secret(7, ""))).await.expect("imported");
        text.push_str(&secret(1_001, ""));
        assert_eq!(refused(&db, &text).await, "line 12001: id 1001 is that of line 1 already");
    }

    async fn a_client_secret_never_shows(kind: Kind) {
        let db = TestDb::new(kind).await;
        let with_value = secret(101, &format!(r#","client_secret":"{VALUE}""#));
        let store = Store::new(db.db.clone());
        let error = store.import(Cursor::new(format!("{PEOPLE}{with_value}")), None).await.expect_err("no key");
        assert!(error.to_string().starts_with("line 4: has a client_secret"), "{error}");
        assert!(error.to_string().contains("vault.key_file"), "{error}");

        let seal: Sealer = Arc::new(|_, _| Err("the key is of no use".to_owned()));
        let error = store.import(Cursor::new(format!("{PEOPLE}{with_value}")), Some(seal)).await.expect_err("bad key");
        assert_eq!(error.to_string(), "line 4: the key is of no use");

        let wrong = [
            with_value.replace("\"owner\":7", &format!("\"owner\":\"{VALUE}\"")),
            with_value.replace("\"owner\":7", "\"owner\":55"),
            with_value.replace("client_id", "other"),
            format!("{with_value}{with_value}"),
            with_value.replace(VALUE, &format!("{VALUE}\\u0000")),
            with_value[..with_value.len() - 2].to_owned(),
        ];
        for line in wrong {
            let error = import(&db, &format!("{PEOPLE}{line}")).await.expect_err("refused");
            let printed = format!("{error} {error:?}");
            assert!(printed.contains("line 4") && !printed.contains(VALUE), "{printed}");
        }
        assert_eq!(rows(&db).await, 0);
    }

    async fn what_is_no_text_is_refused(kind: Kind) {
        let db = TestDb::new(kind).await;
        let store = Store::new(db.db.clone());
        let bytes = [PEOPLE.as_bytes(), b"\xff\xfe\n"].concat();
        let error = store.import(Cursor::new(bytes), None).await.expect_err("refused");
        assert_eq!(error.to_string(), "line 4: the line is not UTF-8");
        let endless = std::io::BufReader::new(std::io::Read::take(std::io::repeat(b' '), 1 << 25));
        let error = store.import(endless, None).await.expect_err("refused");
        assert_eq!(error.to_string(), "line 1: is longer than 16777216 bytes");
        assert_eq!(import(&db, "\n \n").await.expect("nothing is fine"), Imported::default());
    }

    async fn demo_data_goes_into_an_empty_database_only(kind: Kind) {
        let db = TestDb::new(kind).await;
        let store = Store::new(db.db.clone());
        let imported = store.import_if_empty(demo::lines(), sealer()).await.expect("imported");
        assert_eq!(imported.map(|counts| counts.secrets), Some(1_300));
        assert_eq!(db.number("SELECT count(*) FROM secrets WHERE owner_id = 1 AND NOT disabled").await, 1_200);
        assert_eq!(store.import_if_empty(demo::lines(), sealer()).await.expect("looked"), None);
    }
}
