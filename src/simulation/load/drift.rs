//! Drifting arrivals: a rate that wanders from window to window.
//!
//! The logarithm of the rate is an autoregressive walk (AR(1)) around its mean; within a window arrivals are Poisson.

use serde::Deserialize;

use super::pieces::Piece;
use super::random::Stream;

/// How a rate wanders.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Drift {
    /// Arrivals a second, in the long run; > 0.
    pub rate: f64,
    /// Standard deviation of the logarithm of the windows' rates; from 0 to 3.
    pub sigma: f64,
    /// Correlation of the logarithms of neighbouring windows' rates; from 0 to 1, below 1.
    pub correlation: f64,
    /// Length of a window in seconds; > 0.
    pub window: f64,
}

impl Drift {
    /// The same drift with another mean rate and the windows `faster` times as short.
    pub fn scaled(&self, rate: f64, faster: f64) -> Self {
        Self {
            rate,
            window: self.window / faster,
            ..*self
        }
    }

    /// Its rate over time.
    pub(super) fn pieces(&self, mut stream: Stream) -> impl Iterator<Item = Piece> + Send + use<> {
        let drift = *self;
        let mut level = stream.normal();
        let innovation = (1.0 - drift.correlation * drift.correlation)
            .max(0.0)
            .sqrt();
        std::iter::from_fn(move || {
            // The mean of exp(sigma * normal) is exp(sigma^2 / 2).
            let rate =
                drift.rate * libm::exp(drift.sigma * level - drift.sigma * drift.sigma / 2.0);
            level = drift.correlation * level + innovation * stream.normal();
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
    use crate::simulation::load::FOUR_AGENT_B;
    use crate::simulation::load::pieces::{Spacing, arriving};
    use crate::simulation::load::random::Purpose;
    use crate::simulation::load::statistics::{autocorrelation, counts, moments};

    #[test]
    fn what_is_generated_drifts_as_declared() {
        for (agent, drift) in FOUR_AGENT_B {
            // Windows of many arrivals each, so that their counts are their rates.
            let windows = 4_000.0;
            let quick = drift.scaled(200.0, drift.window);
            let stream = |purpose| Stream::new(8, agent, purpose);
            let pieces = quick.pieces(stream(Purpose::Rates));
            let times: Vec<f64> = arriving(pieces, Spacing::Poisson, stream(Purpose::Arrivals))
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
        let pieces = |drift: Drift| {
            let stream = Stream::new(1, "a", Purpose::Rates);
            drift.pieces(stream).take(50).collect::<Vec<_>>()
        };
        let (slow, fast) = (pieces(drift), pieces(drift.scaled(drift.rate * 7.0, 60.0)));
        for (slow, fast) in slow.iter().zip(&fast) {
            assert!((fast.rate / slow.rate - 7.0).abs() < 1e-9);
            assert!((slow.seconds / fast.seconds - 60.0).abs() < 1e-9);
        }
    }
}
