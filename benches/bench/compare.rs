//! Compares two versions of the program, line by line, from the reports of runs that took turns.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use crate::figures::{Samples, short};

/// The figures that all runs of one version have for one line.
#[derive(Default)]
struct Line {
    place: usize,
    unit: String,
    ours: Samples,
}

type Lines = BTreeMap<(String, String), Line>;

/// Reads the reports `NAME-1.json`, `NAME-2.json` … in a folder.
fn read(folder: &Path, name: &str) -> Lines {
    let mut lines = Lines::new();
    for turn in 1.. {
        let path = folder.join(format!("{name}-{turn}.json"));
        let Ok(text) = std::fs::read_to_string(&path) else { break };
        let report: Value = serde_json::from_str(&text).expect("a report of ours");
        let figures = report["figures"].as_array().expect("figures");
        for (place, figure) in figures.iter().enumerate() {
            let text = |field: &str| figure[field].as_str().expect("a text").to_owned();
            let line = lines.entry((text("case"), text("what"))).or_default();
            line.place = place;
            line.unit = text("unit");
            line.ours.add(figure["ours"]["median"].as_f64().expect("a number"));
        }
    }
    lines
}

fn spread(samples: &Samples) -> String {
    let of = samples.summary();
    format!("{} ({}–{}, {} turns)", short(of.median), short(of.min), short(of.max), of.runs)
}

/// Makes the table of `before` and `now`. A ratio above 1 says that the program has become better: it does more in a
/// second, or needs less of something else.
pub fn table(folder: &Path) -> String {
    let (before, now) = (read(folder, "before"), read(folder, "now"));
    let mut rows: Vec<(usize, String)> = Vec::new();
    for ((case, what), new) in &now {
        let Some(old) = before.get(&(case.clone(), what.clone())) else { continue };
        let (was, is) = (old.ours.median(), new.ours.median());
        let ratio = if new.unit.ends_with("/s") { is / was } else { was / is };
        let mark = if ratio < 0.95 { " **below 0.95**" } else { "" };
        let (was, is) = (spread(&old.ours), spread(&new.ours));
        rows.push((
            new.place,
            format!("| {case} | {what} | {} | {was} | {is} | {ratio:.2}{mark} |", new.unit),
        ));
    }
    rows.sort();
    let head = "| case | what | unit | before | now | ratio |\n|---|---|---|---|---|---|";
    let lines: Vec<String> = rows.into_iter().map(|(_, row)| row).collect();
    format!("{head}\n{}\n", lines.join("\n"))
}
