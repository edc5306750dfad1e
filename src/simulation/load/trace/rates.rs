//! Formats with a line a window: how many requests a second there were.

use std::collections::BTreeMap;
use std::io::BufRead;

use super::collected::Collected;
use super::lines::Lines;
use super::requests::{TOO_LATE, named, seconds};
use super::{EVERYONE, LONGEST, Limits, Piece, Recording, TraceError};

const RATE: &str = "must be requests a second, a finite number of at least 0";

/// When a window begins, and its rate.
type Window = (f64, f64);

fn take<R: BufRead>(
    collected: &mut Collected<Window>,
    lines: &Lines<'_, R>,
    agent: &str,
    (start, rate): Window,
) -> Result<(), TraceError> {
    let windows = collected.of(lines, agent)?;
    if windows.last().is_some_and(|(last, _)| start <= *last) {
        let right = "is not later than the window before it: the windows of an agent must be sorted by time";
        return Err(lines.wrong("the start", &start.to_string(), right));
    }
    if start > LONGEST {
        return Err(lines.wrong("the start", &start.to_string(), TOO_LATE));
    }
    windows.push((start, rate));
    Ok(())
}

/// A window lasts until the next; the last as long as the one before it.
fn finish<R: BufRead>(
    collected: Collected<Window>,
    lines: &Lines<'_, R>,
) -> Result<BTreeMap<String, Recording>, TraceError> {
    let mut agents = BTreeMap::new();
    for (agent, windows) in collected.finish() {
        let [.., (before, _), (last, rate)] = windows[..] else {
            let right = "has one window only: with two it is known how long they are";
            return Err(lines.wrong("the agent", &agent, right));
        };
        let quiet = Piece {
            seconds: windows[0].0,
            rate: 0.0,
        };
        let lasting = windows.windows(2).map(|pair| Piece {
            seconds: pair[1].0 - pair[0].0,
            rate: pair[0].1,
        });
        let end = Piece {
            seconds: last - before,
            rate,
        };
        let head = (quiet.seconds > 0.0).then_some(quiet);
        let pieces = head.into_iter().chain(lasting).chain([end]);
        agents.insert(agent, Recording::Rates(pieces.collect()));
    }
    Ok(agents)
}

/// What a column of the table is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Column {
    Start,
    Agent,
    Rate,
    Unused,
}

const COLUMNS: [(&str, Column); 6] = [
    ("t_s", Column::Start),
    ("agent", Column::Agent),
    ("class", Column::Agent),
    ("rate_rps", Column::Rate),
    ("active_clients", Column::Unused),
    ("rate_weighted_iat_cv", Column::Unused),
];

pub(super) fn table<R: BufRead>(
    lines: &mut Lines<'_, R>,
    header: &str,
    limits: Limits,
) -> Result<BTreeMap<String, Recording>, TraceError> {
    let mut columns: Vec<&(&str, Column)> = Vec::new();
    for name in header.split(',').map(str::trim) {
        let known = COLUMNS.iter().find(|(known, _)| *known == name);
        match known {
            Some(column) if !columns.contains(&column) => columns.push(column),
            _ => {
                let right = "must be t_s, agent or class, rate_rps, active_clients or rate_weighted_iat_cv, each once";
                return Err(lines.wrong("a column", name, right));
            }
        }
    }
    let named_by = columns.iter().filter(|c| c.1 == Column::Agent);
    if named_by.count() > 1 {
        let right = "must have agent or class, not both";
        return Err(lines.wrong("the header", header, right));
    }
    let mut collected = Collected::new(limits, "windows");
    while lines.advance()? {
        let text = lines.text()?;
        if text.split(',').count() != columns.len() {
            let right = format!("must have the {} columns of the header", columns.len());
            return Err(lines.wrong("the line", text, &right));
        }
        let (mut start, mut agent, mut rate) = (0.0, EVERYONE, 0.0);
        for ((name, column), field) in columns.iter().zip(text.split(',')) {
            let field = field.trim();
            match column {
                Column::Start => start = seconds(lines, name, field)?,
                Column::Agent => agent = named(lines, name, field)?,
                Column::Rate => rate = rated(lines, name, field)?,
                Column::Unused => {}
            }
        }
        take(&mut collected, lines, agent, (start, rate))?;
    }
    finish(collected, lines)
}

pub(super) fn servegen<R: BufRead>(
    lines: &mut Lines<'_, R>,
    limits: Limits,
) -> Result<BTreeMap<String, Recording>, TraceError> {
    let mut collected = Collected::new(limits, "windows");
    // The first line is a window already.
    loop {
        let text = lines.text()?;
        let fields: Vec<&str> = text.split(',').map(str::trim).collect();
        let [start, rate, cv, pattern, parameters @ ..] = &fields[..] else {
            let right = "must be seconds,rate,cv,Gamma|Weibull,shape,scale";
            return Err(lines.wrong("the line", text, right));
        };
        if parameters.len() > 2 {
            let right = "must be seconds,rate,cv,Gamma|Weibull,shape,scale";
            return Err(lines.wrong("the line", text, right));
        }
        let start = seconds(lines, "seconds", start)?;
        let rate = rated(lines, "rate", rate)?;
        match *pattern {
            "Gamma" | "Weibull" => {
                rated(lines, "cv", cv)
                    .map_err(|_| lines.wrong("cv", cv, "must be a finite number of at least 0"))?;
                take(&mut collected, lines, EVERYONE, (start, rate))?;
            }
            "" => take(&mut collected, lines, EVERYONE, (start, 0.0))?,
            other => {
                let right = "must be Gamma, Weibull or, without a request, nothing";
                return Err(lines.wrong("the distribution", other, right));
            }
        }
        if !lines.advance()? {
            return finish(collected, lines);
        }
    }
}

fn rated<R: BufRead>(lines: &Lines<'_, R>, name: &str, field: &str) -> Result<f64, TraceError> {
    let rate = field
        .parse()
        .ok()
        .filter(|r: &f64| r.is_finite() && *r >= 0.0);
    rate.ok_or_else(|| lines.wrong(name, field, RATE))
}
