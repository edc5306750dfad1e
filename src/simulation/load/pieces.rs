//! Arrivals from a rate that changes in steps. Every generator is one of these: it says how long which rate holds.

use serde::Deserialize;

use super::random::Stream;

/// A rate that holds for a while.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Piece {
    /// For how long, in seconds, at least 0; infinite (and in a file: absent) for ever.
    #[serde(default = "forever")]
    pub seconds: f64,
    /// Arrivals a second, at least 0.
    pub rate: f64,
}

fn forever() -> f64 {
    f64::INFINITY
}

impl Piece {
    /// A rate that holds for ever.
    pub fn forever(rate: f64) -> Self {
        let seconds = forever();
        Self { seconds, rate }
    }
}

/// How arrivals are spaced under a rate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum Spacing {
    /// Evenly: exactly one each time the integral of the rate has grown by one.
    Even,
    /// Independently (Poisson).
    #[default]
    Poisson,
}

impl Spacing {
    /// In words for an output.
    pub(super) fn describe(self) -> &'static str {
        match self {
            Self::Even => "evenly spaced",
            Self::Poisson => "Poisson",
        }
    }
}

/// Arrival times in seconds, in order; ends when the pieces end.
#[derive(Debug)]
pub(super) struct Arriving<P> {
    pieces: P,
    /// `None`: even.
    stream: Option<Stream>,
    /// Since when the rate has held, or the last arrival under it; the rate; and until when it holds.
    from: f64,
    rate: f64,
    until: f64,
}

/// The arrivals of a rate in pieces.
pub(super) fn arriving<P: Iterator<Item = Piece>>(
    pieces: P,
    spacing: Spacing,
    stream: Stream,
) -> Arriving<P> {
    Arriving {
        pieces,
        stream: (spacing == Spacing::Poisson).then_some(stream),
        from: 0.0,
        rate: 0.0,
        until: 0.0,
    }
}

impl<P: Iterator<Item = Piece>> Iterator for Arriving<P> {
    type Item = f64;

    #[inline]
    fn next(&mut self) -> Option<f64> {
        // The integral of the rate that passes until the next arrival.
        let mut left = match &mut self.stream {
            Some(stream) => stream.exponential(),
            None => 1.0,
        };
        loop {
            if self.rate > 0.0 {
                let room = (self.until - self.from) * self.rate;
                // Rounding must not push the last arrival of a piece out of it.
                if left <= room + 1e-9 {
                    self.from = (self.from + left / self.rate).min(self.until);
                    return self.from.is_finite().then_some(self.from);
                }
                left -= room;
            }
            if self.until.is_infinite() {
                return None;
            }
            let piece = self.pieces.next()?;
            self.from = self.until;
            self.until += piece.seconds;
            self.rate = piece.rate;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulation::load::random::Purpose;
    use crate::simulation::load::statistics::{Burstiness, counts, moments};

    fn times(pieces: &[Piece], spacing: Spacing, seed: u64) -> impl Iterator<Item = f64> + use<> {
        let stream = Stream::new(seed, "a", Purpose::Arrivals);
        arriving(Vec::from(pieces).into_iter(), spacing, stream)
    }

    fn piece(seconds: f64, rate: f64) -> Piece {
        Piece { seconds, rate }
    }

    #[test]
    fn a_constant_rate_is_evenly_spaced() {
        let times = times(&[Piece::forever(4.0)], Spacing::Even, 0);
        assert_eq!(times.take(4).collect::<Vec<_>>(), [0.25, 0.5, 0.75, 1.0]);
    }

    #[test]
    fn a_step_changes_the_rate_at_its_time_and_loses_nothing() {
        let pieces = [piece(10.0, 1.5), piece(5.0, 0.0), piece(10.0, 10.0)];
        let times: Vec<f64> = times(&pieces, Spacing::Even, 0).collect();
        let between =
            |from: f64, to: f64| times.iter().filter(|at| (from..to).contains(*at)).count();
        assert_eq!(between(0.0, 10.0 + 1e-9), 15);
        assert_eq!(between(10.0 + 1e-9, 15.0), 0);
        assert_eq!(times.len(), 115);
    }

    #[test]
    fn poisson_arrivals_have_the_statistics_of_poisson() {
        let seconds = 60_000.0;
        let times: Vec<f64> = times(&[Piece::forever(5.0)], Spacing::Poisson, 1)
            .take_while(|at| *at < seconds)
            .collect();
        let measured = Burstiness::of(&times, seconds);
        // 300 000 arrivals: four standard errors of the mean are 0.037.
        assert!((measured.mean - 5.0).abs() < 0.037, "{measured:?}");
        // The dispersion of n windows has a standard error of sqrt(2 / n): 1000 windows of 60 s.
        assert!((measured.idc_60s - 1.0).abs() < 0.18, "{measured:?}");
        assert!((measured.idc_1s - 1.0).abs() < 0.024, "{measured:?}");
        assert!((measured.cv - 1.0).abs() < 0.01, "{measured:?}");
    }

    #[test]
    fn poisson_arrivals_under_a_step_follow_both_rates() {
        let pieces = [piece(5_000.0, 2.0), piece(5_000.0, 20.0)];
        let times: Vec<f64> = times(&pieces, Spacing::Poisson, 1).collect();
        let counted = counts(&times, 5_000.0, 10_000.0);
        // Four standard errors of counts.
        assert!((counted[0] - 10_000.0).abs() < 400.0, "{counted:?}");
        assert!((counted[1] - 100_000.0).abs() < 1_265.0, "{counted:?}");
        let (mean, variance) = moments(&counts(&times, 1.0, 5_000.0));
        assert!((variance / mean - 1.0).abs() < 0.08);
    }

    #[test]
    fn the_same_seed_gives_the_same_arrivals_and_another_seed_others() {
        let of = |seed| {
            times(&[Piece::forever(5.0)], Spacing::Poisson, seed)
                .take(50)
                .collect::<Vec<_>>()
        };
        assert_eq!(of(1), of(1));
        assert_ne!(of(1), of(2));
    }

    #[test]
    fn a_rate_of_nothing_ends_and_a_rate_so_small_that_time_overflows_too() {
        assert_eq!(
            times(&[Piece::forever(0.0)], Spacing::Poisson, 1).next(),
            None
        );
        assert_eq!(
            times(&[Piece::forever(1e-308)], Spacing::Even, 1).nth(1),
            None
        );
    }
}
