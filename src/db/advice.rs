//! Tells an operator what to know about a database before anything goes wrong with it.

use diesel::RunQueryDsl as _;
use diesel::sql_types::{BigInt, Text};

use crate::db::error::DbError;
use crate::db::pool::Db;

#[derive(diesel::QueryableByName)]
struct Server {
    #[diesel(sql_type = Text)]
    synchronous_commit: String,
    #[diesel(sql_type = Text)]
    names: String,
    #[diesel(sql_type = Text)]
    language: String,
    #[diesel(sql_type = BigInt)]
    standbys: i64,
}

/// Sentences to warn with at the start; none if all is well. Nothing that they tell keeps the program from working.
///
/// # Errors
/// The database cannot be asked.
pub async fn advice(db: &Db) -> Result<Vec<String>, DbError> {
    db.read(|conn| {
        if !conn.has_server() {
            return Ok(Vec::new());
        }
        // Everybody may count the rows of this view, though only few may read what they say. A base backup is not a
        // standby.
        let sql = "SELECT current_setting('synchronous_commit') AS synchronous_commit, \
                   current_setting('synchronous_standby_names') AS names, \
                   current_setting('lc_messages') AS language, \
                   (SELECT count(*) FROM pg_stat_replication \
                    WHERE application_name IS NULL OR application_name <> 'pg_basebackup') AS standbys";
        Ok(of(&diesel::sql_query(sql).get_result(conn)?))
    })
    .await
}

fn of(server: &Server) -> Vec<String> {
    let mut advice = Vec::new();
    if server.synchronous_commit == "off" {
        advice.push(
            "synchronous_commit is off: after a crash of the database, jobs that were accepted or reported as \
             ended may be gone"
                .to_owned(),
        );
    } else if server.standbys > 0 && (server.names.is_empty() || server.synchronous_commit == "local") {
        advice.push(
            "a standby follows this database and none is synchronous: if it is promoted, jobs that were \
             accepted or reported as ended in its last seconds are gone (see synchronous_standby_names)"
                .to_owned(),
        );
    }
    let language = server.language.as_str();
    if !(language.is_empty()
        || ["C", "POSIX"].contains(&language)
        || language.starts_with("en")
        || language.starts_with("C."))
    {
        advice.push(format!(
            "the database's messages are in {language}: some outages are told by English words and will count as \
             attempts; ALTER ROLE … SET lc_messages = 'C' mends it"
        ));
    }
    advice
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_lose_acknowledged_work_or_hide_an_outage_is_told() {
        let advice = |commit: &str, names: &str, language: &str, standbys| {
            let (synchronous_commit, names, language) = (commit.into(), names.into(), language.into());
            of(&Server { synchronous_commit, names, language, standbys })
        };
        for (commit, names, standbys) in [("on", "", 0), ("on", "*", 1), ("remote_apply", "a", 2)] {
            assert!(advice(commit, names, "en_US.UTF-8", standbys).is_empty(), "{commit} {names}");
        }
        for (commit, names, standbys, word) in [
            ("off", "", 0, "synchronous_commit"),
            ("off", "*", 1, "synchronous_commit"),
            ("on", "", 1, "standby"),
            ("local", "*", 1, "standby"),
        ] {
            let told = advice(commit, names, "C", standbys);
            assert!(told.len() == 1 && told[0].contains(word), "{told:?}");
        }
        for (language, told) in
            [("C", 0), ("C.UTF-8", 0), ("POSIX", 0), ("en_GB", 0), ("de_DE.UTF-8", 1), ("pt_BR", 1)]
        {
            assert_eq!(advice("on", "", language, 0).len(), told, "{language}");
        }
    }
}
