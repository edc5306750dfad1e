//! Arrivals from a rate that changes in steps. Every generator is one of these: it says how long which rate holds.

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::random::exponential;

/// A rate that holds for a while.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Piece {
    /// For how long, in seconds; infinite for ever.
    pub seconds: f64,
    /// Arrivals a second, at least 0.
    pub rate: f64,
}

impl Piece {
    /// A rate that holds for ever.
    pub fn forever(rate: f64) -> Self {
        Self {
            seconds: f64::INFINITY,
            rate,
        }
    }
}

/// How arrivals are spaced under a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spacing {
    /// Evenly: exactly one each time the integral of the rate has grown by one.
    Even,
    /// Independently (Poisson).
    Poisson,
}

/// Arrival times in seconds, in order; ends when the pieces end.
#[derive(Debug)]
pub struct Arrivals<P> {
    pieces: P,
    spacing: Spacing,
    rng: StdRng,
    /// Start and rate of the piece that holds, and its end.
    from: f64,
    rate: f64,
    until: f64,
}

/// The arrivals of a rate in pieces.
pub fn arrivals<P: Iterator<Item = Piece>>(pieces: P, spacing: Spacing, seed: u64) -> Arrivals<P> {
    Arrivals {
        pieces,
        spacing,
        rng: StdRng::seed_from_u64(seed),
        from: 0.0,
        rate: 0.0,
        until: 0.0,
    }
}

impl<P: Iterator<Item = Piece>> Iterator for Arrivals<P> {
    type Item = f64;

    fn next(&mut self) -> Option<f64> {
        // The integral of the rate that passes until the next arrival.
        let mut left = match self.spacing {
            Spacing::Even => 1.0,
            Spacing::Poisson => exponential(&mut self.rng, 1.0),
        };
        loop {
            let room = if self.rate > 0.0 {
                (self.until - self.from) * self.rate
            } else {
                0.0
            };
            // Rounding must not push the last arrival of a piece out of it.
            if left <= room + 1e-9 && self.rate > 0.0 {
                self.from = (self.from + left / self.rate).min(self.until);
                return Some(self.from);
            }
            if self.until.is_infinite() {
                return None;
            }
            left -= room;
            let piece = self.pieces.next()?;
            self.from = self.until;
            self.until += piece.seconds.max(0.0);
            self.rate = piece.rate;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::statistics::{Burstiness, counts, moments};

    fn until<P: Iterator<Item = Piece>>(arrivals: Arrivals<P>, seconds: f64) -> Vec<f64> {
        arrivals.take_while(|at| *at < seconds).collect()
    }

    #[test]
    fn a_constant_rate_is_evenly_spaced() {
        let times = arrivals([Piece::forever(4.0)].into_iter(), Spacing::Even, 0);
        assert_eq!(times.take(4).collect::<Vec<_>>(), [0.25, 0.5, 0.75, 1.0]);
    }

    #[test]
    fn a_step_changes_the_rate_at_its_time_and_loses_nothing() {
        let pieces = [
            Piece {
                seconds: 10.0,
                rate: 1.5,
            },
            Piece {
                seconds: 5.0,
                rate: 0.0,
            },
            Piece {
                seconds: 10.0,
                rate: 10.0,
            },
        ];
        let times: Vec<f64> = arrivals(pieces.into_iter(), Spacing::Even, 0).collect();
        let in_seconds =
            |from: f64, to: f64| times.iter().filter(|at| (from..to).contains(*at)).count();
        assert_eq!(in_seconds(0.0, 10.0 + 1e-9), 15);
        assert_eq!(in_seconds(10.0 + 1e-9, 15.0), 0);
        assert_eq!(times.len(), 115);
    }

    #[test]
    fn poisson_arrivals_have_the_statistics_of_poisson() {
        let times = until(
            arrivals([Piece::forever(5.0)].into_iter(), Spacing::Poisson, 1),
            60_000.0,
        );
        let measured = Burstiness::of(&times, 60_000.0);
        assert!((measured.mean - 5.0).abs() < 0.1, "{measured:?}");
        for one in [measured.idc_1s, measured.idc_60s, measured.cv] {
            assert!((one - 1.0).abs() < 0.15, "{measured:?}");
        }
    }

    #[test]
    fn poisson_arrivals_under_a_step_follow_both_rates() {
        let pieces = [
            Piece {
                seconds: 5_000.0,
                rate: 2.0,
            },
            Piece {
                seconds: 5_000.0,
                rate: 20.0,
            },
        ];
        let times: Vec<f64> = arrivals(pieces.into_iter(), Spacing::Poisson, 1).collect();
        let counted = counts(&times, 5_000.0, 10_000.0);
        assert!(
            (counted[0] / 10_000.0 - 1.0).abs() < 0.05
                && (counted[1] / 100_000.0 - 1.0).abs() < 0.02
        );
        let (mean, variance) = moments(&counts(&times[..10_000.min(times.len())], 1.0, 5_000.0));
        assert!((variance / mean - 1.0).abs() < 0.1);
    }

    #[test]
    fn the_same_seed_gives_the_same_arrivals_and_another_seed_others() {
        let of = |seed| {
            until(
                arrivals([Piece::forever(5.0)].into_iter(), Spacing::Poisson, seed),
                10.0,
            )
        };
        assert_eq!(of(1), of(1));
        assert_ne!(of(1), of(2));
    }
}
