//! A recorded load played again: a part of it, at another rate where one is asked for.

use std::sync::Arc;

use serde::Deserialize;

use super::pieces::Piece;
use super::random::Stream;
use super::trace::{Recorded, Recording};
use super::words::plain;
use super::work::{TokenWork, Work};
use super::{Request, Requests};

/// What of a trace is replayed, and at which rate.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Replay {
    /// The file, as outputs call it.
    pub file: String,
    /// The agent in the trace; absent: the one of the load's own name, or the only one.
    pub of: Option<String>,
    /// From where in the trace, in seconds; ≥ 0.
    #[serde(default)]
    pub from: f64,
    /// For how long, in seconds of the trace; absent: to its end. > 0.
    pub seconds: Option<f64>,
    /// At which rate.
    #[serde(default)]
    pub scaling: Scaling,
    /// What was recorded of the agent. Not in a file: whoever opens the trace puts it here.
    #[serde(skip)]
    pub recorded: Recording,
}

/// How a trace is brought to a mean rate, in requests a second; > 0. In a file: absent for as recorded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(tag = "type", deny_unknown_fields)]
pub enum Scaling {
    /// As it was recorded.
    #[default]
    #[serde(skip)]
    AsRecorded,
    /// Time runs faster or slower: bursts keep their size and get shorter or longer, and so does the trace.
    Compression {
        /// The mean rate.
        rate: f64,
    },
    /// Copies of the trace on top of each other, each shifted by an equal part of its length, thinned out to a whole number:
    /// drifts and the length stay, the index of dispersion too, the spread of the gaps nears Poisson's.
    Superposition {
        /// The mean rate.
        rate: f64,
    },
    /// A part of the requests, drawn one by one: keeps drifts and weakens bursts. Only to a lower rate.
    Thinning {
        /// The mean rate.
        rate: f64,
    },
}

/// Most copies that are laid on top of each other.
pub(super) const MOST_COPIES: f64 = 1000.0;

/// What a scaling comes to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Factors {
    /// How many times as fast time runs.
    pub faster: f64,
    /// How many copies there are; of a table of rates it is `copies * keep` that counts.
    pub copies: usize,
    /// The part of the requests that is kept.
    pub keep: f64,
}

impl Replay {
    /// The requests of the part that is replayed; none of a table of rates.
    fn rows(&self) -> &[Recorded] {
        let Recording::Requests(rows) = &self.recorded else {
            return &[];
        };
        &rows[self.range(rows)]
    }

    fn range(&self, rows: &[Recorded]) -> std::ops::Range<usize> {
        let end = self.seconds.map_or(f64::INFINITY, |s| self.from + s);
        let first = rows.partition_point(|row| row.at < self.from);
        let last = rows.partition_point(|row| row.at < end);
        first..last.max(first)
    }

    /// The windows of the part that is replayed; none of recorded requests.
    fn windows(&self) -> Vec<Piece> {
        let Recording::Rates(windows) = &self.recorded else {
            return Vec::new();
        };
        let end = self.seconds.map_or(f64::INFINITY, |s| self.from + s);
        let mut start = 0.0;
        let mut part = Vec::new();
        for window in windows.iter() {
            let stop = start + window.seconds;
            let seconds = stop.min(end) - f64::max(start, self.from);
            if seconds > 0.0 {
                let rate = window.rate;
                part.push(Piece { seconds, rate });
            }
            start = stop;
        }
        part
    }

    /// Length of the part that is replayed, in seconds: what was asked for, or until the last request or window.
    pub fn span(&self) -> f64 {
        match (self.rows().last(), self.seconds) {
            (Some(_), Some(seconds)) => seconds,
            (Some(last), None) => last.at - self.from,
            (None, _) => self.windows().iter().map(|w| w.seconds).sum(),
        }
    }

    /// Requests that are recorded in the part that is replayed; of a table of rates, as many as they amount to.
    pub fn amount(&self) -> f64 {
        match &self.recorded {
            Recording::Requests(_) => self.rows().len() as f64,
            Recording::Rates(_) => {
                let windows = self.windows();
                windows.iter().map(|w| w.seconds * w.rate).sum()
            }
        }
    }

    /// Requests a second as they were recorded; 0 of nothing.
    pub fn mean_rate(&self) -> f64 {
        let span = self.span();
        if span > 0.0 {
            self.amount() / span
        } else {
            0.0
        }
    }

    pub(super) fn factors(&self) -> Factors {
        let ratio = |rate: f64| rate / self.mean_rate();
        let (faster, wanted) = match self.scaling {
            Scaling::AsRecorded => (1.0, 1.0),
            Scaling::Compression { rate } => (ratio(rate), 1.0),
            Scaling::Superposition { rate } | Scaling::Thinning { rate } => (1.0, ratio(rate)),
        };
        let copies = wanted.ceil().clamp(1.0, MOST_COPIES);
        Factors {
            faster,
            copies: copies as usize,
            keep: wanted / copies,
        }
    }

    /// The requests again; works that do not follow from tokens are drawn from `works`.
    pub(super) fn requests(&self, work: Work, thinning: Stream, works: Stream) -> Requests {
        let Factors {
            faster,
            copies,
            keep,
        } = self.factors();
        let Recording::Requests(rows) = &self.recorded else {
            return Box::new(std::iter::empty());
        };
        let range = self.range(rows);
        let part = Part {
            rows: rows.clone(),
            first: range.start,
            len: range.len(),
            from: self.from,
        };
        let span = self.span();
        let copies = (0..copies).map(|copy| part.copy(span * copy as f64 / copies as f64, span));
        let work = match work {
            Work::Exponential => Works::Drawn(works),
            Work::Deterministic => Works::Equal,
            Work::Tokens(tokens) => Works::Tokens(tokens, tokens.mean_of(&rows[range])),
        };
        Box::new(Replaying {
            copies: copies.collect(),
            part,
            faster,
            keep,
            last: 0.0,
            thinning,
            work,
        })
    }

    /// The windows of a table of rates, scaled.
    pub(super) fn pieces(&self) -> impl Iterator<Item = Piece> + Send + use<> {
        let factors = self.factors();
        let times = factors.faster * factors.copies as f64 * factors.keep;
        self.windows().into_iter().map(move |window| Piece {
            seconds: window.seconds / factors.faster,
            rate: window.rate * times,
        })
    }

    /// What is replayed, in words for an output.
    pub(super) fn describe(&self) -> String {
        let what = match &self.recorded {
            Recording::Requests(_) => "recorded requests of",
            Recording::Rates(_) => "Poisson under the recorded rates of",
        };
        let of = self
            .of
            .as_ref()
            .map_or(String::new(), |of| format!(" ({of})"));
        let part = match (self.from, self.seconds) {
            (from, Some(seconds)) => format!(", {seconds} s from {from} s on"),
            (from, None) if from > 0.0 => format!(", from {from} s on"),
            _ => String::new(),
        };
        let Factors {
            faster,
            copies,
            keep,
        } = self.factors();
        let recorded = self.mean_rate();
        let scaled = match self.scaling {
            Scaling::AsRecorded => format!("at the recorded {recorded:.3}/s"),
            Scaling::Compression { rate } => {
                format!(
                    "time compressed {faster:.3} times, from {recorded:.3}/s to {}/s",
                    plain(rate)
                )
            }
            Scaling::Superposition { rate } if matches!(self.recorded, Recording::Requests(_)) => {
                format!(
                    "{copies} shifted copies of which {:.1} % are kept, from {recorded:.3}/s to {}/s",
                    keep * 100.0,
                    plain(rate)
                )
            }
            Scaling::Superposition { rate } | Scaling::Thinning { rate } => {
                format!(
                    "{:.1} % of the requests, from {recorded:.3}/s to {}/s",
                    copies as f64 * keep * 100.0,
                    plain(rate)
                )
            }
        };
        format!("{what} {}{of}{part}, {scaled}", self.file)
    }
}

/// The part of a trace that is replayed.
struct Part {
    rows: Arc<[Recorded]>,
    /// Where it begins, and how many requests it has.
    first: usize,
    len: usize,
    from: f64,
}

/// One copy of the part, turned by a shift: what that pushes over the end comes first.
#[derive(Clone, Copy)]
struct Turned {
    /// Its next request, counted from the beginning of the part.
    next: usize,
    /// Requests that it still has, the next one included.
    left: usize,
    /// By how much the next request is shifted, and by how much those from the beginning of the part are.
    shift: f64,
    forward: f64,
    /// When its next request arrives, in seconds of the trace; infinite after the last.
    at: f64,
}

impl Part {
    fn time(&self, turned: &Turned) -> f64 {
        match self.rows.get(self.first + turned.next) {
            Some(row) if turned.left > 0 => row.at - self.from + turned.shift,
            _ => f64::INFINITY,
        }
    }

    fn copy(&self, shift: f64, span: f64) -> Turned {
        let rows = &self.rows[self.first..self.first + self.len];
        let stays = rows.partition_point(|row| row.at - self.from < span - shift);
        let mut turned = Turned {
            next: stays,
            left: self.len,
            shift: shift - span,
            forward: shift,
            at: 0.0,
        };
        // The last request may stand at the very end of the span.
        if stays == self.len || shift == 0.0 {
            (turned.next, turned.shift) = (0, shift);
        }
        turned.at = self.time(&turned);
        turned
    }

    fn advance(&self, turned: &mut Turned) {
        turned.left -= 1;
        turned.next += 1;
        if turned.next == self.len {
            (turned.next, turned.shift) = (0, turned.forward);
        }
        turned.at = self.time(turned);
    }
}

/// Recorded requests that are played again.
struct Replaying {
    part: Part,
    copies: Vec<Turned>,
    faster: f64,
    keep: f64,
    /// When the last request arrived, in seconds of the trace.
    last: f64,
    thinning: Stream,
    work: Works,
}

/// Where works come from.
enum Works {
    Equal,
    Drawn(Stream),
    /// What tokens cost, and what makes a work of 1.
    Tokens(TokenWork, f64),
}

impl Iterator for Replaying {
    type Item = Request;

    fn next(&mut self) -> Option<Request> {
        loop {
            let (mut first, mut at) = (0, f64::INFINITY);
            for (index, copy) in self.copies.iter().enumerate() {
                if copy.at < at {
                    (first, at) = (index, copy.at);
                }
            }
            if at.is_infinite() {
                return None;
            }
            let row = self.part.rows[self.part.first + self.copies[first].next];
            self.part.advance(&mut self.copies[first]);
            if self.keep < 1.0 && self.thinning.uniform() > self.keep {
                continue;
            }
            let work = match &mut self.work {
                Works::Equal => 1.0,
                Works::Drawn(stream) => stream.exponential(),
                Works::Tokens(tokens, mean) => tokens.gpu_seconds(&row) / *mean,
            };
            // Rounding of a shift may fall behind the last by a hair.
            self.last = self.last.max(at);
            let at = self.last / self.faster;
            return Some(Request { at, work });
        }
    }
}

#[cfg(test)]
mod tests;
