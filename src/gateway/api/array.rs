//! The answer of "select all": one JSON array, which is written while it is sent.

use crate::contract::answer;
use crate::db::DbError;
use crate::domain::PrincipalId;
use crate::store::{SecretFilter, Selectable, Selected, Store};

/// How many secrets are read from the database at once. Nearly everybody has fewer. A part that waits to be sent
/// takes a megabyte or less where ids are close together, and four megabytes at the most.
const PART: usize = 500_000;

/// How many secrets one piece of the answer has.
const PIECE: usize = 1_000;

/// An array that is being sent.
pub(super) struct Array {
    store: Store,
    user: PrincipalId,
    filter: SecretFilter,
    part: Selected,
    /// How much of it was written.
    written: Written,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Written {
    Nothing,
    Some,
    All,
}

impl Array {
    /// Reads the first part. An error here can still be answered as a problem, because nothing was sent yet.
    pub(super) async fn begin(
        store: Store,
        user: PrincipalId,
        filter: SecretFilter,
    ) -> Result<Self, DbError> {
        let part = store.selectable_secrets(user, filter.clone(), None, PART).await?;
        Ok(Self { store, user, filter, part, written: Written::Nothing })
    }

    /// The next piece of the text; `None` after the last one.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<u8>>, DbError> {
        if self.written == Written::All {
            return Ok(None);
        }
        let mut text = Vec::with_capacity(PIECE * 48 + 2);
        if self.written == Written::Nothing {
            text.push(b'[');
        }
        for _ in 0..PIECE {
            match self.item().await.inspect_err(tell)? {
                Some(item) => self.write(item, &mut text)?,
                None => {
                    text.push(b']');
                    self.written = Written::All;
                    break;
                }
            }
        }
        Ok(Some(text))
    }

    async fn item(&mut self) -> Result<Option<Selectable>, DbError> {
        loop {
            if let Some(item) = self.part.next() {
                return Ok(Some(item));
            }
            let Some(last) = self.part.more_after else { return Ok(None) };
            let next = self.store.selectable_secrets(self.user, self.filter.clone(), Some(last), PART);
            self.part = next.await?;
        }
    }

    fn write(&mut self, secret: Selectable, text: &mut Vec<u8>) -> Result<(), DbError> {
        if self.written == Written::Some {
            text.push(b',');
        }
        self.written = Written::Some;
        let item =
            answer::Selectable { id: secret.id, reason: secret.reason, shareable: secret.reason.is_none() };
        serde_json::to_writer(text, &item).map_err(|error| DbError::Corrupt(error.to_string()))
    }
}

/// Logs the error, because the answer has begun and can no longer be a problem document.
fn tell(error: &DbError) {
    tracing::warn!(%error, "an answer was cut off in the middle");
}
