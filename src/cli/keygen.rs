//! `batchshare keygen`: prints a new key for client secrets.

use crate::cli::{Code, Failure, out};
use crate::vault::VaultKey;

pub(super) fn run() -> Result<Code, Failure> {
    let key = VaultKey::generate_base64().map_err(|error| Failure::failed(error.to_string()))?;
    out::line(key.as_str())?;
    Ok(Code::Done)
}
