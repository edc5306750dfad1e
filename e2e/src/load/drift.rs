//! Drifting arrivals: a rate that wanders from window to window.
//!
//! The logarithm of the rate is an autoregressive walk (AR(1)) around its mean; within a window arrivals are Poisson.

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::arrivals::Piece;
use super::random::normal;

/// How a rate wanders.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Drift {
    /// Arrivals a second, in the long run.
    pub mean: f64,
    /// Standard deviation of the logarithm of the windows' rates.
    pub sigma: f64,
    /// Correlation of the logarithms of neighbouring windows' rates.
    pub correlation: f64,
    /// Length of a window in seconds.
    pub window: f64,
}

impl Drift {
    /// The same drift with another mean rate and the windows `faster` times as short.
    pub fn scaled(&self, mean: f64, faster: f64) -> Self {
        Self {
            mean,
            window: self.window / faster,
            ..*self
        }
    }

    /// Its rate over time.
    pub fn pieces(&self, seed: u64) -> impl Iterator<Item = Piece> + Send + use<> {
        let drift = *self;
        let mut rng = StdRng::seed_from_u64(seed);
        let mut level = normal(&mut rng);
        let innovation = (1.0 - drift.correlation * drift.correlation)
            .max(0.0)
            .sqrt();
        std::iter::from_fn(move || {
            // The mean of exp(sigma * normal) is exp(sigma^2 / 2).
            let rate = drift.mean * (drift.sigma * level - drift.sigma * drift.sigma / 2.0).exp();
            level = drift.correlation * level + innovation * normal(&mut rng);
            Some(Piece {
                seconds: drift.window,
                rate,
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::arrivals::{Spacing, arrivals};
    use crate::load::builtin::FOUR_AGENT_B;
    use crate::load::statistics::{autocorrelation, counts, moments};

    #[test]
    fn what_is_generated_drifts_as_declared() {
        for (agent, drift) in FOUR_AGENT_B {
            // Windows of many arrivals each, so that their counts are their rates.
            let windows = 4_000.0;
            let quick = drift.scaled(200.0, drift.window);
            let times: Vec<f64> = arrivals(quick.pieces(8), Spacing::Poisson, 9)
                .take_while(|at| *at < windows)
                .collect();
            let rates = counts(&times, 1.0, windows);
            let (mean, _) = moments(&rates);
            let logs: Vec<f64> = rates.iter().map(|rate| rate.max(1.0).ln()).collect();
            let (_, variance) = moments(&logs);
            // The counting noise of Poisson adds about 1 / count to the variance of the logarithm.
            let noise = rates.iter().map(|rate| 1.0 / rate.max(1.0)).sum::<f64>() / windows;
            let sigma = (variance - noise).max(0.0).sqrt();
            let correlation = autocorrelation(&logs) * variance / (variance - noise);
            assert!((mean / 200.0 - 1.0).abs() < 0.08, "{agent}: {mean}");
            assert!((sigma / drift.sigma - 1.0).abs() < 0.1, "{agent}: {sigma}");
            assert!(
                (correlation - drift.correlation).abs() < 0.08,
                "{agent}: {correlation}"
            );
        }
    }

    #[test]
    fn scaling_keeps_the_shape_of_the_drift() {
        let (_, drift) = FOUR_AGENT_B[1];
        let pieces = |drift: Drift| drift.pieces(1).take(50).collect::<Vec<_>>();
        let (slow, fast) = (pieces(drift), pieces(drift.scaled(drift.mean * 7.0, 60.0)));
        for (slow, fast) in slow.iter().zip(&fast) {
            assert!((fast.rate / slow.rate - 7.0).abs() < 1e-9);
            assert!((slow.seconds / fast.seconds - 60.0).abs() < 1e-9);
        }
    }
}
