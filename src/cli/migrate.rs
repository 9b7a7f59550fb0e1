//! `batchshare migrate`: brings the database up to date.

use crate::cli::{Code, Failure, open, out};
use crate::config::Settings;
use crate::db::create_file;
use crate::store;

pub(super) async fn run(settings: &Settings) -> Result<Code, Failure> {
    let db = open::database(settings)?;
    create_file(&db)?;
    open::patiently(&db, async || db.ping().await).await?;
    let applied = store::migrate(&db).await?;
    for name in &applied {
        out::line(name)?;
    }
    out::message(&match applied.len() {
        0 => format!("{} is up to date already", db.target()),
        count => format!("{}: {count} migrations applied", db.target()),
    });
    Ok(Code::Done)
}
