//! What a publisher may write and lapin's parser calls invalid, made valid.
//!
//! RabbitMQ passes a message's properties and headers on as they came. lapin ends the connection on a text
//! that is not UTF-8, on a frame over the size agreed, and runs out of stack on tables in tables in tables; and
//! all queues share the connection. So here each frame with such texts is looked through, and what the parser would
//! refuse is replaced, in place: a frame never grows.
//!
//! - A byte that is no UTF-8 becomes `?`: in properties, names of headers, routing key and exchange.
//! - A table or array that is too deep, has too many values, or cannot be read, becomes a value of bytes (`x`).
//! - Headers of which there are too many, or that make the frame too large, are left out; what RabbitMQ itself
//!   wrote about a dead letter, and what we write, comes first.

/// Tables within tables: a sender's own headers have one or two, RabbitMQ's `x-death` two.
const DEPTH: u8 = 8;
/// Values in the headers of one message. lapin needs about 100 bytes for each, and holds many messages.
const VALUES: usize = 512;
/// Bytes of a header that stays where the frame is over its size.
const SMALL: usize = 2048;
/// What stays if there are too many headers.
const OURS: [&[u8]; 4] = [b"x-death", b"x-first-death-", b"x-batchshare-", b"traceparent"];

/// Bytes of a content header before its properties: class, weight, the body's size, the flags.
const FIXED: usize = 14;
const FLAGS: usize = 12;

/// What became of a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Outcome {
    /// Bytes that are left of it.
    pub(super) len: usize,
    pub(super) mended: bool,
}

/// Mends the payload of a content header, so that it has `most` bytes at most (which must be 4,000 or more) and
/// lapin can read it. A payload too short to tell the body's size is left as it is: no server sends one.
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

/// Mends the properties; of the headers only those stay that have `largest` bytes at most.
fn properties(payload: &mut [u8], largest: usize) -> Outcome {
    let mut len = payload.len();
    let mut mended = false;
    let flags = u16::from_be_bytes([payload[FLAGS], payload[FLAGS + 1]]);
    let mut at = FIXED;
    for bit in (2..16_u32).rev().filter(|bit| flags & (1 << bit) != 0) {
        let end = match bit {
            // Delivery mode and priority; the timestamp.
            12 | 11 => at + 1,
            6 => at + 8,
            13 => {
                let Some(end) = long_end(&payload[..len], at) else { return without(payload) };
                let table = headers(&mut payload[at + 4..end], largest);
                mended |= table.mended;
                // In 32 bits, since it is no more than it was.
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
    // Two bits are of no property, and what follows the last one is of nobody.
    if flags & 3 != 0 || at < len {
        payload[FLAGS + 1] &= !3;
        mended = true;
    }
    Outcome { len: at, mended }
}

/// The content header without any property, where they cannot be told apart.
fn without(payload: &mut [u8]) -> Outcome {
    payload[FLAGS..FIXED].fill(0);
    Outcome { len: FIXED, mended: true }
}

/// Mends the table of the headers.
fn headers(table: &mut [u8], largest: usize) -> Outcome {
    let (mut read, mut write, mut mended) = (0, 0, false);
    let (mut budget, mut own_budget) = (VALUES, VALUES);
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
            write += end - read;
        }
        mended |= !stays;
        read = end;
    }
    // What could not be read is left out, and all that follows it.
    Outcome { len: write, mended: mended || read < table.len() }
}

/// Walks over the values of a table.
struct Values<'a> {
    bytes: &'a mut [u8],
    /// Values that there may still be within tables and arrays.
    budget: &'a mut usize,
    mended: bool,
}

impl Values<'_> {
    /// Where the value ends whose type stands at `at`; nothing where that cannot be told.
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
                    // The same length and then bytes, which nobody looks into.
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

    /// Whether a table or array can be read whole.
    fn within(&mut self, from: usize, to: usize, named: bool, depth: u8) -> bool {
        let mut at = from;
        while at < to {
            if *self.budget == 0 {
                return false;
            }
            *self.budget -= 1;
            if named {
                let Some(end) = short_end(&self.bytes[..to], at) else { return false };
                self.mended |= text(&mut self.bytes[at + 1..end]);
                at = end;
            }
            match self.value(at, depth) {
                Some(end) if end <= to => at = end,
                _ => return false,
            }
        }
        true
    }
}

/// Mends the texts of a method that tells of a message: where it comes from is its publisher's to choose, too (with
/// the header `CC`, a routing key need not be one that leads to our queue).
pub(super) fn method(payload: &mut [u8]) -> bool {
    let (fixed, texts): (&[usize], usize) = match payload {
        // basic.return: a code; a reason, the exchange and the key.
        [0, 60, 0, 50, ..] => (&[6], 3),
        // basic.deliver: the consumer; a tag and a bit; the exchange and the key.
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

/// Where a short string at `at` ends: its length is one byte.
fn short_end(bytes: &[u8], at: usize) -> Option<usize> {
    let end = at + 1 + usize::from(*bytes.get(at)?);
    (end <= bytes.len()).then_some(end)
}

/// Where bytes with their length in four before them end.
fn long_end(bytes: &[u8], at: usize) -> Option<usize> {
    let size = bytes.get(at..at.checked_add(4)?)?;
    let size = u32::from_be_bytes([size[0], size[1], size[2], size[3]]);
    let end = (at + 4).checked_add(usize::try_from(size).ok()?)?;
    (end <= bytes.len()).then_some(end)
}

/// Replaces what is no UTF-8, byte by byte. Whether there was any.
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
mod tests {
    use lapin::protocol::basic;
    use lapin::types::AMQPValue;
    use proptest::prelude::*;

    use super::*;

    const MOST: usize = 131_072 - 8;

    /// What lapin's own parser makes of it; it must read all of it.
    fn parsed(payload: &[u8]) -> Option<basic::AMQPProperties> {
        let (rest, properties) = basic::parse_properties(&payload[FLAGS..]).ok()?;
        rest.is_empty().then_some(properties)
    }

    fn mended(mut payload: Vec<u8>) -> (Vec<u8>, bool) {
        let outcome = content_header(&mut payload, MOST);
        payload.truncate(outcome.len);
        (payload, outcome.mended)
    }

    fn payload(flags: u16, properties: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7];
        bytes.extend(flags.to_be_bytes());
        bytes.extend(properties);
        bytes
    }

    fn long(bytes: &[u8]) -> Vec<u8> {
        let mut all = u32::try_from(bytes.len()).expect("small").to_be_bytes().to_vec();
        all.extend(bytes);
        all
    }

    fn entry(name: &[u8], kind: u8, value: &[u8]) -> Vec<u8> {
        let mut all = vec![u8::try_from(name.len()).expect("short")];
        all.extend(name);
        all.push(kind);
        all.extend(value);
        all
    }

    /// Values of every kind, right and wrong, in tables and arrays.
    fn value() -> impl Strategy<Value = Vec<u8>> {
        let bytes = prop::collection::vec(any::<u8>(), 0..12);
        let kinds = prop::sample::select(b"tbBsUuIifDlLdTVSxAFqz\0".to_vec());
        let leaf = prop_oneof![
            (kinds, bytes.clone()).prop_map(|(kind, bytes)| [vec![kind], bytes].concat()),
            (prop::sample::select(b"SxAF".to_vec()), bytes).prop_map(|(kind, bytes)| [
                vec![kind],
                long(&bytes)
            ]
            .concat()),
            prop::sample::select(vec![
                b"V".to_vec(),
                b"t\x01".to_vec(),
                b"s\0\x01".to_vec(),
                b"I\0\0\0\x01".to_vec(),
                b"D\x01\0\0\0\x01".to_vec(),
                b"l\0\0\0\0\0\0\0\x01".to_vec(),
            ]),
        ];
        leaf.prop_recursive(12, 64, 4, |inner| {
            let name = prop::collection::vec(any::<u8>(), 0..6);
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4)
                    .prop_map(|all| [vec![b'A'], long(&all.concat())].concat()),
                prop::collection::vec((name, inner), 0..4).prop_map(|all| {
                    let all: Vec<u8> =
                        all.into_iter().flat_map(|(name, of)| entry(&name, of[0], &of[1..])).collect();
                    [vec![b'F'], long(&all)].concat()
                }),
            ]
        })
    }

    fn some_properties() -> impl Strategy<Value = Vec<u8>> {
        let short = prop::collection::vec(any::<u8>(), 0..40)
            .prop_map(|text| entry(&text[1.min(text.len())..], 0, b""));
        let table = prop::collection::vec((prop::collection::vec(any::<u8>(), 0..9), value()), 0..6);
        (any::<u16>(), prop::collection::vec(short, 14), table, prop::collection::vec(any::<u8>(), 0..4))
            .prop_map(|(flags, shorts, table, more)| {
                let table: Vec<u8> =
                    table.into_iter().flat_map(|(name, of)| entry(&name, of[0], &of[1..])).collect();
                let mut bytes = Vec::new();
                for bit in (2..16_u16).rev().filter(|bit| flags & (1 << bit) != 0) {
                    match bit {
                        13 => bytes.extend(long(&table)),
                        12 | 11 => bytes.push(2),
                        6 => bytes.extend([9; 8]),
                        // Without the type's letter that `entry` puts behind a name.
                        _ => bytes.extend(shorts[usize::from(bit) - 2].split_last().expect("some").1),
                    }
                }
                bytes.extend(more);
                payload(flags, &bytes)
            })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn whatever_bytes_arrive_lapin_reads_them_once_mended(
            bytes in prop_oneof![
                some_properties(),
                prop::collection::vec(any::<u8>(), FIXED..300),
                (some_properties(), any::<prop::sample::Index>(), any::<u8>()).prop_map(|(mut bytes, at, with)| {
                    let at = at.index(bytes.len());
                    bytes[at] = with;
                    bytes
                }),
            ]
        ) {
            let before = parsed(&bytes);
            let (after, touched) = mended(bytes.clone());
            prop_assert!(parsed(&after).is_some(), "{bytes:?} became {after:?}");
            prop_assert_eq!(&after[..FLAGS], &bytes[..FLAGS]);
            prop_assert_eq!(touched, after != bytes);
            // What lapin reads as it is stays as it is, but for depth and count, which these do not reach.
            if let Some(before) = before && bytes[FLAGS + 1] & 3 == 0 {
                prop_assert_eq!(Some(before), parsed(&after));
            }
            prop_assert!(!mended(after).1, "once is enough");
        }
    }

    #[test]
    fn each_byte_that_is_no_text_becomes_a_question_mark() {
        for (from, to) in [
            (&b"plain"[..], "plain"),
            ("jo\u{e3}o".as_bytes(), "jo\u{e3}o"),
            (b"\xff\xfeab\xc3", "??ab?"),
            (b"\xe2\x82", "??"),
            (b"a\xf0\x9f\x98b", "a???b"),
            (b"", ""),
        ] {
            let short = entry(from, b'V', b"");
            let (after, _) = mended(payload(1 << 7, &short[..short.len() - 1]));
            let properties = parsed(&after).expect("properties");
            assert_eq!(properties.message_id().as_ref().expect("an id").as_str(), to);
            let (after, _) = mended(payload(1 << 13, &long(&short)));
            let headers = parsed(&after).expect("properties").headers().clone().expect("headers");
            assert_eq!(headers.inner().keys().map(|name| name.as_str()).collect::<Vec<_>>(), [to]);
        }
    }

    fn headers_of(table: &[u8], most: usize) -> (std::collections::BTreeMap<String, AMQPValue>, usize) {
        let mut bytes = payload(1 << 13, &long(table));
        let outcome = content_header(&mut bytes, most);
        let properties = parsed(&bytes[..outcome.len]).expect("properties");
        let headers = properties.headers().clone().expect("headers");
        (headers.inner().iter().map(|(name, value)| (name.to_string(), value.clone())).collect(), outcome.len)
    }

    #[test]
    fn what_is_nested_too_deep_is_bytes() {
        let (mut table, mut array) = (entry(b"a", b'V', b""), vec![b'V']);
        for _ in 0..20_000 {
            table = entry(b"", b'F', &long(&table));
            array = [vec![b'A'], long(&array)].concat();
            if table.len() > 120_000 {
                break;
            }
        }
        for deep in [table, entry(b"a", array[0], &array[1..])] {
            let (headers, _) = headers_of(&deep, MOST);
            assert_eq!(headers.len(), 1);
        }
    }

    #[test]
    fn of_too_many_headers_the_brokers_stay() {
        let mut table: Vec<u8> =
            (0..20_000_u16).flat_map(|number| entry(&number.to_be_bytes(), b'V', b"")).collect();
        table.extend(entry(b"many", b'A', &long(&[b'V'; 20_000])));
        table.extend(entry(
            b"x-death",
            b'A',
            &long(&[&b"F"[..], &long(&entry(b"queue", b'S', &long(b"q")))].concat()),
        ));
        let (headers, _) = headers_of(&table, MOST);
        assert!(headers.len() <= VALUES + 1, "{}", headers.len());
        assert!(matches!(headers.get("x-death"), Some(AMQPValue::FieldArray(_))));
        assert!(!headers.contains_key("many"), "it came after too many");
    }

    /// RabbitMQ writes `x-death` into headers that filled their frame already, and sends the frame larger than agreed.
    #[test]
    fn a_frame_that_is_too_large_loses_its_large_headers_first() {
        let mut table = entry(b"large", b'S', &long(&[b'x'; 130_000]));
        table.extend(entry(b"small", b'S', &long(b"x")));
        table.extend(entry(b"x-death", b'A', &long(b"V")));
        let (headers, size) = headers_of(&table, 130_000);
        assert_eq!(headers.keys().collect::<Vec<_>>(), ["small", "x-death"]);
        assert!(size < 200);
        let many: Vec<u8> =
            (0..500_u16).flat_map(|number| entry(&number.to_be_bytes(), b'S', &long(&[b'x'; 300]))).collect();
        let (headers, size) = headers_of(&many, 130_000);
        assert!(headers.is_empty() && size < 200);
    }

    #[test]
    fn a_routing_key_of_a_delivery_is_text() {
        let mut deliver = b"\0\x3c\0\x3c\x03tag\0\0\0\0\0\0\0\x01\0\x04jobs\x03a\xffb".to_vec();
        assert!(method(&mut deliver));
        assert!(deliver.ends_with(b"\x04jobs\x03a?b"));
        assert!(!method(&mut deliver));
        let mut back = b"\0\x3c\0\x32\x01\x38\x02no\x02\xfe\xfe\x01k".to_vec();
        assert!(method(&mut back));
        assert!(back.ends_with(b"\x02no\x02??\x01k"));
        for cut in 0..deliver.len() {
            method(&mut deliver[..cut].to_vec());
        }
    }
}
