//! Reports what was measured, as a table on stdout and as files under `target/bench`.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Value, json};

use crate::figures::{Samples, Summary, short};

/// One line of the report.
struct Figure {
    case: &'static str,
    what: String,
    unit: &'static str,
    ours: Summary,
    /// The limit that the figure is compared with. It was measured in the same run.
    limit: Option<(String, Summary)>,
    target: &'static str,
}

/// The report of one run.
pub struct Report {
    pub full: bool,
    machine: Vec<(&'static str, String)>,
    figures: Vec<Figure>,
    notes: Vec<(&'static str, String)>,
}

/// A line that is built by `report.line(CASE, "what", "unit")…` and added by `add`.
pub struct Line<'a> {
    report: &'a mut Report,
    figure: Figure,
}

impl Line<'_> {
    /// Sets the limit that the figure is compared with.
    pub fn limit(mut self, what: &str, samples: &Samples) -> Self {
        self.figure.limit = Some((what.to_owned(), samples.summary()));
        self
    }

    /// Sets the text of the target. It is only printed, and nothing is judged by it.
    pub fn target(mut self, text: &'static str) -> Self {
        self.figure.target = text;
        self
    }

    pub fn add(self) {
        println!("  {}", self.figure.text());
        self.report.figures.push(self.figure);
    }
}

impl Report {
    pub fn new(full: bool, machine: Vec<(&'static str, String)>) -> Self {
        for (name, value) in &machine {
            println!("{name}: {value}");
        }
        Self { full, machine, figures: Vec::new(), notes: Vec::new() }
    }

    pub fn line(&mut self, case: &'static str, what: &str, unit: &'static str, ours: &Samples) -> Line<'_> {
        self.summed(case, what, unit, ours.summary())
    }

    fn summed(&mut self, case: &'static str, what: &str, unit: &'static str, ours: Summary) -> Line<'_> {
        let figure = Figure { case, what: what.to_owned(), unit, ours, limit: None, target: "" };
        Line { report: self, figure }
    }

    /// Adds lines for p50, p99 and the largest of many samples, compared with those of the limits if there are any.
    /// The range is that of this many equal parts of the samples, which are the runs.
    pub fn latency(
        &mut self,
        case: &'static str,
        what: &str,
        ours: &Samples,
        limits: &[(&str, &Samples)],
        target: &'static str,
        runs: usize,
    ) {
        let parts: [(&str, f64); 3] = [("p50", 0.5), ("p99", 0.99), ("max", 1.0)];
        for (name, part) in parts {
            let measured = ours.percentile_of_blocks(part, runs);
            let said = format!("{what}, {name} of {}", ours.len());
            if limits.is_empty() {
                self.summed(case, &said, "ms", measured).target(target).add();
            }
            for (limit, samples) in limits {
                let limit = format!("{limit}, {name} of {}", samples.len());
                let mut line = self.summed(case, &said, "ms", measured).target(target);
                line.figure.limit = Some((limit, samples.percentile_of_blocks(part, runs)));
                line.add();
            }
        }
    }

    /// Adds a remark about a case.
    pub fn note(&mut self, case: &'static str, text: String) {
        println!("  {text}");
        self.notes.push((case, text));
    }

    /// Writes `report.md` and `report.json`.
    pub fn write(&self, folder: &Path) {
        std::fs::create_dir_all(folder).expect("the report's folder");
        std::fs::write(folder.join("report.md"), self.markdown()).expect("report.md");
        let json = serde_json::to_string_pretty(&self.json()).expect("JSON");
        std::fs::write(folder.join("report.json"), json).expect("report.json");
    }

    /// The whole table, which is printed once more at the end.
    pub fn table(&self) -> String {
        let header = ["case", "what", "unit", "runs", "median", "range", "limit", "ratio", "target"];
        let mut rows = vec![header.map(str::to_owned)];
        rows.extend(self.figures.iter().map(Figure::cells));
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..header.len()).map(width).collect();
        let mut text = String::new();
        for (index, row) in rows.iter().enumerate() {
            let cells: Vec<String> =
                row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
            let _ = writeln!(text, "| {} |", cells.join(" | "));
            if index == 0 {
                let lines: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
                let _ = writeln!(text, "| {} |", lines.join(" | "));
            }
        }
        text
    }

    fn markdown(&self) -> String {
        let mut text = String::from("# Benchmark report\n\n");
        let mode = if self.full { "full" } else { "short (few repetitions, smaller cases)" };
        let _ = writeln!(text, "Mode: {mode}. Every number was measured in this run; the texts under");
        let _ = writeln!(text, "\"target\" are what was asked for. A ratio is ours / limit.\n");
        for (name, value) in &self.machine {
            let _ = writeln!(text, "- {name}: {value}");
        }
        let _ = writeln!(text, "\n{}", self.table());
        for (case, note) in &self.notes {
            let _ = writeln!(text, "- {case}: {note}");
        }
        text
    }

    fn json(&self) -> Value {
        let machine: serde_json::Map<String, Value> =
            self.machine.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
        let notes: Vec<Value> =
            self.notes.iter().map(|(case, text)| json!({"case": case, "text": text})).collect();
        json!({
            "mode": if self.full { "full" } else { "short" },
            "machine": machine,
            "figures": self.figures.iter().map(Figure::json).collect::<Vec<_>>(),
            "notes": notes,
        })
    }
}

impl Figure {
    fn ratio(&self) -> Option<f64> {
        self.limit.as_ref().map(|(_, limit)| self.ours.median / limit.median)
    }

    /// The text that is printed as soon as the line was measured.
    fn text(&self) -> String {
        let mut text = format!("{}: {} {}", self.what, spread(&self.ours), self.unit);
        if let Some((what, limit)) = &self.limit {
            let ratio = self.ratio().unwrap_or_default();
            let _ = write!(text, "; {what}: {}; ratio {ratio:.2}", spread(limit));
        }
        if !self.target.is_empty() {
            let _ = write!(text, "; target: {}", self.target);
        }
        text
    }

    fn cells(&self) -> [String; 9] {
        let range = |of: &Summary| {
            if of.runs > 1 { format!("{}–{}", short(of.min), short(of.max)) } else { String::new() }
        };
        let limit = self.limit.as_ref().map(|(what, of)| format!("{what}: {}", spread(of)));
        [
            self.case.to_owned(),
            self.what.clone(),
            self.unit.to_owned(),
            self.ours.runs.to_string(),
            short(self.ours.median),
            range(&self.ours),
            limit.unwrap_or_default(),
            self.ratio().map(|ratio| format!("{ratio:.2}")).unwrap_or_default(),
            self.target.to_owned(),
        ]
    }

    fn json(&self) -> Value {
        let of = |of: &Summary| json!({"runs": of.runs, "median": of.median, "min": of.min, "max": of.max});
        json!({
            "case": self.case,
            "what": self.what,
            "unit": self.unit,
            "ours": of(&self.ours),
            "limit": self.limit.as_ref().map(|(what, limit)| json!({"what": what, "figure": of(limit)})),
            "ratio": self.ratio(),
            "target": self.target,
        })
    }
}

fn spread(of: &Summary) -> String {
    if of.runs > 1 {
        format!("{} ({}–{}, {} runs)", short(of.median), short(of.min), short(of.max), of.runs)
    } else {
        short(of.median)
    }
}
