//! Formats with a line a request.

use std::collections::BTreeMap;
use std::io::BufRead;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde::Deserialize;
use serde_json::Value;

use super::collected::Collected;
use super::lines::Lines;
use super::{EVERYONE, LONGEST, Limits, Recorded, Recording, TraceError};

const SECONDS: &str = "must be seconds since the start of the trace, a finite number of at least 0";
/// Of a time beyond [`LONGEST`].
pub(super) const TOO_LATE: &str = "is more than 400 days after the start of the trace: times count from there, not from 1970, and longer traces are not read";
const TOKENS: &str = "must be a whole number of tokens from 0 to 4294967295";

/// Takes one request; `written` is its time as the file has it.
fn take<R: BufRead>(
    collected: &mut Collected<Recorded>,
    lines: &Lines<'_, R>,
    agent: &str,
    (field, written): (&str, &str),
    request: Recorded,
) -> Result<(), TraceError> {
    let requests = collected.of(lines, agent)?;
    if requests.last().is_some_and(|last| request.at < last.at) {
        let right =
            "is earlier than the request before it: the rows of an agent must be sorted by time";
        return Err(lines.wrong(field, written, right));
    }
    if request.at > LONGEST {
        return Err(lines.wrong(field, written, TOO_LATE));
    }
    requests.push(request);
    Ok(())
}

fn finish(collected: Collected<Recorded>) -> BTreeMap<String, Recording> {
    let agents = collected.finish();
    agents
        .map(|(agent, requests)| (agent, Recording::Requests(requests.into())))
        .collect()
}

/// What a column of the CSV is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Column {
    Arrival,
    Input,
    Output,
    Agent,
    Unused,
}

const COLUMNS: [(&str, Column); 6] = [
    ("arrival_s", Column::Arrival),
    ("input_tokens", Column::Input),
    ("output_tokens", Column::Output),
    ("agent", Column::Agent),
    ("class", Column::Unused),
    ("images", Column::Unused),
];

pub(super) fn arrivals<R: BufRead>(
    lines: &mut Lines<'_, R>,
    header: &str,
    limits: Limits,
) -> Result<BTreeMap<String, Recording>, TraceError> {
    let mut columns = Vec::new();
    for name in header.split(',').map(str::trim) {
        let known = COLUMNS.iter().find(|(known, _)| *known == name);
        let right =
            "must be arrival_s, input_tokens, output_tokens, agent, class or images, each once";
        match known {
            Some(column) if !columns.contains(&column) => columns.push(column),
            _ => return Err(lines.wrong("a column", name, right)),
        }
    }
    let mut collected = Collected::new(limits, "requests");
    while lines.advance()? {
        let text = lines.text()?;
        if text.split(',').count() != columns.len() {
            let right = format!("must have the {} columns of the header", columns.len());
            return Err(lines.wrong("the line", text, &right));
        }
        let (mut request, mut agent, mut written) = (Recorded::default(), EVERYONE, "");
        for ((name, column), field) in columns.iter().zip(text.split(',')) {
            let field = field.trim();
            match column {
                Column::Arrival => {
                    (request.at, written) = (seconds(lines, name, field)?, field);
                }
                Column::Input => request.input_tokens = tokens(lines, name, field)?,
                Column::Output => request.output_tokens = tokens(lines, name, field)?,
                Column::Agent => agent = named(lines, name, field)?,
                Column::Unused => {}
            }
        }
        take(
            &mut collected,
            lines,
            agent,
            ("arrival_s", written),
            request,
        )?;
    }
    Ok(finish(collected))
}

pub(super) fn azure<R: BufRead>(
    lines: &mut Lines<'_, R>,
    limits: Limits,
) -> Result<BTreeMap<String, Recording>, TraceError> {
    let mut collected = Collected::new(limits, "requests");
    let mut start = None;
    while lines.advance()? {
        let text = lines.text()?;
        let fields: Vec<&str> = text.split(',').map(str::trim).collect();
        let [time, input, output] = fields[..] else {
            let right = "must have the 3 columns of the header";
            return Err(lines.wrong("the line", text, right));
        };
        let nanoseconds = nanoseconds(time).ok_or_else(|| {
            let right = "must be a time such as 2023-11-16 18:15:46.6805900 or 2024-05-12 00:00:00.001163+00:00";
            lines.wrong("TIMESTAMP", time, right)
        })?;
        let since = nanoseconds - *start.get_or_insert(nanoseconds);
        let request = Recorded {
            at: since as f64 / 1e9,
            input_tokens: tokens(lines, "ContextTokens", input)?,
            output_tokens: tokens(lines, "GeneratedTokens", output)?,
        };
        take(
            &mut collected,
            lines,
            EVERYONE,
            ("TIMESTAMP", time),
            request,
        )?;
    }
    Ok(finish(collected))
}

/// A time with or without an offset (then UTC) since 1970.
fn nanoseconds(time: &str) -> Option<i128> {
    if let Ok(timestamp) = time.parse::<jiff::Timestamp>() {
        return Some(timestamp.as_nanosecond());
    }
    let civil: DateTime = time.parse().ok()?;
    let zoned = civil.to_zoned(TimeZone::UTC).ok()?;
    Some(zoned.timestamp().as_nanosecond())
}

/// A line of Mooncake. Unknown keys are refused: traces of others have the same names and seconds instead of milliseconds.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Mooncake {
    timestamp: Value,
    input_length: Value,
    output_length: Value,
    #[serde(default, rename = "hash_ids")]
    _hash_ids: serde::de::IgnoredAny,
}

pub(super) fn mooncake<R: BufRead>(
    lines: &mut Lines<'_, R>,
    limits: Limits,
) -> Result<BTreeMap<String, Recording>, TraceError> {
    let mut collected = Collected::new(limits, "requests");
    // The first line is a request already.
    loop {
        let text = lines.text()?;
        let line: Mooncake = serde_json::from_str(text).map_err(|error| {
            let right = format!(
                "must be a JSON object with timestamp (milliseconds), input_length, output_length and hash_ids: {error}"
            );
            lines.wrong("the line", text, &right)
        })?;
        let count = |field: &str, value: &Value| {
            let number = value.as_u64().and_then(|n| u32::try_from(n).ok());
            number.ok_or_else(|| lines.wrong(field, &value.to_string(), TOKENS))
        };
        let milliseconds = line.timestamp.as_f64().filter(|ms| *ms >= 0.0);
        let written = line.timestamp.to_string();
        let request = Recorded {
            at: milliseconds.ok_or_else(|| {
                let right =
                    "must be milliseconds since the start of the trace, a number of at least 0";
                lines.wrong("timestamp", &written, right)
            })? / 1000.0,
            input_tokens: count("input_length", &line.input_length)?,
            output_tokens: count("output_length", &line.output_length)?,
        };
        take(
            &mut collected,
            lines,
            EVERYONE,
            ("timestamp", &written),
            request,
        )?;
        if !lines.advance()? {
            return Ok(finish(collected));
        }
    }
}

/// A time in seconds.
pub(super) fn seconds<R: BufRead>(
    lines: &Lines<'_, R>,
    name: &str,
    field: &str,
) -> Result<f64, TraceError> {
    let seconds = field
        .parse()
        .ok()
        .filter(|s: &f64| s.is_finite() && *s >= 0.0);
    seconds.ok_or_else(|| lines.wrong(name, field, SECONDS))
}

fn tokens<R: BufRead>(lines: &Lines<'_, R>, name: &str, field: &str) -> Result<u32, TraceError> {
    field.parse().map_err(|_| lines.wrong(name, field, TOKENS))
}

/// The name of an agent.
pub(super) fn named<'t, R: BufRead>(
    lines: &Lines<'_, R>,
    name: &str,
    field: &'t str,
) -> Result<&'t str, TraceError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if field.is_empty() || field.len() > 63 || !field.chars().all(plain) {
        let right = "must be a name of 1 to 63 letters, digits, '-', '_' or '.'";
        return Err(lines.wrong(name, field, right));
    }
    Ok(field)
}
