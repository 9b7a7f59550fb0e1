//! The export of a job's report as text: a line for every pair, as CSV or as JSON Lines.

use std::borrow::Cow;
use std::sync::Arc;

use serde::Serialize;

use crate::domain::names::names;
use crate::domain::report::{Holding, PairResult, ReportPart, ReportRecipient};
use crate::domain::{Permission, PrincipalKind, RejectReason};

/// The form of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExportFormat {
    /// RFC 4180 in UTF-8, with a byte order mark, without which spreadsheets take it for another encoding.
    Csv,
    /// A JSON object on each line.
    Jsonl,
}

names!(ExportFormat { Csv = "csv", Jsonl = "jsonl" });

impl ExportFormat {
    /// The value of `Content-Type`.
    #[must_use]
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Csv => "text/csv; charset=utf-8; header=present",
            Self::Jsonl => "application/x-ndjson",
        }
    }
}

/// The columns of CSV, which are the fields of JSON, too.
const COLUMNS: [&str; 9] = [
    "secret_id",
    "secret_name",
    "recipient_kind",
    "recipient_id",
    "recipient_name",
    "permission",
    "outcome",
    "reason",
    "now",
];

/// The byte order mark of UTF-8.
const MARK: &[u8] = "\u{feff}".as_bytes();

/// The most pairs that are written at once.
const PIECE: usize = 1_000;

/// A line of JSON Lines. The fields stand in the order of their names.
#[derive(Serialize)]
struct Line<'a> {
    now: Option<Holding>,
    outcome: PairResult,
    permission: Permission,
    reason: Option<RejectReason>,
    recipient_id: i64,
    recipient_kind: PrincipalKind,
    recipient_name: Option<&'a str>,
    secret_id: i64,
    secret_name: Option<&'a str>,
}

/// Writes the parts of a report as text, piece by piece.
pub struct ExportText {
    format: ExportFormat,
    recipients: Arc<[ReportRecipient]>,
    /// The cells of each recipient in CSV: kind, id, name, permission.
    cells: Vec<[String; 4]>,
    begun: bool,
    part: ReportPart,
    /// How many pairs of the part were written.
    written: usize,
}

impl ExportText {
    #[must_use]
    pub fn new(format: ExportFormat, recipients: Arc<[ReportRecipient]>) -> Self {
        let cells = |of: &ReportRecipient| {
            [
                of.recipient.kind.as_str().to_owned(),
                of.recipient.id.to_string(),
                harmless(of.name.as_deref().unwrap_or_default()).into_owned(),
                of.recipient.permission.as_str().to_owned(),
            ]
        };
        let cells = match format {
            ExportFormat::Csv => recipients.iter().map(cells).collect(),
            ExportFormat::Jsonl => Vec::new(),
        };
        Self { format, recipients, cells, begun: false, part: ReportPart::default(), written: 0 }
    }

    /// Takes the next part of the report. The caller has taken all pieces of the part before.
    pub fn take(&mut self, part: ReportPart) {
        self.part = part;
        self.written = 0;
    }

    /// The next piece of the text. `None` if the whole part was written.
    ///
    /// # Errors
    /// The text cannot be written, which does not happen in memory.
    pub fn piece(&mut self) -> std::io::Result<Option<Vec<u8>>> {
        let from = self.written;
        let to = from.saturating_add(PIECE).min(self.part.pairs.len());
        if from == to && self.begun {
            return Ok(None);
        }
        let mut text = Vec::with_capacity((to - from) * 160 + 128);
        match self.format {
            ExportFormat::Csv => {
                if !self.begun {
                    text.extend_from_slice(MARK);
                }
                text = self.csv(text, from, to)?;
            }
            ExportFormat::Jsonl => self.json(&mut text, from, to)?,
        }
        self.begun = true;
        self.written = to;
        Ok(Some(text))
    }

    fn csv(&self, text: Vec<u8>, from: usize, to: usize) -> std::io::Result<Vec<u8>> {
        let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(text);
        if !self.begun {
            writer.write_record(COLUMNS)?;
        }
        let mut of_secret = (usize::MAX, String::new(), Cow::Borrowed(""));
        for place in from..to {
            let Some((secret, recipient)) = self.place(place) else { break };
            let Some(pair) = self.part.pairs.get(place).copied().flatten() else { continue };
            let Some([kind, id, name, permission]) = self.cells.get(recipient) else { break };
            if of_secret.0 != secret {
                let Some(of) = self.part.secrets.get(secret) else { break };
                of_secret = (secret, of.id.to_string(), harmless(of.name.as_deref().unwrap_or_default()));
            }
            writer.write_record([
                of_secret.1.as_str(),
                &of_secret.2,
                kind,
                id,
                name,
                permission,
                pair.result.as_str(),
                pair.reason.map_or("", RejectReason::as_str),
                pair.now.map_or("", Holding::as_str),
            ])?;
        }
        writer.into_inner().map_err(csv::IntoInnerError::into_error)
    }

    fn json(&self, text: &mut Vec<u8>, from: usize, to: usize) -> std::io::Result<()> {
        for place in from..to {
            let Some((secret, recipient)) = self.place(place) else { break };
            let Some(pair) = self.part.pairs.get(place).copied().flatten() else { continue };
            let (Some(secret), Some(of)) = (self.part.secrets.get(secret), self.recipients.get(recipient))
            else {
                break;
            };
            let line = Line {
                now: pair.now,
                outcome: pair.result,
                permission: of.recipient.permission,
                reason: pair.reason,
                recipient_id: of.recipient.id.get(),
                recipient_kind: of.recipient.kind,
                recipient_name: of.name.as_deref(),
                secret_id: secret.id.get(),
                secret_name: secret.name.as_deref(),
            };
            serde_json::to_writer(&mut *text, &line)?;
            text.push(b'\n');
        }
        Ok(())
    }

    /// The places of the secret and of the recipient of a pair.
    fn place(&self, pair: usize) -> Option<(usize, usize)> {
        let recipients = self.recipients.len();
        Some((pair.checked_div(recipients)?, pair.checked_rem(recipients)?))
    }
}

/// A text as a cell that no spreadsheet takes for a formula: what begins like one gets an apostrophe in front.
fn harmless(text: &str) -> Cow<'_, str> {
    if text.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        Cow::Owned(format!("'{text}"))
    } else {
        Cow::Borrowed(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::report::{ReportPair, ReportSecret};
    use crate::domain::{PrincipalId, Recipient, SecretId};

    fn recipient(id: i64, name: Option<&str>) -> ReportRecipient {
        let id = PrincipalId::new(id).expect("an id");
        let recipient = Recipient { kind: PrincipalKind::UserGroup, id, permission: Permission::Edit };
        ReportRecipient { recipient, name: name.map(ToOwned::to_owned) }
    }

    fn secret(id: i64, name: Option<&str>) -> ReportSecret {
        ReportSecret { id: SecretId::new(id).expect("an id"), name: name.map(ToOwned::to_owned) }
    }

    fn written(format: ExportFormat, recipients: Vec<ReportRecipient>, parts: Vec<ReportPart>) -> String {
        let mut writer = ExportText::new(format, recipients.into());
        let mut text = Vec::new();
        for part in parts {
            writer.take(part);
            while let Some(piece) = writer.piece().expect("a piece") {
                text.extend(piece);
            }
        }
        String::from_utf8(text).expect("UTF-8")
    }

    const GRANTED: ReportPair =
        ReportPair { result: PairResult::Granted, reason: None, now: Some(Holding::Edit) };
    const REJECTED: ReportPair =
        ReportPair { result: PairResult::Rejected, reason: Some(RejectReason::NotFound), now: None };

    #[test]
    fn an_export_is_csv_with_a_mark_or_a_json_object_a_line() {
        let recipients = || vec![recipient(7, Some("Plantão \"A\", noite")), recipient(8, None)];
        let part = || ReportPart {
            secrets: vec![secret(1, Some("Pix")), secret(2, None)],
            pairs: vec![Some(GRANTED), Some(GRANTED), Some(REJECTED), None],
        };
        let csv = written(ExportFormat::Csv, recipients(), vec![part(), ReportPart::default()]);
        let expected = "\u{feff}secret_id,secret_name,recipient_kind,recipient_id,recipient_name,permission,outcome,reason,now\r\n\
             1,Pix,user_group,7,\"Plantão \"\"A\"\", noite\",edit,granted,,edit\r\n\
             1,Pix,user_group,8,,edit,granted,,edit\r\n\
             2,,user_group,7,\"Plantão \"\"A\"\", noite\",edit,rejected,not_found,\r\n";
        assert_eq!(csv, expected);
        let json = written(ExportFormat::Jsonl, recipients(), vec![part()]);
        assert_eq!(json.lines().count(), 3);
        assert_eq!(
            json.lines().nth(2),
            Some(
                r#"{"now":null,"outcome":"rejected","permission":"edit","reason":"not_found","recipient_id":7,"recipient_kind":"user_group","recipient_name":"Plantão \"A\", noite","secret_id":2,"secret_name":null}"#
            )
        );
    }

    #[test]
    fn a_report_without_pairs_has_its_columns() {
        let csv = written(ExportFormat::Csv, Vec::new(), vec![ReportPart::default()]);
        assert_eq!(csv, format!("\u{feff}{}\r\n", COLUMNS.join(",")));
        assert_eq!(written(ExportFormat::Jsonl, Vec::new(), vec![ReportPart::default()]), "");
    }

    #[test]
    fn no_cell_is_a_formula() {
        for name in ["=1+1", "+1", "-1", "@SUM(1)", "\tx", "\rx", "=\"a\",b"] {
            let part = ReportPart { secrets: vec![secret(1, Some(name))], pairs: vec![Some(GRANTED)] };
            let csv = written(ExportFormat::Csv, vec![recipient(7, Some(name))], vec![part]);
            let mut reader = csv::Reader::from_reader(csv.as_bytes());
            let record = reader.records().next().expect("a line").expect("CSV");
            let harmless = format!("'{name}");
            assert_eq!((&record[1], &record[4]), (harmless.as_str(), harmless.as_str()));
        }
        for name in ["a=b", "'", "1-2", ""] {
            assert_eq!(harmless(name), name);
        }
    }

    #[test]
    fn a_large_part_is_written_in_pieces() {
        let pairs = 2 * PIECE + 1;
        let part = ReportPart {
            secrets: (1..=pairs as i64).map(|id| secret(id, None)).collect(),
            pairs: vec![Some(GRANTED); pairs],
        };
        let mut writer = ExportText::new(ExportFormat::Jsonl, vec![recipient(7, None)].into());
        writer.take(part);
        let mut lines = Vec::new();
        while let Some(piece) = writer.piece().expect("a piece") {
            lines.push(piece.iter().filter(|byte| **byte == b'\n').count());
        }
        assert_eq!(lines, [PIECE, PIECE, 1]);
    }
}
