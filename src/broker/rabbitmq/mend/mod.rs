//! Makes valid what a publisher may write and lapin's parser calls invalid.
//!
//! RabbitMQ passes the properties and headers of a message on as they came. lapin ends the connection over a text
//! that is not UTF-8, or a frame that is larger than agreed, and tables in tables in tables overflow its stack; and
//! all queues share the connection. So each frame with such texts is looked through here, and what the parser would
//! refuse is replaced in place: a frame never grows.
//!
//! - A byte that is not UTF-8 becomes `?`, in properties, names of headers, routing key and exchange.
//! - A table or array that is too deep, has too many values, or cannot be read, becomes a value of bytes (`x`).
//! - Headers are left out if there are too many, or if they make the frame too large. What RabbitMQ itself wrote about
//!   a dead letter, and what we write, stays before all others.
//! - Of a name that is twice in a table, RabbitMQ reads the first and lapin keeps the last: what a publisher wrote would
//!   hide what RabbitMQ wrote about a death. So the later ones are left out or renamed.

mod twice;

/// How deep tables within tables may be: a sender's own headers have one or two levels, and RabbitMQ's `x-death` has
/// two.
const DEPTH: u8 = 8;
/// So many values may be in the headers of one message. lapin needs about 100 bytes for each, and holds many
/// messages.
const VALUES: usize = 512;
/// A header of at most so many bytes stays in a frame that is too large.
const SMALL: usize = 2048;
/// The headers that stay if there are too many.
const OURS: [&[u8]; 4] = [b"x-death", b"x-first-death-", b"x-batchshare-", b"traceparent"];

/// So many bytes of a content header come before its properties: class, weight, size of the body, flags.
const FIXED: usize = 14;
const FLAGS: usize = 12;

/// How a payload was mended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Outcome {
    /// So many bytes are left of it.
    pub(super) len: usize,
    pub(super) mended: bool,
}

/// Mends the payload of a content header, so that lapin can read it and it has `most` bytes at most (`most` must be
/// 4,000 or more). A payload that is too short to tell the size of the body is left as it is: no server sends one.
pub(super) fn content_header(payload: &mut [u8], most: usize) -> Outcome {
    let whole = payload.len();
    if whole < FIXED {
        return Outcome { len: whole, mended: false };
    }
    let mut outcome = properties(payload, usize::MAX);
    for largest in [SMALL, 0] {
        if outcome.len > most {
            outcome = Outcome { mended: true, ..properties(&mut payload[..outcome.len], largest) };
        }
    }
    outcome
}

/// Mends the properties. Only the headers that have `largest` bytes at most stay.
fn properties(payload: &mut [u8], largest: usize) -> Outcome {
    let mut len = payload.len();
    let mut mended = false;
    let flags = u16::from_be_bytes([payload[FLAGS], payload[FLAGS + 1]]);
    let mut at = FIXED;
    for bit in (2..16_u32).rev().filter(|bit| flags & (1 << bit) != 0) {
        let end = match bit {
            // These are delivery mode and priority, and the timestamp.
            12 | 11 => at + 1,
            6 => at + 8,
            13 => {
                let Some(end) = long_end(&payload[..len], at) else { return without(payload) };
                let table = headers(&mut payload[at + 4..end], largest);
                mended |= table.mended;
                // The length fits 32 bits, since it is no more than it was.
                let size = u32::try_from(table.len).unwrap_or(0);
                payload[at..at + 4].copy_from_slice(&size.to_be_bytes());
                payload.copy_within(end..len, at + 4 + table.len);
                len -= end - (at + 4 + table.len);
                at + 4 + table.len
            }
            _ => {
                let Some(end) = short_end(&payload[..len], at) else { return without(payload) };
                mended |= text(&mut payload[at + 1..end]);
                end
            }
        };
        if end > len {
            return without(payload);
        }
        at = end;
    }
    // Two bits belong to no property, and what follows the last property belongs to nobody.
    if flags & 3 != 0 || at < len {
        payload[FLAGS + 1] &= !3;
        mended = true;
    }
    Outcome { len: at, mended }
}

/// The content header without any property, for properties that cannot be told apart.
fn without(payload: &mut [u8]) -> Outcome {
    payload[FLAGS..FIXED].fill(0);
    Outcome { len: FIXED, mended: true }
}

/// Mends the table of the headers.
fn headers(table: &mut [u8], largest: usize) -> Outcome {
    let (mut read, mut write, mut mended) = (0, 0, false);
    let (mut budget, mut own_budget) = (VALUES, VALUES);
    let mut entries = Vec::new();
    while read < table.len() {
        let Some(name_end) = short_end(table, read) else { break };
        let is_own = OURS.iter().any(|own| table[read + 1..name_end].starts_with(own));
        let budget = if is_own { &mut own_budget } else { &mut budget };
        mended |= text(&mut table[read + 1..name_end]);
        let mut value = Values { bytes: table, budget, mended };
        let end = value.value(name_end, 0);
        mended = value.mended;
        let Some(end) = end else { break };
        let stays = *budget > 0 && end - read <= largest;
        *budget = budget.saturating_sub(1);
        if stays {
            table.copy_within(read..end, write);
            entries.push(write..write + name_end - read);
            write += end - read;
        }
        mended |= !stays;
        read = end;
    }
    let once = twice::left_out(&mut table[..write], entries);
    // What could not be read is left out, with all that follows it.
    Outcome { len: once, mended: mended || once < write || read < table.len() }
}

/// Walks over the values of a table.
struct Values<'a> {
    bytes: &'a mut [u8],
    /// So many more values may be within tables and arrays.
    budget: &'a mut usize,
    mended: bool,
}

impl Values<'_> {
    /// Where the value ends whose type is at `at`; `None` if that cannot be told.
    fn value(&mut self, at: usize, depth: u8) -> Option<usize> {
        let start = at + 1;
        let end = match *self.bytes.get(at)? {
            b'V' => start,
            b't' | b'b' | b'B' => start + 1,
            b's' | b'U' | b'u' => start + 2,
            b'I' | b'i' | b'f' => start + 4,
            b'D' => start + 5,
            b'l' | b'L' | b'd' | b'T' => start + 8,
            b'S' | b'x' => long_end(self.bytes, start)?,
            kind @ (b'A' | b'F') => {
                let end = long_end(self.bytes, start)?;
                let before = *self.budget;
                if depth == DEPTH || !self.within(start + 4, end, kind == b'F', depth + 1) {
                    // It becomes a value of bytes of the same length, which nobody looks into.
                    self.bytes[at] = b'x';
                    self.mended = true;
                    *self.budget = before;
                }
                end
            }
            _ => return None,
        };
        (end <= self.bytes.len()).then_some(end)
    }

    /// Whether both lapin and RabbitMQ can read a table or array whole.
    fn within(&mut self, from: usize, to: usize, named: bool, depth: u8) -> bool {
        let mut at = from;
        let mut names = Vec::new();
        while at < to {
            if *self.budget == 0 {
                return false;
            }
            *self.budget -= 1;
            if named {
                let Some(end) = short_end(&self.bytes[..to], at) else { return false };
                self.mended |= text(&mut self.bytes[at + 1..end]);
                names.push(at + 1..end);
                at = end;
            }
            match self.value(at, depth) {
                Some(end) if end <= to => at = end,
                _ => return false,
            }
        }
        let renamed = twice::renamed(self.bytes, names);
        self.mended |= renamed != Some(false);
        renamed.is_some()
    }
}

/// Mends the texts of a method that tells of a message. Its publisher chooses where it says that it comes from, too:
/// with the header `CC`, a routing key need not be one that leads to our queue.
pub(super) fn method(payload: &mut [u8]) -> bool {
    let (fixed, texts): (&[usize], usize) = match payload {
        // basic.return has a code, then a reason, the exchange and the key.
        [0, 60, 0, 50, ..] => (&[6], 3),
        // basic.deliver has the consumer, then a tag and a bit, then the exchange and the key.
        [0, 60, 0, 60, ..] => (&[4, 9], 2),
        _ => return false,
    };
    let mut at = fixed[0];
    let mut mended = false;
    if let [_, between] = fixed {
        let Some(end) = short_end(payload, at) else { return false };
        at = end + between;
    }
    for _ in 0..texts {
        let Some(end) = short_end(payload, at) else { return mended };
        mended |= text(&mut payload[at + 1..end]);
        at = end;
    }
    mended
}

/// Where a short string at `at` ends. Its first byte is its length.
fn short_end(bytes: &[u8], at: usize) -> Option<usize> {
    let end = at + 1 + usize::from(*bytes.get(at)?);
    (end <= bytes.len()).then_some(end)
}

/// Where bytes end whose length is in the four bytes before them.
fn long_end(bytes: &[u8], at: usize) -> Option<usize> {
    let size = bytes.get(at..at.checked_add(4)?)?;
    let size = u32::from_be_bytes([size[0], size[1], size[2], size[3]]);
    let end = (at + 4).checked_add(usize::try_from(size).ok()?)?;
    (end <= bytes.len()).then_some(end)
}

/// Replaces what is not UTF-8, byte by byte. Returns whether there was any.
fn text(bytes: &mut [u8]) -> bool {
    let mut from = 0;
    let mut mended = false;
    while let Err(error) = std::str::from_utf8(&bytes[from..]) {
        let start = from + error.valid_up_to();
        let end = error.error_len().map_or(bytes.len(), |length| start + length);
        bytes[start..end].fill(b'?');
        (from, mended) = (end, true);
    }
    mended
}

#[cfg(test)]
mod tests;
