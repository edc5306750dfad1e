//! Bursty arrivals: a Poisson process whose rate jumps between two levels (MMPP), fitted to measured statistics.
//!
//! With levels `l1`, `l2`, jump rates `r1`, `r2`, `a = r1 + r2`, `p1 = r2 / a` and `v` the variance of the rate, the
//! index of dispersion over a window `t` is `1 + K f(a t)`, where `f(x) = 1 - (1 - e^-x) / x` and `K = 2 v / (a mean)`,
//! and the squared coefficient of variation of the gaps is `1 + 2 v / (l1 l2 + a mean)`
//! (Fischer and Meier-Hellstern, The Markov-modulated Poisson process cookbook, 1993). Two windows fix `a` and `K`;
//! the gaps fix how the time is divided between the levels.

use super::pieces::Piece;
use super::random::Stream;
use super::statistics::Burstiness;

/// A Poisson process that jumps between two rates.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mmpp {
    /// Arrivals a second at the high and at the low level.
    pub rates: [f64; 2],
    /// How often a second each level is left.
    pub leave: [f64; 2],
}

impl Mmpp {
    /// The process that has these statistics. Where none has all of them (a dispersion that hardly grows with the
    /// window, gaps that are spread wider or less than two levels can) the mean and the dispersions are kept and the
    /// gaps come as near as possible; without any burstiness it is Poisson.
    pub fn fit(wanted: &Burstiness) -> Self {
        let mean = wanted.mean;
        let (short, long) = (wanted.idc_1s - 1.0, wanted.idc_60s - 1.0);
        if short <= 1e-6 || long <= short || mean <= 0.0 {
            return Self {
                rates: [mean; 2],
                leave: [1.0; 2],
            };
        }
        // f(a) / f(60 a) grows from 1/60 to 1 with a.
        let ratio = (short / long).max(1.0 / 59.0);
        let a = bisect(1e-5, 1e3, |a| growth(a) / growth(60.0 * a) - ratio);
        let variance = long / growth(60.0 * a) * a * mean / 2.0;
        // The gaps are spread the wider the smaller the part p of the time at the high level; p cannot be larger
        // than what brings the low level to zero.
        let most = mean * mean / (mean * mean + variance);
        let at = |p: f64| Self::with(mean, variance, a, p);
        let p = bisect(1e-6, most, |p| at(p).cv() - wanted.cv);
        at(p)
    }

    /// Mean rate, variance of the rate, sum of the jump rates, part of the time at the high level.
    fn with(mean: f64, variance: f64, a: f64, p: f64) -> Self {
        let step = (variance / (p * (1.0 - p))).sqrt();
        Self {
            rates: [mean + step * (1.0 - p), (mean - step * p).max(0.0)],
            leave: [a * (1.0 - p), a * p],
        }
    }

    /// Its exact statistics.
    pub fn statistics(&self) -> Burstiness {
        Burstiness {
            mean: self.mean(),
            idc_1s: self.dispersion(1.0),
            idc_60s: self.dispersion(60.0),
            cv: self.cv(),
        }
    }

    /// The same process with time running `factor` times as fast.
    pub fn faster(&self, factor: f64) -> Self {
        Self {
            rates: self.rates.map(|rate| rate * factor),
            leave: self.leave.map(|rate| rate * factor),
        }
    }

    /// Its rate over time.
    pub(super) fn pieces(&self, mut stream: Stream) -> impl Iterator<Item = Piece> + Send + use<> {
        let mmpp = *self;
        let mut level = usize::from(stream.uniform() > mmpp.high_part());
        std::iter::from_fn(move || {
            let piece = Piece {
                seconds: stream.exponential() / mmpp.leave[level],
                rate: mmpp.rates[level],
            };
            level = 1 - level;
            Some(piece)
        })
    }

    fn high_part(&self) -> f64 {
        self.leave[1] / (self.leave[0] + self.leave[1])
    }

    fn mean(&self) -> f64 {
        let p = self.high_part();
        p * self.rates[0] + (1.0 - p) * self.rates[1]
    }

    fn variance(&self) -> f64 {
        let p = self.high_part();
        p * (1.0 - p) * (self.rates[0] - self.rates[1]).powi(2)
    }

    fn dispersion(&self, window: f64) -> f64 {
        let a = self.leave[0] + self.leave[1];
        1.0 + 2.0 * self.variance() / (a * self.mean()) * growth(a * window)
    }

    fn cv(&self) -> f64 {
        let a = self.leave[0] + self.leave[1];
        (1.0 + 2.0 * self.variance() / (self.rates[0] * self.rates[1] + a * self.mean())).sqrt()
    }
}

/// 1 - (1 - e^-x) / x, without cancellation for small x.
fn growth(x: f64) -> f64 {
    if x < 1e-4 {
        x / 2.0
    } else {
        1.0 + libm::expm1(-x) / x
    }
}

/// Where a monotone function crosses zero, on a logarithmic scale; the nearer end when it does not.
fn bisect(mut low: f64, mut high: f64, f: impl Fn(f64) -> f64) -> f64 {
    let rising = f(high) > f(low);
    for _ in 0..200 {
        let middle = (low * high).sqrt();
        if (f(middle) < 0.0) == rising {
            low = middle;
        } else {
            high = middle;
        }
    }
    (low * high).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulation::load::FOUR_AGENT_A;
    use crate::simulation::load::pieces::{Spacing, arriving};
    use crate::simulation::load::random::Purpose;

    fn near(agent: &str, got: &Burstiness, want: &Burstiness, tolerance: f64) {
        for (got_one, want_one) in [
            (got.mean, want.mean),
            (got.idc_1s, want.idc_1s),
            (got.idc_60s, want.idc_60s),
            (got.cv, want.cv),
        ] {
            assert!(
                (got_one / want_one - 1.0).abs() < tolerance,
                "{agent}: {got:?} instead of {want:?}"
            );
        }
    }

    #[test]
    fn the_fit_has_the_declared_statistics_of_every_built_in_agent() {
        for (agent, want) in FOUR_AGENT_A {
            let got = Mmpp::fit(&want).statistics();
            assert!(
                (got.idc_1s / want.idc_1s - 1.0).abs() < 1e-3,
                "{agent}: {got:?}"
            );
            assert!(
                (got.idc_60s / want.idc_60s - 1.0).abs() < 1e-3,
                "{agent}: {got:?}"
            );
            near(agent, &got, &want, 0.03);
        }
    }

    #[test]
    fn what_is_generated_has_the_statistics_of_the_fit() {
        let seconds = 300_000.0;
        for (agent, want) in FOUR_AGENT_A {
            let stream = |purpose| Stream::new(5, agent, purpose);
            let pieces = Mmpp::fit(&want).pieces(stream(Purpose::Rates));
            let times: Vec<f64> = arriving(pieces, Spacing::Poisson, stream(Purpose::Arrivals))
                .take_while(|at| *at < seconds)
                .collect();
            let got = Burstiness::of(&times, seconds);
            near(agent, &got, &want, 0.1);
        }
    }

    #[test]
    fn without_burstiness_it_is_poisson() {
        let poisson = Burstiness {
            mean: 3.0,
            idc_1s: 1.0,
            idc_60s: 1.0,
            cv: 1.0,
        };
        let fitted = Mmpp::fit(&poisson).statistics();
        near("poisson", &fitted, &poisson, 1e-9);
    }

    #[test]
    fn faster_time_keeps_the_shape_at_a_shorter_scale() {
        let slow = Mmpp::fit(&FOUR_AGENT_A[0].1);
        let fast = slow.faster(10.0);
        assert!((fast.mean() / slow.mean() - 10.0).abs() < 1e-9);
        assert!((fast.dispersion(6.0) / slow.dispersion(60.0) - 1.0).abs() < 1e-9);
        assert!((fast.cv() / slow.cv() - 1.0).abs() < 1e-9);
    }
}
