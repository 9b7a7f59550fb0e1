//! What the recipients of a share are told: its note.

mod note;
