//! What is measured of a sequence of arrivals, the same way for traces and for generators.

use serde::Deserialize;

/// Mean rate, burstiness at a short and a long window, spread of the gaps.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Burstiness {
    /// Arrivals a second.
    pub mean: f64,
    /// Index of dispersion (variance over mean) of the counts in windows of 1 s; 1 for Poisson.
    #[serde(rename = "idc1s")]
    pub idc_1s: f64,
    /// The same for windows of 60 s.
    #[serde(rename = "idc60s")]
    pub idc_60s: f64,
    /// Coefficient of variation of the gaps between arrivals; 1 for Poisson.
    pub cv: f64,
}

impl Burstiness {
    /// Measures arrivals (sorted, in seconds) over the first `seconds`. All zero without arrivals.
    pub fn of(arrivals: &[f64], seconds: f64) -> Self {
        let count = arrivals.iter().filter(|at| **at < seconds).count() as f64;
        let gaps: Vec<f64> = arrivals.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let (mean_gap, variance) = moments(&gaps);
        Self {
            mean: count / seconds,
            idc_1s: dispersion(arrivals, 1.0, seconds),
            idc_60s: dispersion(arrivals, 60.0, seconds),
            cv: if mean_gap > 0.0 {
                variance.sqrt() / mean_gap
            } else {
                0.0
            },
        }
    }
}

/// Variance (of all, not of a sample, as it is published with the traces) over mean of the counts in whole windows of `window`
/// seconds; 0 without arrivals.
pub fn dispersion(arrivals: &[f64], window: f64, seconds: f64) -> f64 {
    let counts = counts(arrivals, window, seconds);
    let (mean, variance) = moments(&counts);
    let n = counts.len() as f64;
    if mean > 0.0 {
        variance * (n - 1.0) / n / mean
    } else {
        0.0
    }
}

/// How many arrivals fall into each whole window of `window` seconds.
pub fn counts(arrivals: &[f64], window: f64, seconds: f64) -> Vec<f64> {
    let mut counts = vec![0.0; (seconds / window) as usize];
    for at in arrivals {
        if let Some(count) = counts.get_mut((at / window) as usize) {
            *count += 1.0;
        }
    }
    counts
}

/// Mean and variance (of a sample) of some values; zero without enough of them.
pub fn moments(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    if n < 2.0 {
        return (values.first().copied().unwrap_or(0.0), 0.0);
    }
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (mean, squares / (n - 1.0))
}

/// Correlation of each value with the next; 0 without enough of them.
pub fn autocorrelation(values: &[f64]) -> f64 {
    let (mean, variance) = moments(values);
    if variance <= 0.0 {
        return 0.0;
    }
    let products: f64 = values
        .windows(2)
        .map(|pair| (pair[0] - mean) * (pair[1] - mean))
        .sum();
    products / (values.len() - 1) as f64 / variance
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn even_arrivals_have_no_dispersion_and_pairs_have_some() {
        let even: Vec<f64> = (0..1200).map(|i| f64::from(i) * 0.5 + 0.1).collect();
        let measured = Burstiness::of(&even, 600.0);
        assert!((measured.mean - 2.0).abs() < 1e-12);
        assert!(
            measured.idc_1s.abs() < 1e-12 && measured.cv < 1e-6,
            "{measured:?}"
        );
        // 0 or 4 in a second, in turn: mean 2, variance 4.
        let pairs: Vec<f64> = (0..300)
            .flat_map(|i| [f64::from(i) * 2.0 + 0.5; 4])
            .collect();
        assert!((dispersion(&pairs, 1.0, 600.0) - 2.0).abs() < 1e-9);
    }

    #[test]
    fn values_that_swing_are_negatively_correlated() {
        let swing: Vec<f64> = (0..100).map(|i| f64::from(i % 2)).collect();
        assert!((autocorrelation(&swing) + 1.0).abs() < 0.05);
        assert!(autocorrelation(&[1.0; 10]).abs() < 1e-12);
    }
}
