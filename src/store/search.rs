//! The rule of search in SQL: which rows hold every word that is looked for.

use crate::db::Conn;
use crate::domain::text::id_of;

/// The condition that every word is found in the folded copy of a row of `table`, or is its id. `parameter`
/// stands for the list of words ([`Conn::word_list`]).
pub(in crate::store) fn found(conn: &Conn, table: &str, parameter: &str, words: &[String]) -> String {
    let find = conn.find();
    let each = words.iter().enumerate().map(|(place, word)| {
        let found = format!("{find}({table}.search_text, {}) > 0", conn.word(parameter, place));
        match id_of(word) {
            Some(id) => format!("({found} OR {table}.id = {id})"),
            None => found,
        }
    });
    // A parameter has to stand in the text, also where there is no word.
    let first = format!("{parameter} <> ' ' AND {}", conn.in_time());
    let all: Vec<String> = [first].into_iter().chain(each).collect();
    all.join(" AND ")
}
