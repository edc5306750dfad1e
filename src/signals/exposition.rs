//! Reader of the Prometheus text format and of OpenMetrics text, as engines print them.
//!
//! It takes the body in pieces, keeps only the series that are wanted, and is bounded in everything: the bytes of a page,
//! the length of a line, the series kept. It never panics, whatever the bytes. Lines of other metrics are skipped, well
//! formed or not; a wanted series that cannot be read makes the page [`Problem::Malformed`], so that a half-understood
//! page is never a smaller load. Values come out as printed: NaN, infinities and negative numbers are for the caller to
//! judge. Timestamps and exemplars are ignored.
//!
//! Formats: <https://prometheus.io/docs/instrumenting/exposition_formats/>, <https://prometheus.io/docs/specs/om/open_metrics_spec/>.

use super::Problem;
use std::{collections::BTreeSet, sync::Arc};

/// Labels that one series may have.
const LABELS: usize = 64;

/// How much of a page is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageLimits {
    /// Bytes of the page.
    pub bytes: usize,
    /// Bytes of one line.
    pub line: usize,
    /// Wanted series.
    pub series: usize,
}

impl Default for PageLimits {
    /// 4 MiB (a vLLM page has about 100 KiB), 64 KiB a line, 4,096 wanted series.
    fn default() -> Self {
        Self {
            bytes: 4 << 20,
            line: 64 << 10,
            series: 4096,
        }
    }
}

/// One wanted series.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Metric name.
    pub name: Arc<str>,
    /// Label names and values, as printed.
    pub labels: Vec<(String, String)>,
    /// Value, as printed.
    pub value: f64,
}

impl Series {
    /// The value of a label; empty where the label is absent, as Prometheus has it.
    pub fn label(&self, name: &str) -> &str {
        self.labels
            .iter()
            .find(|(label, _)| label == name)
            .map_or("", |(_, value)| value)
    }
}

/// What a page said about the wanted metrics.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Page {
    /// The wanted series.
    pub series: Vec<Series>,
    /// Wanted metrics that have a `# TYPE` line, with or without series.
    pub declared: BTreeSet<Arc<str>>,
    /// Some line was neither a comment nor a sample.
    pub odd: bool,
}

/// Reads one page, piece by piece.
#[derive(Debug)]
pub struct Reader<'w> {
    wanted: &'w BTreeSet<Arc<str>>,
    limits: PageLimits,
    bytes: usize,
    /// The beginning of a line whose end has not come yet.
    partial: Vec<u8>,
    page: Page,
}

impl<'w> Reader<'w> {
    /// A reader that keeps the series with these metric names.
    pub fn new(wanted: &'w BTreeSet<Arc<str>>, limits: PageLimits) -> Self {
        Self {
            wanted,
            limits,
            bytes: 0,
            partial: Vec::new(),
            page: Page::default(),
        }
    }

    /// Takes the next piece of the page.
    ///
    /// # Errors
    /// [`Problem::TooLarge`] above a limit; [`Problem::Malformed`] when a wanted series cannot be read.
    pub fn feed(&mut self, mut piece: &[u8]) -> Result<(), Problem> {
        self.bytes = self.bytes.saturating_add(piece.len());
        if self.bytes > self.limits.bytes {
            return Err(Problem::TooLarge);
        }
        while let Some(end) = piece.iter().position(|&byte| byte == b'\n') {
            let (line, rest) = piece.split_at(end);
            if self.partial.is_empty() {
                self.line(line)?;
            } else {
                self.keep(line)?;
                let whole = std::mem::take(&mut self.partial);
                self.line(&whole)?;
            }
            piece = rest.get(1..).unwrap_or_default();
        }
        self.keep(piece)
    }

    /// The page, with its last line even where that has no end.
    ///
    /// # Errors
    /// As [`Reader::feed`].
    pub fn finish(mut self) -> Result<Page, Problem> {
        let last = std::mem::take(&mut self.partial);
        self.line(&last)?;
        Ok(self.page)
    }

    fn keep(&mut self, piece: &[u8]) -> Result<(), Problem> {
        if self.partial.len().saturating_add(piece.len()) > self.limits.line {
            return Err(Problem::TooLarge);
        }
        self.partial.extend_from_slice(piece);
        Ok(())
    }

    fn line(&mut self, line: &[u8]) -> Result<(), Problem> {
        if line.len() > self.limits.line {
            return Err(Problem::TooLarge);
        }
        let line = line.trim_ascii();
        if let Some(comment) = line.strip_prefix(b"#") {
            self.declare(comment);
            return Ok(());
        }
        if line.is_empty() || line.starts_with(b"{") {
            return Ok(()); // a name in quotes is none of ours
        }
        let end = line
            .iter()
            .position(|byte| !is_name_byte(*byte))
            .unwrap_or(line.len());
        let (name, rest) = line.split_at(end);
        if name.is_empty() || !matches!(rest.first(), None | Some(b'{' | b' ' | b'\t')) {
            self.page.odd = true;
            return Ok(());
        }
        let Some(name) = self.wanted(name) else {
            self.page.odd |= rest.is_empty();
            return Ok(());
        };
        if self.page.series.len() >= self.limits.series {
            return Err(Problem::TooLarge);
        }
        let (labels, value) = labels_and_value(rest).ok_or(Problem::Malformed)?;
        self.page.series.push(Series {
            name,
            labels,
            value,
        });
        Ok(())
    }

    /// Remembers `# TYPE name type`. OpenMetrics names a counter's family without `_total`.
    fn declare(&mut self, comment: &[u8]) {
        let mut words = comment
            .split(|byte| byte.is_ascii_whitespace())
            .filter(|word| !word.is_empty());
        if words.next() != Some(b"TYPE") {
            return;
        }
        let Some(name) = words.next() else { return };
        let total = [name, b"_total"].concat();
        for name in [name, &total] {
            if let Some(name) = self.wanted(name) {
                self.page.declared.insert(name);
            }
        }
    }

    fn wanted(&self, name: &[u8]) -> Option<Arc<str>> {
        let name = std::str::from_utf8(name).ok()?;
        self.wanted.get(name).cloned()
    }
}

const fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b':'
}

type Labels = Vec<(String, String)>;

/// Reads `{a="b",…} 1.5 …` or ` 1.5 …`.
fn labels_and_value(rest: &[u8]) -> Option<(Labels, f64)> {
    let (labels, rest) = match rest.strip_prefix(b"{") {
        Some(inside) => labels(inside)?,
        None => (Vec::new(), rest),
    };
    let value = rest
        .trim_ascii_start()
        .split(|byte| byte.is_ascii_whitespace())
        .next()?;
    let value = std::str::from_utf8(value).ok()?.parse().ok()?;
    Some((labels, value))
}

/// Reads `a="b",c="d"}` and gives the labels and what follows.
fn labels(mut rest: &[u8]) -> Option<(Labels, &[u8])> {
    let mut labels = Vec::new();
    loop {
        rest = rest.trim_ascii_start();
        if let Some(after) = rest.strip_prefix(b"}") {
            return Some((labels, after));
        }
        let end = rest.iter().position(|byte| !is_name_byte(*byte))?;
        let (name, after) = rest.split_at(end);
        let after = after
            .trim_ascii_start()
            .strip_prefix(b"=")?
            .trim_ascii_start();
        let (value, after) = quoted(after.strip_prefix(b"\"")?)?;
        if name.is_empty() || labels.len() >= LABELS {
            return None;
        }
        labels.push((String::from_utf8_lossy(name).into_owned(), value));
        rest = after.trim_ascii_start();
        match rest.strip_prefix(b",") {
            Some(after) => rest = after,
            None if rest.starts_with(b"}") => {}
            None => return None,
        }
    }
}

/// Reads up to the closing quote and undoes the escapes `\\`, `\"` and `\n`.
fn quoted(text: &[u8]) -> Option<(String, &[u8])> {
    let mut value = Vec::new();
    let mut bytes = text.iter().enumerate();
    while let Some((at, &byte)) = bytes.next() {
        match byte {
            b'"' => {
                return Some((
                    String::from_utf8_lossy(&value).into_owned(),
                    text.get(at + 1..)?,
                ));
            }
            b'\\' => match bytes.next()?.1 {
                b'n' => value.push(b'\n'),
                escaped => value.push(*escaped),
            },
            _ => value.push(byte),
        }
    }
    None
}

#[cfg(test)]
mod tests;
