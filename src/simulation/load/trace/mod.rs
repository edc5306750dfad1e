//! Recorded loads: what is in a trace, and how the formats in which traces are published are read.
//!
//! A reader takes lines, so that opening and unpacking files stays outside. What it cannot take it refuses, with file, line
//! and field; it skips nothing.

mod collected;
mod error;
mod lines;
mod rates;
mod requests;
mod sum;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io::BufRead;
use std::sync::Arc;

pub use error::TraceError;

use self::lines::{Lines, shortened};
use super::pieces::Piece;

/// One recorded request, in 16 bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Recorded {
    /// Seconds since the start of the trace; finite, ≥ 0.
    pub at: f64,
    /// Tokens of its prompt; 0 where the trace has none.
    pub input_tokens: u32,
    /// Tokens of its answer; 0 where the trace has none.
    pub output_tokens: u32,
}

/// What a trace has of one agent.
#[derive(Debug, Clone, PartialEq)]
pub enum Recording {
    /// Its requests, in order of time.
    Requests(Arc<[Recorded]>),
    /// How many requests a second it got, window by window from the start of the trace.
    Rates(Arc<[Piece]>),
}

impl Default for Recording {
    /// Nothing recorded.
    fn default() -> Self {
        Self::Requests(Arc::default())
    }
}

/// A format in which traces are published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// CSV with a header of `arrival_s` and any of `input_tokens,output_tokens,agent,class,images`. `class` and `images` are not
    /// used: a class is a client, not an agent.
    Arrivals,
    /// CSV with a header of `t_s`, `agent` or `class`, `rate_rps`: the rate of each window from `t_s` on. `active_clients` and
    /// `rate_weighted_iat_cv` are not used.
    Rates,
    /// Azure LLM inference 2023 and 2024: `TIMESTAMP,ContextTokens,GeneratedTokens`. The first request is at 0.
    Azure,
    /// Mooncake: a JSON object a line with `timestamp` in milliseconds, `input_length`, `output_length` and `hash_ids` (not used).
    Mooncake,
    /// `chunk-*-trace.csv` of ServeGen: a line a window of one client, `seconds,rate,cv,Gamma|Weibull,shape,scale` without a header; no
    /// distribution means no request in that window. The rate is used; how the gaps are spread within a window is not.
    ServeGen,
}

impl Format {
    /// Its name, for an output.
    pub fn name(self) -> &'static str {
        match self {
            Self::Arrivals => "arrivals in seconds",
            Self::Rates => "rates by window",
            Self::Azure => "Azure LLM inference",
            Self::Mooncake => "Mooncake",
            Self::ServeGen => "ServeGen client rates",
        }
    }
}

impl Recording {
    /// How long it is, in seconds: until its last request, or the end of its last window.
    pub fn seconds(&self) -> f64 {
        match self {
            Self::Requests(rows) => rows.last().map_or(0.0, |row| row.at),
            Self::Rates(windows) => windows.iter().map(|w| w.seconds).sum(),
        }
    }
}

/// A trace.
#[derive(Debug, Clone, PartialEq)]
pub struct Trace {
    /// How it was written.
    pub format: Format,
    /// What it has of each agent; of [`EVERYONE`] alone when it names none. At least one.
    pub agents: BTreeMap<String, Recording>,
}

/// The one agent of a trace that names none.
pub const EVERYONE: &str = "*";

/// Longest trace, in seconds: 400 days. Times beyond are no times since its start, but since 1970 or in milliseconds.
const LONGEST: f64 = 400.0 * 86_400.0;

/// What is read at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Rows of a trace. 50 million requests take 0.8 GB.
    pub rows: usize,
    /// Agents of a trace; a pool has at most 64.
    pub agents: usize,
    /// Bytes of a line.
    pub line: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            rows: 50_000_000,
            agents: 64,
            line: 64 << 10,
        }
    }
}

impl Trace {
    /// Reads a trace in any of the [`Format`]s, which is told from the first line. `file` is what errors call it.
    ///
    /// # Errors
    /// What is not as its format says, or exceeds the limits: with file, line, field, value and what would be right.
    pub fn read(input: impl BufRead, file: &str, limits: Limits) -> Result<Self, TraceError> {
        let mut lines = Lines::new(input, file, limits.line);
        let empty = || TraceError::Empty {
            file: file.to_owned(),
        };
        if !lines.advance()? {
            return Err(empty());
        }
        let first = lines.text()?.trim().to_owned();
        let format = detect(&first).ok_or_else(|| TraceError::UnknownFormat {
            file: file.to_owned(),
            first: shortened(&first),
        })?;
        let agents = match format {
            Format::Arrivals => requests::arrivals(&mut lines, &first, limits)?,
            Format::Azure => requests::azure(&mut lines, limits)?,
            Format::Mooncake => requests::mooncake(&mut lines, limits)?,
            Format::Rates => rates::table(&mut lines, &first, limits)?,
            Format::ServeGen => rates::servegen(&mut lines, limits)?,
        };
        if agents.is_empty() {
            return Err(empty());
        }
        Ok(Self { format, agents })
    }
}

/// The line, from 1, on which a trace first names an agent, and the column in which it does; `None` where it does not, or cannot be read as
/// lines of text. For errors: what was read is not kept by line.
pub fn first_line(input: impl BufRead, agent: &str) -> Option<(usize, &'static str)> {
    let mut lines = input.lines().map_while(Result::ok);
    let header = lines.next()?;
    let columns: Vec<&str> = header.trim_start_matches('\u{feff}').split(',').collect();
    let place = |name: &'static str| {
        let at = columns.iter().position(|column| column.trim() == name)?;
        Some((at, name))
    };
    // A class is an agent only where there is no column of agents.
    let (at, name) = place("agent").or_else(|| place("class"))?;
    let row = lines.position(|line| line.split(',').nth(at).map(str::trim) == Some(agent))?;
    Some((row + 2, name))
}

/// The format that begins with this line.
fn detect(first: &str) -> Option<Format> {
    if first.starts_with('{') {
        return Some(Format::Mooncake);
    }
    let fields: Vec<&str> = first.split(',').map(str::trim).collect();
    match fields.as_slice() {
        [
            "TIMESTAMP" | "Timestamp",
            "ContextTokens",
            "GeneratedTokens",
        ] => Some(Format::Azure),
        fields if fields.contains(&"arrival_s") => Some(Format::Arrivals),
        fields if fields.contains(&"t_s") && fields.contains(&"rate_rps") => Some(Format::Rates),
        [start, _, _, "Gamma" | "Weibull" | "", ..] if start.parse::<f64>().is_ok() => {
            Some(Format::ServeGen)
        }
        _ => None,
    }
}
