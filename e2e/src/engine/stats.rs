//! Latencies and counts of one agent, in bounded memory.

use serde::Serialize;

/// Smallest latency that is told apart, in seconds.
const FLOOR: f64 = 1e-4;
/// Ratio of one bin's bound to the next: quantiles are exact to 2 %.
const RATIO: f64 = 1.02;
/// Bins from 0.1 ms to about 30 hours.
const BINS: usize = 1050;

/// A histogram of latencies with bins of 2 %; the mean and the maximum are exact.
#[derive(Clone, Debug, PartialEq)]
pub struct Latencies {
    bins: Vec<u64>,
    count: u64,
    sum: f64,
    max: f64,
}

impl Default for Latencies {
    fn default() -> Self {
        Self {
            bins: vec![0; BINS],
            count: 0,
            sum: 0.0,
            max: 0.0,
        }
    }
}

/// What is usually asked of latencies, in seconds. All zero when there are none: look at `count` first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct LatencySummary {
    /// How many.
    pub count: u64,
    /// Arithmetic mean.
    pub mean: f64,
    /// Half of them were at most this long.
    pub p50: f64,
    /// 95 % were at most this long.
    pub p95: f64,
    /// 99 % were at most this long.
    pub p99: f64,
    /// The longest.
    pub max: f64,
}

impl Latencies {
    /// Adds one; negative and NaN count as 0.
    pub fn add(&mut self, seconds: f64) {
        let seconds = seconds.max(0.0);
        let bin = (seconds.max(FLOOR) / FLOOR).ln() / RATIO.ln();
        self.bins[(bin as usize).min(BINS - 1)] += 1;
        self.count += 1;
        self.sum += seconds;
        self.max = self.max.max(seconds);
    }

    /// Adds all of another's.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.bins.iter_mut().zip(&other.bins) {
            *mine += theirs;
        }
        self.count += other.count;
        self.sum += other.sum;
        self.max = self.max.max(other.max);
    }

    /// How many.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The arithmetic mean in seconds; `None` without any.
    pub fn mean(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum / self.count as f64)
    }

    /// The value below which a part `q` (0 to 1) of them lies, to 2 %; `None` without any.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        let rank = ((q * self.count as f64).ceil() as u64).clamp(1, self.count.max(1));
        let mut seen = 0;
        let bin = self.bins.iter().position(|n| {
            seen += n;
            seen >= rank
        })?;
        Some((FLOOR * RATIO.powf(bin as f64 + 0.5)).min(self.max))
    }

    /// The usual figures.
    pub fn summary(&self) -> LatencySummary {
        let quantile = |q| self.quantile(q).unwrap_or(0.0);
        LatencySummary {
            count: self.count,
            mean: self.mean().unwrap_or(0.0),
            p50: quantile(0.5),
            p95: quantile(0.95),
            p99: quantile(0.99),
            max: self.max,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn quantiles_are_right_to_two_percent_over_seven_decades() {
        for scale in [1e-3, 1.0, 1e4] {
            let mut latencies = Latencies::default();
            for i in 1..=10_000 {
                latencies.add(scale * f64::from(i) / 10_000.0);
            }
            for q in [0.5, 0.95, 0.99] {
                let got = latencies.quantile(q).unwrap();
                assert!((got / (scale * q) - 1.0).abs() < 0.02, "{q}: {got}");
            }
            assert!((latencies.mean().unwrap() / (scale * 0.50005) - 1.0).abs() < 1e-9);
        }
    }

    #[test]
    fn no_latencies_are_not_a_latency_of_zero() {
        let latencies = Latencies::default();
        assert_eq!((latencies.mean(), latencies.quantile(0.5)), (None, None));
        assert_eq!(latencies.summary().count, 0);
    }

    #[test]
    fn merging_is_adding_all() {
        let (mut a, mut b, mut both) = (
            Latencies::default(),
            Latencies::default(),
            Latencies::default(),
        );
        for i in 0..100 {
            let target = if i % 3 == 0 { &mut a } else { &mut b };
            target.add(f64::from(i));
            both.add(f64::from(i));
        }
        a.merge(&b);
        assert_eq!(a.summary(), both.summary());
    }

    #[test]
    fn absurd_latencies_do_not_break_the_histogram() {
        let mut latencies = Latencies::default();
        for absurd in [f64::NAN, -1.0, 1e300] {
            latencies.add(absurd);
        }
        assert_eq!(latencies.count(), 3);
        assert_eq!(latencies.quantile(0.3), Some(FLOOR * RATIO.powf(0.5)));
    }
}
