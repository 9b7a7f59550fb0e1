//! Writes the rule of search in SQL: a row is found if it has every word that is looked for.

use crate::db::Conn;
use crate::domain::text::id_of;

/// A condition on a row of `table`: each word is in the folded copy of the row's texts, or is the row's id. The
/// placeholder `parameter` is bound to the list of words ([`Conn::word_list`]).
pub(in crate::store) fn found(conn: &Conn, table: &str, parameter: &str, words: &[String]) -> String {
    let find = conn.find();
    let each = words.iter().enumerate().map(|(place, word)| {
        let found = format!("{find}({table}.search_text, {}) > 0", conn.word(parameter, place));
        match id_of(word) {
            Some(id) => format!("({found} OR {table}.id = {id})"),
            None => found,
        }
    });
    // A placeholder has to be in the statement even if there is no word, since its value is bound in any case.
    let first = format!("{parameter} <> ' ' AND {}", conn.in_time());
    let all: Vec<String> = [first].into_iter().chain(each).collect();
    all.join(" AND ")
}
