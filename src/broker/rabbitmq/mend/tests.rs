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
        (prop::sample::select(b"SxAF".to_vec()), bytes)
            .prop_map(|(kind, bytes)| [vec![kind], long(&bytes)].concat()),
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
    let short =
        prop::collection::vec(any::<u8>(), 0..40).prop_map(|text| entry(&text[1.min(text.len())..], 0, b""));
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
        // What lapin reads as it is stays as it is, but for depth and count, which these do not reach, and for names
        // that stand twice.
        if let Some(before) = before && bytes[FLAGS + 1] & 3 == 0 && !has_doubled(&bytes) {
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
        (0..500).flat_map(|number| entry(number.to_string().as_bytes(), b'S', &long(&[b'x'; 300]))).collect();
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

/// A value in which names stand twice, with few names so that they often do.
fn with_doubled() -> impl Strategy<Value = Vec<u8>> {
    let leaf = any::<u8>().prop_map(|number| vec![b'B', number]);
    leaf.prop_recursive(5, 48, 6, |inner| {
        let table = doubled_table(inner.clone());
        prop_oneof![
            prop::collection::vec(inner, 0..4).prop_map(|all| [vec![b'A'], long(&all.concat())].concat()),
            table.prop_map(|all| [vec![b'F'], long(&all)].concat()),
        ]
    })
}

fn doubled_table(value: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    // The first names that would be given instead are among them.
    let names: [&[u8]; 9] = [b"", b"a", b"!", b"\"", b"queue", b"????!", b"????\"", b"reason", b"x-death"];
    prop::collection::vec((prop::sample::select(names.to_vec()), value), 0..7)
        .prop_map(|all| all.into_iter().flat_map(|(name, of)| entry(name, of[0], &of[1..])).collect())
}

/// The first of each name alone, in bytes of their own; and whether a name without a byte stood twice within a table,
/// for which there is no other.
fn first_ones(table: &[u8]) -> (Vec<u8>, bool) {
    let (mut at, mut seen, mut all, mut nameless) = (0, std::collections::HashSet::new(), Vec::new(), false);
    while at < table.len() {
        let value = short_end(table, at).expect("a name");
        let name = &table[at + 1..value];
        let (of, end) = first_values(table, value);
        if seen.insert(name.to_vec()) {
            all.extend(entry(name, of[0], &of[1..]));
        } else {
            nameless |= name.is_empty();
        }
        at = end;
    }
    (all, nameless)
}

/// Whether a name stands twice in a table of the headers, which lapin can read.
fn has_doubled(payload: &[u8]) -> bool {
    let flags = payload[FLAGS];
    // Two texts may come before them.
    let at = [7, 6]
        .into_iter()
        .filter(|bit| flags & (1 << bit) != 0)
        .fold(FIXED, |at, _| short_end(payload, at).expect("a text"));
    if flags & (1 << 5) == 0 {
        return false;
    }
    let table = &payload[at + 4..long_end(payload, at).expect("a size")];
    first_ones(table).0 != table
}

fn first_values(bytes: &[u8], at: usize) -> (Vec<u8>, usize) {
    let fixed = match bytes[at] {
        b'V' => Some(0),
        b't' | b'b' | b'B' => Some(1),
        b's' | b'U' | b'u' => Some(2),
        b'I' | b'i' | b'f' => Some(4),
        b'D' => Some(5),
        b'l' | b'L' | b'd' | b'T' => Some(8),
        _ => None,
    };
    let end = fixed.map(|size| at + 1 + size).or_else(|| long_end(bytes, at + 1)).expect("a size");
    if !b"AF".contains(&bytes[at]) {
        return (bytes[at..end].to_vec(), end);
    }
    let within = &bytes[at + 5..end];
    if bytes[at] == b'F' {
        let (first, nameless) = first_ones(within);
        let same = if nameless { [vec![b'x'], long(within)] } else { [vec![b'F'], long(&first)] };
        return (same.concat(), end);
    }
    let (mut from, mut all) = (0, Vec::new());
    while from < within.len() {
        let (of, next) = first_values(within, from);
        all.extend(of);
        from = next;
    }
    ([vec![b'A'], long(&all)].concat(), end)
}

/// Whether each value that is expected is there. What became bytes may have been mended within before that.
fn has_all(expected: &AMQPValue, found: &AMQPValue) -> bool {
    match (expected, found) {
        (AMQPValue::FieldTable(expected), AMQPValue::FieldTable(found)) => expected
            .inner()
            .iter()
            .all(|(name, of)| found.inner().get(name).is_some_and(|it| has_all(of, it))),
        (AMQPValue::FieldArray(expected), AMQPValue::FieldArray(found)) => {
            let (expected, found) = (expected.as_slice(), found.as_slice());
            expected.len() == found.len() && expected.iter().zip(found).all(|(of, it)| has_all(of, it))
        }
        (AMQPValue::ByteArray(_), AMQPValue::ByteArray(_)) => true,
        (expected, found) => expected == found,
    }
}

fn headers_in(payload: &[u8]) -> AMQPValue {
    AMQPValue::FieldTable(parsed(payload).expect("properties").headers().clone().expect("headers"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn of_a_name_that_stands_twice_lapin_reads_the_first(table in doubled_table(with_doubled())) {
        let (after, touched) = mended(payload(1 << 13, &long(&table)));
        let (first, _) = first_ones(&table);
        let (expected, found) = (headers_in(&payload(1 << 13, &long(&first))), headers_in(&after));
        prop_assert!(has_all(&expected, &found), "{expected:?} became {found:?}");
        prop_assert_eq!(touched, first != table, "what has no name twice stays as it is");
        prop_assert!(!mended(after).1, "once is enough");
    }
}

/// The worst of it: all the values that there may be have one name, at each of two levels.
#[test]
fn a_name_that_stands_five_hundred_times_is_read_once_and_costs_little() {
    let began = std::time::Instant::now();
    for name in [&b""[..], b"n", b"na", &[b'n'; 250]] {
        let many: Vec<u8> = (0..500_u16).flat_map(|at| entry(name, b'u', &at.to_be_bytes())).collect();
        let (headers, _) = headers_of(&[entry(b"in", b'F', &long(&many)), many].concat(), 400_000);
        assert_eq!(headers.len(), 2);
        assert_eq!(headers[std::str::from_utf8(name).expect("text")], AMQPValue::ShortUInt(0));
        match &headers["in"] {
            AMQPValue::FieldTable(table) => {
                assert_eq!(table.inner().len(), 500);
                let name = std::str::from_utf8(name).expect("text");
                assert_eq!(table.inner().get(name), Some(&AMQPValue::ShortUInt(0)));
            }
            // There are not so many names of a byte or none.
            bytes => assert!(name.len() < 2 && matches!(bytes, AMQPValue::ByteArray(_)), "{bytes:?}"),
        }
    }
    assert!(began.elapsed() < std::time::Duration::from_secs(2), "{:?}", began.elapsed());
}
