//! What differs between the SQL of PostgreSQL and of SQLite.

use std::fmt;

use crate::db::conn::Conn;

impl Conn {
    /// A subquery with one row (column `id`) per id of the text bound to `parameter` (see [`Conn::id_list`]).
    #[must_use]
    pub fn each_id(&self, parameter: &str) -> String {
        match self {
            Self::Pg(_) => format!("SELECT unnest(CAST({parameter} AS bigint[])) AS id"),
            Self::Sqlite(_) => format!("SELECT value AS id FROM json_each({parameter})"),
        }
    }

    /// The text to bind for a list of ids: one bind whatever the length, so that neither database's
    /// limit on parameters is ever near.
    pub fn id_list<I: Into<i64>>(&self, ids: impl IntoIterator<Item = I>) -> String {
        use fmt::Write as _;
        let (open, close) = if self.is_pg() { ('{', '}') } else { ('[', ']') };
        let mut text = String::from(open);
        for id in ids {
            if text.len() > 1 {
                text.push(',');
            }
            // Writing to a String cannot fail.
            let _ = write!(text, "{}", id.into());
        }
        text.push(close);
        text
    }

    /// A subquery with one row per array of the JSON array bound to `parameter`. `columns` are the name and
    /// SQL type of each place in those arrays. One bind again, whatever the number of rows.
    #[must_use]
    pub fn each_row(&self, parameter: &str, columns: &[(&str, &str)]) -> String {
        let (row, from) = match self {
            Self::Pg(_) => ("r", format!("jsonb_array_elements(CAST({parameter} AS jsonb)) AS r")),
            Self::Sqlite(_) => ("r.value", format!("json_each({parameter}) AS r")),
        };
        let column = |(place, (name, kind)): (usize, &(&str, &str))| {
            format!("CAST({row}->>{place} AS {kind}) AS {name}")
        };
        let columns: Vec<String> = columns.iter().enumerate().map(column).collect();
        format!("SELECT {} FROM {from}", columns.join(", "))
    }

    /// The text to bind for a list of words (which have no line breaks): one bind whatever their number.
    #[must_use]
    pub fn word_list(&self, words: &[String]) -> String {
        if self.is_pg() { words.join("\n") } else { serde_json::Value::from(words).to_string() }
    }

    /// The word of this place (from 0) in the list that is bound to `parameter`: a constant of the statement.
    #[must_use]
    pub fn word(&self, parameter: &str, place: usize) -> String {
        match self {
            Self::Pg(_) => format!("split_part({parameter}, chr(10), {})", place + 1),
            Self::Sqlite(_) => format!("({parameter} ->> {place})"),
        }
    }

    /// The function that finds a text in another: neither knows wildcards.
    #[must_use]
    pub fn find(&self) -> &'static str {
        if self.is_pg() { "strpos" } else { "instr" }
    }

    /// A line break, and a tab, as SQL.
    #[must_use]
    pub fn line_break(&self) -> &'static str {
        if self.is_pg() { "chr(10)" } else { "char(10)" }
    }

    #[must_use]
    pub fn tab(&self) -> &'static str {
        if self.is_pg() { "chr(9)" } else { "char(9)" }
    }

    /// `FOR UPDATE` where rows are locked; SQLite's write transactions are alone anyway.
    #[must_use]
    pub fn for_update(&self) -> &'static str {
        if self.is_pg() { "FOR UPDATE" } else { "" }
    }

    /// `FOR UPDATE SKIP LOCKED`, likewise.
    #[must_use]
    pub fn skip_locked(&self) -> &'static str {
        if self.is_pg() { "FOR UPDATE SKIP LOCKED" } else { "" }
    }

    #[must_use]
    pub fn is_pg(&self) -> bool {
        matches!(self, Self::Pg(_))
    }
}
