//! What the tests look at the audit with.

use batchshare::store::{AuditFilter, AuditItem, Store};
use serde_json::{Value, json};

use crate::support::{Kind, TestDb};

/// What is recorded, oldest first, without what jobs tell.
pub async fn trail(test: &TestDb) -> Vec<AuditItem> {
    let store = Store::new(test.db.clone());
    let (mut items, next) = store.audit(AuditFilter::default(), None, 1_000).await.expect("a listing");
    assert_eq!(next, None);
    items.retain(|item| {
        !item.action.starts_with("job_") || item.action == "job_cancelled" || item.action == "job_undone"
    });
    items.reverse();
    items
}

/// The actions of what is recorded, oldest first, with their details.
pub async fn told(test: &TestDb) -> Vec<(String, Value)> {
    trail(test).await.into_iter().map(|item| (item.action, item.detail)).collect()
}

/// An entry of [`told`].
pub fn entry(action: &str, detail: Value) -> (String, Value) {
    (action.to_owned(), detail)
}

/// The fields of a change, as a detail has them.
pub fn fields(names: &[&str]) -> Value {
    json!({"fields": names})
}

/// Takes the table away, so that nothing can be recorded.
pub async fn hide(test: &TestDb) {
    test.sql("ALTER TABLE audit RENAME TO hidden").await;
}

pub async fn unhide(test: &TestDb) {
    test.sql("ALTER TABLE hidden RENAME TO audit").await;
}

/// How many rows have this text in any column.
pub async fn rows_with(test: &TestDb, kind: Kind, text: &str) -> i64 {
    let names = match kind {
        Kind::Sqlite => "SELECT name AS t FROM pragma_table_info('audit')",
        Kind::Postgres => {
            "SELECT CAST(column_name AS TEXT) AS t FROM information_schema.columns WHERE table_name = 'audit'"
        }
    };
    let columns = test.texts(names).await;
    assert!(columns.len() > 5, "{columns:?}");
    let each: Vec<String> =
        columns.iter().map(|name| format!("CAST({name} AS TEXT) LIKE '%{text}%'")).collect();
    test.number(&format!("SELECT count(*) FROM audit WHERE {}", each.join(" OR "))).await
}
