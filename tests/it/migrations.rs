//! The two folders of migrations say the same, go up and down, and are what `schema.rs` says.

use std::collections::{BTreeMap, BTreeSet};

use batchshare::db;
use batchshare::db::MigrationState;

use crate::on_both_stores;
use crate::support::{Kind, TestDb};

const SCHEMA: &str = include_str!("../../src/store/schema.rs");

/// The embedded broker's own table, on SQLite only; it is not the store's.
const OF_THE_BROKER: &str = "queue_messages";

fn migrations(database: &str) -> BTreeSet<String> {
    let folder = format!("{}/migrations/{database}", env!("CARGO_MANIFEST_DIR"));
    let names: BTreeSet<String> = std::fs::read_dir(&folder)
        .expect("the folder")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    for name in &names {
        for file in ["up.sql", "down.sql"] {
            let text = std::fs::read_to_string(format!("{folder}/{name}/{file}")).expect("a file");
            assert!(!text.trim().is_empty(), "{database}/{name}/{file} is empty");
        }
    }
    names
}

#[test]
fn both_databases_have_the_same_migrations() {
    let names = migrations("postgres");
    assert!(!names.is_empty());
    assert_eq!(names, migrations("sqlite"));
}

/// A column: name, type in Diesel's words, whether it may be null.
type Column = (String, String, bool);

/// Tables of `schema.rs` with their keys and columns.
fn declared() -> BTreeMap<String, (Vec<String>, Vec<Column>)> {
    let mut tables = BTreeMap::new();
    for text in SCHEMA.split("diesel::table! {").skip(1) {
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let head = lines.next().expect("a table's name and key");
        let (name, key) = head.split_once(" (").expect("a key");
        let key = key.split(')').next().expect("a key").split(", ").map(str::to_owned).collect();
        let columns = lines
            .map_while(|line| line.trim_end_matches(',').split_once(" -> "))
            .map(|(name, kind)| {
                let inner = kind.strip_prefix("Nullable<").and_then(|kind| kind.strip_suffix('>'));
                (name.to_owned(), inner.unwrap_or(kind).to_owned(), inner.is_some())
            })
            .collect();
        tables.insert(name.to_owned(), (key, columns));
    }
    tables
}

async fn tables(test: &TestDb, kind: Kind) -> BTreeSet<String> {
    let sql = match kind {
        Kind::Sqlite => {
            "SELECT name AS t FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
        }
        Kind::Postgres => {
            "SELECT CAST(table_name AS TEXT) AS t FROM information_schema.tables WHERE table_schema = 'public'"
        }
    };
    let mut names: BTreeSet<String> = test.texts(sql).await.into_iter().collect();
    assert!(names.remove("__diesel_schema_migrations"));
    names
}

/// The table as the database has it: its key, its columns.
async fn table(test: &TestDb, kind: Kind, name: &str) -> (Vec<String>, Vec<Column>) {
    let (key, columns) = match kind {
        Kind::Sqlite => (
            format!("SELECT name AS t FROM pragma_table_info('{name}') WHERE pk > 0 ORDER BY pk"),
            format!(
                "SELECT name || '|' || lower(type) || '|' || (\"notnull\" = 0 AND pk = 0) AS t \
                 FROM pragma_table_info('{name}') ORDER BY cid"
            ),
        ),
        Kind::Postgres => (
            format!(
                "SELECT CAST(k.column_name AS TEXT) AS t FROM information_schema.key_column_usage k \
                 JOIN information_schema.table_constraints c USING (constraint_name, table_schema, table_name) \
                 WHERE c.constraint_type = 'PRIMARY KEY' AND k.table_name = '{name}' ORDER BY k.ordinal_position"
            ),
            format!(
                "SELECT column_name || '|' || data_type || '|' || CASE is_nullable WHEN 'YES' THEN 1 ELSE 0 END AS t \
                 FROM information_schema.columns WHERE table_schema = 'public' AND table_name = '{name}' \
                 ORDER BY ordinal_position"
            ),
        ),
    };
    let key = test.texts(&key).await;
    let columns = test.texts(&columns).await;
    let columns = columns
        .iter()
        .map(|text| {
            let parts: Vec<&str> = text.split('|').collect();
            let [column, kind_of, null] = parts[..] else { panic!("{text}") };
            // A key that SQLite counts up itself must be called INTEGER; it has 64 bits there.
            let counted = kind == Kind::Sqlite && kind_of == "integer" && key == [column];
            let kind_of = match kind_of {
                "bigint" => "BigInt",
                "integer" if counted => "BigInt",
                "integer" => "Integer",
                "smallint" => "SmallInt",
                "text" => "Text",
                "boolean" => "Bool",
                "bytea" | "blob" => "Binary",
                other => panic!("{name}.{column} is {other}, which schema.rs has no word for"),
            };
            (column.to_owned(), kind_of.to_owned(), null == "1")
        })
        .collect();
    (key, columns)
}

/// Indexes that a migration named, with the columns or expressions in brackets.
async fn indexes(kind: Kind) -> BTreeSet<String> {
    let test = TestDb::new(kind).await;
    let sql = match kind {
        Kind::Sqlite => {
            "SELECT sql AS t FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL AND tbl_name <> 'queue_messages'"
        }
        Kind::Postgres => {
            "SELECT pg_get_indexdef(c.oid) AS t FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE c.relkind = 'i' AND n.nspname = 'public' \
             AND NOT EXISTS (SELECT 1 FROM pg_constraint k WHERE k.conindid = c.oid)"
        }
    };
    let plain = |sql: String| {
        let words = sql.replace("public.", "").replace("USING btree ", "").replace("chr(", "char(");
        let words = words.replace(['(', ')'], " ").replace(',', " ");
        words.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    test.texts(sql).await.into_iter().map(plain).collect()
}

#[tokio::test]
async fn both_databases_have_the_same_indexes() {
    let found = indexes(Kind::Sqlite).await;
    assert!(found.len() > 5, "{found:?}");
    assert_eq!(found, indexes(Kind::Postgres).await);
}

#[tokio::test]
async fn an_index_answers_what_is_due_on_postgres() {
    let test = TestDb::new(Kind::Postgres).await;
    // Volatile, no index is used with it, and due work reads every job there ever was each second.
    let sql = "SELECT CAST(provolatile AS TEXT) AS t FROM pg_proc WHERE proname = 'now_ms'";
    assert_eq!(test.texts(sql).await, ["s"]);
}

on_both_stores! {
    async fn every_migration_goes_up_down_and_up_again(kind: Kind) {
        let test = TestDb::new(kind).await;
        let before = tables(&test, kind).await;
        assert_eq!(db::migration_state(&test.db).await.expect("state"), MigrationState::Current);
        assert!(db::apply_migrations(&test.db).await.expect("nothing to do").is_empty());
        db::revert_all(&test.db).await.expect("down");
        assert_eq!(tables(&test, kind).await, BTreeSet::new(), "what a down.sql leaves");
        let MigrationState::Pending(pending) = db::migration_state(&test.db).await.expect("state") else {
            panic!("everything is to be applied again")
        };
        assert_eq!(pending.into_iter().collect::<BTreeSet<_>>(), migrations("sqlite"));
        let applied = db::apply_migrations(&test.db).await.expect("up again");
        assert_eq!(applied.len(), migrations("sqlite").len());
        assert_eq!(tables(&test, kind).await, before);
    }

    async fn schema_rs_is_what_the_migrations_make(kind: Kind) {
        let test = TestDb::new(kind).await;
        let declared = declared();
        let mut found = tables(&test, kind).await;
        assert_eq!(found.remove(OF_THE_BROKER), kind == Kind::Sqlite);
        assert_eq!(found, declared.keys().cloned().collect());
        for (name, expected) in declared {
            assert!(!expected.1.is_empty(), "{name} has columns");
            assert_eq!(table(&test, kind, &name).await, expected, "{name}");
        }
    }

    async fn processes_that_migrate_at_once_take_turns(kind: Kind) {
        let test = TestDb::new(kind).await;
        db::revert_all(&test.db).await.expect("down");
        let all = futures_util::future::join_all((0..4).map(|_| db::apply_migrations(&test.db))).await;
        let applied: Vec<usize> = all.into_iter().map(|names| names.expect("migrated").len()).collect();
        assert_eq!(applied.iter().sum::<usize>(), migrations("sqlite").len(), "{applied:?}");
    }
}
