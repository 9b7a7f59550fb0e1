//! SQL texts of ours as prepared statements.
//!
//! Diesel prepares a `sql_query` anew each time it runs, which is one more round trip, and PostgreSQL parses and
//! plans it again. A statement of this file is prepared once for each connection and kept there. So its text must be
//! one of a few: values are bound and never written into it.

use std::borrow::Cow;
use std::marker::PhantomData;

use diesel::backend::Backend;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::result::Error::QueryBuilderError;
use diesel::serialize::ToSql;
use diesel::sql_types::{HasSqlType, Untyped};
use diesel::{QueryResult, RunQueryDsl};

/// A text with its values; run it like a `sql_query`.
#[must_use = "a statement does nothing until it is run"]
pub struct Statement<B> {
    sql: Cow<'static, str>,
    values: B,
}

/// A statement of this text. `$1`, `$2` … stand for the values that are bound next, in this order. Each may be used
/// anywhere, and more than once.
pub fn statement(sql: impl Into<Cow<'static, str>>) -> Statement<()> {
    Statement { sql: sql.into(), values: () }
}

impl<B> Statement<B> {
    /// Binds the next value.
    pub fn bind<ST, V>(self, value: V) -> Statement<Bound<B, ST, V>> {
        let values = Bound { before: self.values, value, sql_type: PhantomData };
        Statement { sql: self.sql, values }
    }
}

/// Values, and one more.
pub struct Bound<B, ST, V> {
    before: B,
    value: V,
    sql_type: PhantomData<ST>,
}

/// Values by their number.
pub trait Values<DB: Backend> {
    const COUNT: usize;
    /// Pushes the value of this number, from 1; false where there is none.
    ///
    /// # Errors
    /// The value cannot be written.
    fn push<'b>(&'b self, number: usize, out: AstPass<'_, 'b, DB>) -> QueryResult<bool>;
}

impl<DB: Backend> Values<DB> for () {
    const COUNT: usize = 0;

    fn push<'b>(&'b self, _: usize, _: AstPass<'_, 'b, DB>) -> QueryResult<bool> {
        Ok(false)
    }
}

impl<DB, B, ST, V> Values<DB> for Bound<B, ST, V>
where
    DB: Backend + HasSqlType<ST>,
    B: Values<DB>,
    V: ToSql<ST, DB>,
{
    const COUNT: usize = B::COUNT + 1;

    fn push<'b>(&'b self, number: usize, mut out: AstPass<'_, 'b, DB>) -> QueryResult<bool> {
        if number == Self::COUNT {
            return out.push_bind_param(&self.value).map(|()| true);
        }
        self.before.push(number, out)
    }
}

impl<DB: Backend, B: Values<DB>> QueryFragment<DB> for Statement<B> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        let mut pieces = self.sql.split('$');
        out.push_sql(pieces.next().unwrap_or_default());
        for piece in pieces {
            let digits = piece.len() - piece.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            let (number, rest) = piece.split_at(digits);
            if !self.values.push(number.parse().unwrap_or(0), out.reborrow())? {
                let error = format!("no value is bound to ${number} of: {}", self.sql);
                return Err(QueryBuilderError(error.into()));
            }
            out.push_sql(rest);
        }
        Ok(())
    }
}

impl<B> QueryId for Statement<B> {
    type QueryId = ();
    // The text is what tells statements apart.
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<B> Query for Statement<B> {
    type SqlType = Untyped;
}

impl<B, Conn> RunQueryDsl<Conn> for Statement<B> {}
