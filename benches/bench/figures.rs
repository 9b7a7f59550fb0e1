//! Keeps samples, and computes what the report says about them.

use std::time::{Duration, Instant};

/// The values of something that was measured several times, in one unit.
#[derive(Debug, Clone, Default)]
pub struct Samples(Vec<f64>);

/// The figures that are printed for some samples.
#[derive(Debug, Clone, Copy)]
pub struct Summary {
    pub runs: usize,
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

impl Samples {
    pub fn add(&mut self, value: f64) {
        self.0.push(value);
    }

    pub fn add_ms(&mut self, value: Duration) {
        self.add(value.as_secs_f64() * 1_000.0);
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The value that this part of the samples (0 to 1) does not exceed, by nearest rank.
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    pub fn percentile(&self, part: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let rank = (part * sorted.len() as f64).ceil() as usize;
        sorted[rank.clamp(1, sorted.len()) - 1]
    }

    /// A percentile of all samples. Its range is that of the same percentile in each of `blocks` equal parts of the
    /// samples, in the order in which they were measured.
    pub fn percentile_of_blocks(&self, part: f64, blocks: usize) -> Summary {
        let each = self.0.len().div_ceil(blocks.max(1)).max(1);
        let of_block = |block: &[f64]| Self(block.to_vec()).percentile(part);
        let of_blocks = Self(self.0.chunks(each).map(of_block).collect());
        Summary { median: self.percentile(part), ..of_blocks.summary() }
    }

    pub fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        if sorted.len() % 2 == 1 { sorted[middle] } else { f64::midpoint(sorted[middle - 1], sorted[middle]) }
    }

    /// The range in which the median lies with a probability of 95 %, whatever the distribution is: by the ranks that a
    /// fair coin gives. With fewer than six samples it is the whole range.
    pub fn median_interval(&self) -> (f64, f64) {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let count = sorted.len();
        let (mut rank, mut below, mut term) = (0, 0.0, 0.5_f64.powi(i32::try_from(count).expect("few")));
        loop {
            below += term;
            if below > 0.025 {
                break;
            }
            rank += 1;
            term *= float(count - rank + 1) / float(rank);
        }
        let rank = rank.max(1);
        (sorted[rank - 1], sorted[count - rank])
    }

    pub fn summary(&self) -> Summary {
        assert!(!self.0.is_empty(), "nothing was measured");
        let (min, max) = (self.percentile(0.0), self.percentile(1.0));
        Summary { runs: self.0.len(), median: self.median(), min, max }
    }
}

impl From<f64> for Samples {
    fn from(value: f64) -> Self {
        Self(vec![value])
    }
}

/// Writes a number for people, with three or four significant digits.
pub fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 1_000.0 => grouped(value),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A count as a floating-point number.
#[allow(clippy::cast_precision_loss)] // far below 2^52
pub fn float(count: usize) -> f64 {
    count as f64
}

/// The rate per second of this count since `began`.
pub fn rate(count: usize, began: Instant) -> f64 {
    float(count) / began.elapsed().as_secs_f64()
}
