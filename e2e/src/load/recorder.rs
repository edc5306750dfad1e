//! What became of an agent's requests, as its clients saw it.
//!
//! Every request that is offered ends in exactly one of: served, lost, shed, or is still open.

use std::collections::VecDeque;

use serde::Serialize;

use crate::engine::stats::{Latencies, LatencySummary};

/// How many of the last seconds keep their latencies.
const RECENT: usize = 30;
/// How many seconds the series keeps.
const SERIES: usize = 4 * 3600;

/// One second of an agent's life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Second {
    /// Which second of the load.
    pub second: u64,
    /// Requests that arrived in it.
    pub offered: u64,
    /// Requests that were answered in it.
    pub served: u64,
    /// Mean latency of those, in seconds; 0 without any.
    pub mean_latency: f64,
    /// Requests that were open at its end.
    pub open: u64,
}

/// Counts of one agent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// Requests that arrived.
    pub offered: u64,
    /// Answered, at once or after retries.
    pub served: u64,
    /// Answered after at least one retry.
    pub served_after_retry: u64,
    /// Given up after too many retries or too long a wait.
    pub lost: u64,
    /// Not sent at all, because too many were open.
    pub shed: u64,
    /// Still open.
    pub open: u64,
    /// Tries that an engine cut off.
    pub cut: u64,
    /// Tries that an engine refused.
    pub refused: u64,
    /// Requests that found no ready pod when they first looked.
    pub without_pod: u64,
}

/// The record of one agent.
#[derive(Clone, Debug, Default)]
pub struct Recorder {
    counts: Counts,
    latencies: Latencies,
    recent: VecDeque<(u64, Latencies)>,
    series: VecDeque<Second>,
}

impl Recorder {
    /// A request arrives at `now` (seconds of the load).
    pub fn offered(&mut self, now: f64) {
        self.counts.offered += 1;
        self.counts.open += 1;
        self.second(now).offered += 1;
    }

    /// It was answered at `now`, `latency` seconds after it arrived.
    pub fn served(&mut self, now: f64, latency: f64, retried: bool) {
        self.counts.open -= 1;
        self.counts.served += 1;
        self.counts.served_after_retry += u64::from(retried);
        self.latencies.add(latency);
        let second = self.second(now);
        second.served += 1;
        second.mean_latency += (latency - second.mean_latency) / second.served as f64;
        let number = second.second;
        if self.recent.back().is_none_or(|(last, _)| *last < number) {
            self.recent.push_back((number, Latencies::default()));
            if self.recent.len() > RECENT {
                self.recent.pop_front();
            }
        }
        if let Some((_, latencies)) = self.recent.back_mut() {
            latencies.add(latency);
        }
    }

    /// It was given up.
    pub fn lost(&mut self, now: f64) {
        self.counts.open -= 1;
        self.counts.lost += 1;
        self.second(now);
    }

    /// It was not sent, because too many are open.
    pub fn shed(&mut self, now: f64) {
        self.counts.open -= 1;
        self.counts.shed += 1;
        self.second(now);
    }

    /// A try was cut off.
    pub fn cut(&mut self) {
        self.counts.cut += 1;
    }

    /// A try was refused.
    pub fn refused(&mut self) {
        self.counts.refused += 1;
    }

    /// It found no ready pod.
    pub fn without_pod(&mut self) {
        self.counts.without_pod += 1;
    }

    /// The counts so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// All latencies so far.
    pub fn latencies(&self) -> &Latencies {
        &self.latencies
    }

    /// The latencies of requests that were answered in the last `seconds` before `now` (at most 30).
    pub fn recent(&self, now: f64, seconds: f64) -> LatencySummary {
        let mut sum = Latencies::default();
        for (_, latencies) in self
            .recent
            .iter()
            .filter(|(second, _)| (*second as f64) >= now - seconds)
        {
            sum.merge(latencies);
        }
        sum.summary()
    }

    /// Second by second, the last four hours; seconds in which nothing happened are left out.
    pub fn series(&self) -> &VecDeque<Second> {
        &self.series
    }

    /// The record of the present second; an earlier one counts as the present.
    fn second(&mut self, now: f64) -> &mut Second {
        let second = now.max(0.0) as u64;
        let open = self.counts.open;
        if self.series.back().is_none_or(|last| last.second < second) {
            if self.series.len() == SERIES {
                self.series.pop_front();
            }
            self.series.push_back(Second {
                second,
                ..Second::default()
            });
        }
        let last = self.series.len() - 1;
        let entry = &mut self.series[last];
        entry.open = open;
        entry
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_request_ends_in_one_place() {
        let mut record = Recorder::default();
        for _ in 0..5 {
            record.offered(0.5);
        }
        record.served(1.5, 1.0, false);
        record.served(1.7, 2.0, true);
        record.lost(2.0);
        record.shed(2.0);
        let counts = record.counts();
        assert_eq!(
            (
                counts.served,
                counts.served_after_retry,
                counts.lost,
                counts.shed,
                counts.open
            ),
            (2, 1, 1, 1, 1)
        );
        assert_eq!(
            counts.offered,
            counts.served + counts.lost + counts.shed + counts.open
        );
    }

    #[test]
    fn the_series_has_each_second_once() {
        let mut record = Recorder::default();
        record.offered(0.2);
        record.offered(0.9);
        record.served(4.1, 2.0, false);
        record.served(4.2, 4.0, false);
        let series: Vec<Second> = record.series().iter().copied().collect();
        assert_eq!(series.len(), 2);
        assert_eq!(
            (series[0].second, series[0].offered, series[0].open),
            (0, 2, 2)
        );
        assert_eq!(
            (series[1].second, series[1].served, series[1].open),
            (4, 2, 0)
        );
        assert!((series[1].mean_latency - 3.0).abs() < 1e-12);
    }

    #[test]
    fn recent_latencies_forget_the_old_ones() {
        let mut record = Recorder::default();
        for second in 0..100 {
            record.offered(f64::from(second));
            record.served(f64::from(second), f64::from(second), false);
        }
        let recent = record.recent(100.0, 10.0);
        assert_eq!(recent.count, 10);
        assert!((recent.mean - 94.5).abs() < 1e-9);
        assert_eq!(record.latencies().count(), 100);
    }
}
