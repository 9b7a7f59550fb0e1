//! Constraints and defaults of both databases, read from the databases themselves and held against each other and
//! against the program's codes.

use std::collections::BTreeSet;

use batchshare::domain::{
    AuditAction, DeadReason, DeadState, FailReason, JobKind, JobState, OrderKind, Origin, PrincipalKind,
    RejectReason,
};

use diesel::RunQueryDsl as _;

use crate::support::{Kind, TestDb};

/// How the constraints are called that only PostgreSQL has, since SQLite adds none to a table that is there.
const ON_POSTGRES_ONLY: &str = "_is_known";

/// Words of SQL in a constraint that are neither a column nor a value.
const SQL: &[&str] = &[
    "CHECK", "BETWEEN", "AND", "IN", "ANY", "ARRAY", "NOT", "VALID", "bigint", "smallint", "integer", "text",
];

/// The columns and values that a constraint is about, however a database writes it.
fn parts(constraint: &str) -> BTreeSet<String> {
    let words = constraint.split(|c: char| !(c.is_alphanumeric() || c == '_'));
    words.filter(|word| !word.is_empty() && !SQL.contains(word)).map(str::to_owned).collect()
}

/// The checks in the text of a table, each from its bracket to the one that closes it.
fn checks_in(sql: &str) -> Vec<&str> {
    let bodies = sql.match_indices("CHECK (").map(|(at, word)| &sql[at + word.len()..]);
    bodies
        .map(|body| {
            let mut depth = 1;
            let end = body.find(|c| {
                depth += i32::from(c == '(') - i32::from(c == ')');
                depth == 0
            });
            &body[..end.expect("a bracket that closes")]
        })
        .collect()
}

/// One constraint: its table, what it is, and the columns and values that it names.
type Constraint = (String, &'static str, BTreeSet<String>);

/// Rows of a query whose column `t` is a table's name and something else.
async fn pairs(test: &TestDb, sql: &str) -> Vec<(String, String)> {
    let rows = test.texts(sql).await;
    let pair = |text: String| text.split_once('|').map(|(a, b)| (a.to_owned(), b.to_owned()));
    rows.into_iter().map(|text| pair(text).expect("two parts")).collect()
}

async fn sqlite(test: &TestDb) -> BTreeSet<Constraint> {
    let tables = "SELECT m.name || '|' || m.sql AS t FROM sqlite_master m WHERE m.type = 'table' \
                  AND m.name NOT LIKE 'sqlite_%' AND m.name NOT LIKE '\\_\\_%' ESCAPE '\\' AND m.name <> 'queue_messages'";
    let mut found = BTreeSet::new();
    for (table, sql) in pairs(test, tables).await {
        let lines: Vec<&str> = sql.lines().map(|line| line.split("--").next().unwrap_or_default()).collect();
        let code = lines.join("\n");
        found.extend(checks_in(&code).into_iter().map(|check| (table.clone(), "check", parts(check))));
        let unique = format!(
            "SELECT (SELECT group_concat(name, ' ') FROM pragma_index_info(l.name)) AS t \
             FROM pragma_index_list('{table}') l WHERE l.origin = 'u'"
        );
        found.extend(
            test.texts(&unique).await.iter().map(|columns| (table.clone(), "unique", parts(columns))),
        );
        let defaults = format!(
            "SELECT name || ' ' || lower(dflt_value) AS t FROM pragma_table_info('{table}') WHERE dflt_value IS NOT NULL"
        );
        found.extend(test.texts(&defaults).await.iter().map(|text| (table.clone(), "default", parts(text))));
    }
    found
}

async fn postgres(test: &TestDb) -> (BTreeSet<Constraint>, Vec<(String, BTreeSet<String>)>) {
    let constraints = |kind: &str| {
        format!(
            "SELECT c.relname || '|' || k.conname || '|' || pg_get_constraintdef(k.oid) AS t FROM pg_constraint k \
             JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE n.nspname = 'public' AND c.relname NOT LIKE '\\_\\_%' AND k.contype = '{kind}'"
        )
    };
    let (mut found, mut of_codes) = (BTreeSet::new(), Vec::new());
    for (table, rest) in pairs(test, &constraints("c")).await {
        let (name, definition) = rest.split_once('|').expect("two parts");
        if name.ends_with(ON_POSTGRES_ONLY) {
            of_codes.push((name.to_owned(), parts(definition)));
        } else {
            found.insert((table, "check", parts(definition)));
        }
    }
    for (table, rest) in pairs(test, &constraints("u")).await {
        let (_, definition) = rest.split_once('|').expect("two parts");
        let columns = definition.strip_prefix("UNIQUE").expect("a unique constraint");
        found.insert((table, "unique", parts(columns)));
    }
    let defaults = "SELECT table_name || '|' || column_name || ' ' || lower(column_default) AS t \
                    FROM information_schema.columns WHERE table_schema = 'public' AND column_default IS NOT NULL \
                    AND is_identity = 'NO' AND table_name NOT LIKE '\\_\\_%'";
    let defaults = pairs(test, defaults).await;
    found.extend(defaults.into_iter().map(|(table, text)| (table, "default", parts(&text))));
    (found, of_codes)
}

#[tokio::test]
async fn both_databases_have_the_same_constraints_and_defaults() {
    let (on_sqlite, on_postgres) = (TestDb::new(Kind::Sqlite).await, TestDb::new(Kind::Postgres).await);
    let found = sqlite(&on_sqlite).await;
    for kind in ["check", "unique", "default"] {
        assert!(found.iter().any(|(_, of, _)| *of == kind), "no {kind} was found: is this test still right?");
    }
    assert_eq!(found, postgres(&on_postgres).await.0);
}

#[tokio::test]
async fn each_constraint_of_a_code_knows_the_codes_that_the_program_writes() {
    let numbers = |all: std::ops::RangeInclusive<i32>| all.map(|code| code.to_string()).collect::<Vec<_>>();
    let names = |all: &[&str]| all.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let states: Vec<&str> = JobState::ALL.iter().map(|state| state.as_str()).collect();
    // A job is never stored as retrying, and a notice tells of a job that has ended.
    let stored: Vec<&str> = states.iter().copied().filter(|state| *state != "retrying").collect();
    let ended: Vec<&str> =
        stored.iter().copied().filter(|state| !["queued", "running"].contains(state)).collect();
    let reasons: Vec<&str> = FailReason::ALL.iter().map(|reason| reason.as_str()).collect();
    let rejections: Vec<&str> = RejectReason::ALL.iter().map(|reason| reason.as_str()).collect();
    let why_dead: Vec<&str> = DeadReason::ALL.iter().map(|reason| reason.as_str()).collect();
    let dead: Vec<&str> = DeadState::ALL.iter().map(|state| state.as_str()).collect();
    let origins: Vec<&str> = Origin::ALL.iter().map(|origin| origin.as_str()).collect();
    let actions: Vec<&str> = AuditAction::ALL.iter().map(|action| action.as_str()).collect();
    let last_kind = PrincipalKind::ALL.iter().map(|kind| i32::from(kind.code())).max().expect("kinds");
    let known = [
        ("jobs", "state", names(&stored)),
        ("jobs", "reason", names(&reasons)),
        ("notices", "state", names(&ended)),
        ("notices", "reason", names(&reasons)),
        ("job_rejections", "side", numbers(1..=2)),
        // 0 is a secret.
        ("job_rejections", "kind", numbers(0..=last_kind)),
        ("job_rejections", "reason", names(&rejections)),
        ("jobs", "kind", names(&JobKind::ALL.iter().map(|kind| kind.as_str()).collect::<Vec<_>>())),
        // Request and step, and the five events of each of the three kinds of jobs.
        ("outbox", "letter", [numbers(1..=7), numbers(13..=17), numbers(23..=27)].concat()),
        (
            "pending_orders",
            "kind",
            names(&OrderKind::ALL.iter().map(|kind| kind.as_str()).collect::<Vec<_>>()),
        ),
        ("dead_letters", "state", names(&dead)),
        ("dead_letters", "reason", names(&why_dead)),
        ("dead_letters", "origin", names(&origins)),
        ("audit", "action", names(&actions)),
    ];
    let expected: BTreeSet<(String, BTreeSet<String>)> = known
        .into_iter()
        .map(|(table, column, codes)| {
            let parts = codes.into_iter().chain([column.to_owned()]).collect();
            (format!("{table}_{column}{ON_POSTGRES_ONLY}"), parts)
        })
        .collect();
    let test = TestDb::new(Kind::Postgres).await;
    let (_, found) = postgres(&test).await;
    assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), expected);
}

#[tokio::test]
async fn postgres_refuses_a_code_that_nobody_knows() {
    let test = TestDb::new(Kind::Postgres).await;
    let insert = async |letter: i32| {
        let sql = format!(
            "INSERT INTO outbox (letter, message_id, traceparent, body, created_at, leased_until) \
             VALUES ({letter}, '', '', '', 0, 0)"
        );
        test.db.write(move |conn| Ok(diesel::sql_query(sql).execute(conn)?)).await
    };
    insert(7).await.expect("a code that is known");
    let error = insert(8).await.expect_err("refused").to_string();
    assert!(error.contains("outbox_letter_is_known"), "{error}");
}
