//! What each target does with its bytes. The tests of batchshare run the corpus through the same functions.
//!
//! Nothing may panic. What is read, written and read again has to be the same.

use batchshare::contract;
use batchshare::contract::{Asked, Unread};
use batchshare::domain::{PrincipalId, SecretId, text};

/// The largest message that is read, as in production.
const LIMIT: usize = 2 * 1024 * 1024;

/// The name of a corpus, and the function that takes its bytes.
pub type Target = (&'static str, fn(&[u8]));

/// Every target there is.
pub const TARGETS: [Target; 5] =
    [("message", message), ("letter", letter), ("import", import), ("body", body), ("query", query)];

/// A message as it is taken. The first line of a file may be `headers:`. Then each line up to an empty one is a
/// header of the message (`name: value`); `content-type` is the property of that name.
pub fn message(bytes: &[u8]) {
    let (content_type, headers, body) = parts(bytes);
    let form = contract::structured(content_type.as_deref(), &headers, body, LIMIT);
    request(form.as_deref().unwrap_or(body));
}

/// A dead letter, which may have been any kind of message. Its reader tries each kind.
pub fn letter(bytes: &[u8]) {
    let (content_type, headers, body) = parts(bytes);
    let form = contract::structured(content_type.as_deref(), &headers, body, LIMIT);
    let body = form.as_deref().unwrap_or(body);
    request(body);
    for (_, value) in &headers {
        let _ = contract::replayed_run(value).map(|(job, run)| contract::request_message_id(job, run));
        let _ = contract::is_traceparent(value);
    }
    if let Ok(step) = contract::decode_step(body) {
        let again = contract::decode_step(&contract::encode_step(&step, ""));
        assert_eq!(again.as_ref(), Ok(&step));
    }
    let _ = contract::decode_event(body);
}

/// A line of an import.
pub fn import(bytes: &[u8]) {
    let Ok(line) = std::str::from_utf8(bytes) else { return };
    if let Err(error) = contract::decode_import_line(line) {
        short(&error.to_string());
    }
}

/// A body of HTTP: a share, an unshare, a change of a secret or a choice of a person.
pub fn body(bytes: &[u8]) {
    let Some(somebody) = PrincipalId::new(1) else { return };
    let errors = [
        contract::decode_share_data(bytes, somebody).map(drop).err(),
        contract::decode_unshare_data(bytes, somebody).map(drop).err(),
        contract::decode_secret_patch(bytes).map(drop).err(),
        contract::decode_username(bytes).map(drop).err(),
    ];
    for error in errors.into_iter().flatten() {
        short(&error.to_string());
        if let Unread::Invalid(invalid) = error {
            assert!(!invalid.field.is_empty());
        }
    }
}

/// A query as it stands behind the `?`, with each parameter that a listing takes, and the cursors.
pub fn query(bytes: &[u8]) {
    let query = match contract::Query::new(url::form_urlencoded::parse(bytes).into_owned()) {
        Ok(query) => query,
        Err(error) => {
            assert!(!error.field.is_empty());
            return short(&error.to_string());
        }
    };
    let (ids, limit) = (query.ids::<SecretId>("ids", 500), query.limit(50, 200));
    assert!(ids.as_ref().map_or(0, Vec::len) <= 500);
    assert!((1..=200).contains(limit.as_ref().unwrap_or(&1)));
    let (place, number, secret) = (query.cursor(), query.number_cursor(), query.secret_cursor());
    let again = |cursor: String| contract::Query::new([("cursor".to_owned(), cursor)]);
    if let Ok(Some(place)) = &place {
        let read = again(contract::write_cursor(place)).and_then(|query| query.cursor());
        assert_eq!(read.as_ref(), Ok(&Some(place.clone())));
    }
    if let Ok(Some(number)) = number {
        let read = again(contract::write_cursor(&number.to_string())).and_then(|query| query.number_cursor());
        assert_eq!(read, Ok(Some(number)));
    }
    if let Ok(Some((id, key))) = &secret {
        let read = again(contract::write_secret_cursor(*id, key)).and_then(|query| query.secret_cursor());
        assert_eq!(read.as_ref(), Ok(&Some((*id, key.clone()))));
    }
    let errors = [
        query.only(&["search", "tag", "shared", "sort", "ids", "limit", "cursor"]).err(),
        query.checked("search", text::search).err(),
        query.checked("tag", text::tag_search).err(),
        query.boolean("shared").err(),
        query.id::<SecretId>("user").err(),
        query.choice("sort", &[("name", 0), ("-name", 1), ("id", 2), ("-id", 3)]).err(),
        ids.err(),
        limit.err(),
        place.err(),
        number.err(),
        secret.err(),
    ];
    for error in errors.into_iter().flatten() {
        short(&error.to_string());
        assert!(!error.field.is_empty());
    }
}

fn request(body: &[u8]) {
    match contract::decode_asked(body, LIMIT) {
        // These are never written by this program.
        Ok(Asked::Order(_)) => {}
        Ok(Asked::Share(asked) | Asked::Unshare(asked)) => {
            let written = contract::encode_request(asked.job_id, &asked.request, "", 0);
            let again = contract::decode_asked(&written, usize::MAX);
            let Ok(Asked::Share(again) | Asked::Unshare(again)) = again else {
                panic!("it is no request any more: {again:?}")
            };
            assert_eq!((again.job_id, &again.request), (asked.job_id, &asked.request));
            let stored = contract::StoredRequest::of(&asked.request);
            assert_eq!(
                contract::selection_from_json(&stored.selection).as_ref(),
                Ok(&asked.request.selection)
            );
            assert_eq!(
                contract::recipients_from_json(&stored.recipients).as_ref(),
                Ok(&asked.request.recipients)
            );
        }
        Err(poison) => short(&poison.detail),
    }
}

/// A detail goes into logs and headers. So it has to be short and on one line, and must not reverse text.
fn short(detail: &str) {
    assert!(detail.chars().count() < 1_500, "{} characters", detail.len());
    let bad = |c: char| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    assert!(!detail.contains(bad), "{detail:?}");
}

fn parts(bytes: &[u8]) -> (Option<String>, Vec<(String, String)>, &[u8]) {
    let Some(rest) = bytes.strip_prefix(b"headers:\n") else { return (None, Vec::new(), bytes) };
    let end = rest.windows(2).position(|two| two == b"\n\n").unwrap_or(rest.len());
    let (head, body) = (&rest[..end], rest.get(end + 2..).unwrap_or_default());
    let text = String::from_utf8_lossy(head);
    let mut headers: Vec<(String, String)> = text
        .lines()
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let at = headers.iter().position(|(name, _)| name == "content-type");
    let content_type = at.map(|at| headers.remove(at).1);
    (content_type, headers, body)
}
