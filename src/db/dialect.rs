//! What differs between PostgreSQL and SQLite, each difference under the name of what it is for.
//!
//! Only this file and the way a connection is made ask which database it is. Everybody else writes one text for both
//! databases and puts these parts into it.

use std::fmt::Write as _;
use std::time::Duration;

use diesel::RunQueryDsl as _;
use diesel::connection::SimpleConnection as _;
use diesel::sql_types::{BigInt, Text};

use crate::db::conn::Conn;
use crate::db::error::DbError;
use crate::db::statement::statement;

/// Lists, bound as one text: so the length of a list never comes near the limit that a database has on parameters.
impl Conn {
    /// The text to bind for a list of ids.
    pub fn id_list<I: Into<i64>>(&self, ids: impl IntoIterator<Item = I>) -> String {
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

    /// A subquery with one row (column `id`) for each id of the list that is bound to `parameter`.
    #[must_use]
    pub fn each_id(&self, parameter: &str) -> String {
        if self.is_pg() {
            format!("SELECT unnest(CAST({parameter} AS bigint[])) AS id")
        } else {
            format!("SELECT value AS id FROM json_each({parameter})")
        }
    }

    /// What to write behind a column: its value is in the list of ids that is bound to `parameter`. PostgreSQL then
    /// reads an index in the order of the list.
    #[must_use]
    pub fn is_in(&self, parameter: &str) -> String {
        if self.is_pg() {
            format!("= ANY(CAST({parameter} AS bigint[]))")
        } else {
            format!("IN (SELECT value FROM json_each({parameter}))")
        }
    }

    /// A subquery with one row for each array of the JSON array that is bound to `parameter`. `columns` are the name
    /// and the SQL type of each place in those arrays.
    #[must_use]
    pub fn each_row(&self, parameter: &str, columns: &[(&str, &str)]) -> String {
        let (row, from) = if self.is_pg() {
            ("r", format!("jsonb_array_elements(CAST({parameter} AS jsonb)) AS r"))
        } else {
            ("r.value", format!("json_each({parameter}) AS r"))
        };
        let column = |(place, (name, kind)): (usize, &(&str, &str))| {
            format!("CAST({row}->>{place} AS {kind}) AS {name}")
        };
        let columns: Vec<String> = columns.iter().enumerate().map(column).collect();
        format!("SELECT {} FROM {from}", columns.join(", "))
    }

    /// A table `r` with one row for each object of the JSON array that is bound to `parameter`. `columns` are the name
    /// and the SQL type of each key.
    #[must_use]
    pub fn each_object(&self, parameter: &str, columns: &[(&str, &str)]) -> String {
        if self.is_pg() {
            let typed: Vec<String> = columns.iter().map(|(name, kind)| format!("{name} {kind}")).collect();
            format!("json_to_recordset(CAST({parameter} AS json)) AS r({})", typed.join(", "))
        } else {
            let parts: Vec<String> =
                columns.iter().map(|(name, _)| format!("value ->> '{name}' AS {name}")).collect();
            format!("(SELECT {} FROM json_each({parameter})) AS r", parts.join(", "))
        }
    }

    /// What to write behind a table in FROM: joins each of its rows with each object of the JSON array in this column,
    /// which is `r.value`.
    #[must_use]
    pub fn each_in_column(&self, column: &str) -> String {
        if self.is_pg() {
            format!("CROSS JOIN LATERAL json_array_elements(CAST({column} AS json)) AS r(value)")
        } else {
            format!("CROSS JOIN json_each({column}) AS r")
        }
    }

    /// The text to bind for a list of words, which have no line breaks.
    #[must_use]
    pub fn word_list(&self, words: &[String]) -> String {
        if self.is_pg() { words.join("\n") } else { serde_json::Value::from(words).to_string() }
    }

    /// The word at this place (from 0) of the list that is bound to `parameter`. It is constant within a statement.
    #[must_use]
    pub fn word(&self, parameter: &str, place: usize) -> String {
        if self.is_pg() {
            format!("split_part({parameter}, chr(10), {})", place + 1)
        } else {
            format!("({parameter} ->> {place})")
        }
    }
}

/// Texts and bytes.
impl Conn {
    /// The function that finds a text in another one. It knows no wildcards on either database.
    #[must_use]
    pub fn find(&self) -> &'static str {
        if self.is_pg() { "strpos" } else { "instr" }
    }

    /// A condition that is true as long as the statement has time, for statements that look at many rows. PostgreSQL
    /// stops a statement by itself; SQLite has to be asked at each row.
    #[must_use]
    pub fn in_time(&self) -> &'static str {
        if self.is_pg() { "true" } else { "in_time()" }
    }

    /// A line break, as an expression.
    #[must_use]
    pub fn line_break(&self) -> &'static str {
        if self.is_pg() { "chr(10)" } else { "char(10)" }
    }

    /// A tab, as an expression.
    #[must_use]
    pub fn tab(&self) -> &'static str {
        if self.is_pg() { "chr(9)" } else { "char(9)" }
    }

    /// What to write behind a text, so that it is compared byte by byte. SQLite does that anyway; PostgreSQL would
    /// compare by the language of the database, and an order would depend on the server.
    #[must_use]
    pub fn collation(&self) -> &'static str {
        if self.is_pg() { "COLLATE \"C\"" } else { "" }
    }

    /// The bytes that the text `hex` stands for.
    #[must_use]
    pub fn bytes_of(&self, hex: &str) -> String {
        if self.is_pg() { format!("decode({hex}, 'hex')") } else { format!("unhex({hex})") }
    }
}

/// Numbers.
impl Conn {
    /// The function that returns the greatest of its arguments.
    #[must_use]
    pub fn greatest(&self) -> &'static str {
        if self.is_pg() { "GREATEST" } else { "max" }
    }
}

/// Locks. PostgreSQL locks rows. SQLite has one writer, so nobody else writes while a write transaction runs, and there
/// is nothing to lock.
impl Conn {
    /// Whether a transaction that changes rows later has to lock them first.
    #[must_use]
    pub fn locks_rows(&self) -> bool {
        self.is_pg()
    }

    /// Behind a SELECT: locks the rows that it finds until the transaction ends.
    #[must_use]
    pub fn for_update(&self) -> &'static str {
        if self.is_pg() { "FOR UPDATE" } else { "" }
    }

    /// Behind a SELECT of several tables: locks the rows that it finds in this one until the transaction ends.
    #[must_use]
    pub fn for_update_of(&self, table: &str) -> String {
        if self.is_pg() { format!("FOR UPDATE OF {table}") } else { String::new() }
    }

    /// Until this transaction ends, statements find their rows by an index in the order of its keys, and never in the
    /// order in which the rows lie. So two statements that change the same rows lock them in the same order.
    ///
    /// # Errors
    /// The database's.
    pub fn read_in_key_order(&mut self) -> Result<(), DbError> {
        if self.is_pg() {
            self.batch_execute("SET LOCAL enable_bitmapscan = off; SET LOCAL enable_seqscan = off")?;
        }
        Ok(())
    }

    /// Behind a SELECT: locks the rows that nobody else has locked, and leaves the others out.
    #[must_use]
    pub fn skip_locked(&self) -> &'static str {
        if self.is_pg() { "FOR UPDATE SKIP LOCKED" } else { "" }
    }

    /// Behind a SELECT, for rows whose key does not change: locks them, and `waiting` says what happens with the rows
    /// that somebody else has locked (empty, or `SKIP LOCKED`).
    #[must_use]
    pub fn for_no_key_update(&self, waiting: &str) -> String {
        if self.is_pg() { format!("FOR NO KEY UPDATE {waiting}") } else { String::new() }
    }

    /// Behind a SELECT: keeps the rows that it finds from being deleted and their keys from being changed, until the
    /// transaction ends. Many transactions may do so at the same time; whoever locks such a row for an update waits.
    /// `waiting` says what happens with the rows that somebody else has locked (empty, or `SKIP LOCKED`).
    #[must_use]
    pub fn for_key_share(&self, waiting: &str) -> String {
        if self.is_pg() { format!("FOR KEY SHARE {waiting}") } else { String::new() }
    }

    /// Waits until no other transaction holds the lock of this name and number, and holds it until this one ends.
    ///
    /// # Errors
    /// The database's, among them that the wait was too long.
    pub fn lock_name(&mut self, name: &str, number: i64) -> Result<(), DbError> {
        if self.is_pg() {
            statement("SELECT pg_advisory_xact_lock(hashtextextended($1, $2))")
                .bind::<Text, _>(name)
                .bind::<BigInt, _>(number)
                .execute(self)?;
        }
        Ok(())
    }

    /// A subquery with one row. Reading it waits until no other transaction holds the lock of this number, and holds it
    /// until this one ends.
    #[must_use]
    pub fn holding_number(&self, number: i64) -> String {
        if self.is_pg() {
            format!("SELECT pg_advisory_xact_lock({number}) AS held")
        } else {
            "SELECT 1 AS held".to_owned()
        }
    }

    /// Lets each statement of this transaction take no longer than this from now on. SQLite keeps the limit that it
    /// has: nothing waits inside its transactions.
    ///
    /// # Errors
    /// The database's.
    pub fn limit_statements(&mut self, at_most: Duration) -> Result<(), DbError> {
        if self.is_pg() {
            self.batch_execute(&format!("SET LOCAL statement_timeout = {}", at_most.as_millis().max(1)))?;
        }
        Ok(())
    }

    /// Waits until no other transaction holds the lock of this number, and holds it until this one ends, which may be
    /// idle for as long as it likes meanwhile: its rows may come from somebody who is slow.
    ///
    /// # Errors
    /// The database's, among them that the wait was too long.
    pub fn lock_number_unhurried(&mut self, number: i64) -> Result<(), DbError> {
        if self.is_pg() {
            self.batch_execute(&format!(
                "SELECT pg_advisory_xact_lock({number}); SET LOCAL idle_in_transaction_session_timeout = 0"
            ))?;
        }
        Ok(())
    }
}

/// The server behind a connection.
impl Conn {
    /// Whether there is a server, with settings and other clients of its own.
    pub(super) fn has_server(&self) -> bool {
        self.is_pg()
    }

    /// A query with one row and one column `yes`: whether there is a table of this name.
    pub(super) fn has_table(&self, name: &str) -> String {
        if self.is_pg() {
            format!("SELECT to_regclass('{name}') IS NOT NULL AS yes")
        } else {
            format!("SELECT COUNT(*) > 0 AS yes FROM sqlite_master WHERE name = '{name}'")
        }
    }

    /// A query with one row and one column `yes`: whether nothing can be written now, as on a replica.
    pub(super) fn is_read_only(&self) -> &'static str {
        if self.is_pg() {
            "SELECT current_setting('transaction_read_only') = 'on' AS yes"
        } else {
            "SELECT false AS yes"
        }
    }

    /// Whether this is PostgreSQL. Outside this file only two statements ask, because there the databases take
    /// different ways to one result (`store/vault/grants.rs`). What else differs gets a name of its own here.
    #[must_use]
    pub fn is_pg(&self) -> bool {
        matches!(self, Self::Pg(_))
    }
}
