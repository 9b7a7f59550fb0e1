//! Each recipient of each batch has exactly one entry of what they received.

use diesel::prelude::*;
use diesel::sql_types::Text;

#[derive(QueryableByName)]
struct Wrong {
    #[diesel(sql_type = Text)]
    text: String,
}

/// The entries of a share add up to what it granted and upgraded, and each is of one of its recipients, whom no other
/// entry of the share is of. No other job has entries.
pub fn entries(conn: &mut diesel::PgConnection) {
    let sql = "SELECT CAST(row_to_json(x) AS TEXT) AS text FROM (\
        SELECT j.job_id, j.kind, j.run, j.granted, j.upgraded, r.entries, r.principals, r.secrets FROM jobs j LEFT JOIN (\
        SELECT job, COUNT(*) AS entries, COUNT(DISTINCT principal_id) AS principals, SUM(secrets) AS secrets \
        FROM received GROUP BY job) r ON r.job = j.id \
        WHERE COALESCE(r.secrets, 0) <> CASE j.kind WHEN 'share' THEN j.granted + j.upgraded ELSE 0 END \
        OR r.entries <> r.principals \
        OR EXISTS (SELECT 1 FROM received e WHERE e.job = j.id AND NOT EXISTS (SELECT 1 FROM \
        json_array_elements(CAST(j.recipients AS json)) AS named(value) WHERE CAST(named.value ->> 'id' AS BIGINT) = e.principal_id))) AS x";
    let wrong: Vec<Wrong> = diesel::sql_query(sql).load(conn).expect("sql");
    let wrong: Vec<String> = wrong.into_iter().map(|wrong| wrong.text).collect();
    assert!(wrong.is_empty(), "jobs whose recipients were not told exactly once: {wrong:#?}");
}
