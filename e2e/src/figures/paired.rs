//! Pairs of runs: the ratio of what one gave to what the other gave, and how sure it is.

/// Two-sided 95 % quantiles of Student's t for 1, 2, ... degrees of freedom (NIST/SEMATECH e-Handbook of Statistical Methods, 1.3.6.7.2).
const T_95: [f64; 15] = [
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160,
    2.145, 2.131,
];

/// A geometric mean of ratios with its 95 % confidence interval, from the logarithms of the ratios, which are taken as normal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ratio {
    /// The geometric mean.
    pub mean: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
}

/// The ratio first / second over all pairs. `None` with fewer than 2 or more than 16 pairs, or when a value is not above 0.
pub fn ratio(pairs: &[(f64, f64)]) -> Option<Ratio> {
    let n = pairs.len();
    let t = *T_95.get(n.checked_sub(2)?)?;
    if pairs.iter().any(|(a, b)| !(*a > 0.0 && *b > 0.0)) {
        return None;
    }
    let logs: Vec<f64> = pairs.iter().map(|(a, b)| (a / b).ln()).collect();
    let mean = logs.iter().sum::<f64>() / n as f64;
    let squares: f64 = logs.iter().map(|log| (log - mean) * (log - mean)).sum();
    let half = t * (squares / (n - 1) as f64 / n as f64).sqrt();
    Some(Ratio {
        mean: mean.exp(),
        low: (mean - half).exp(),
        high: (mean + half).exp(),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn equal_ratios_leave_no_doubt() {
        let ratio = ratio(&[(1.0, 2.0), (3.0, 6.0), (0.5, 1.0)]).unwrap();
        for value in [ratio.mean, ratio.low, ratio.high] {
            assert!((value - 0.5).abs() < 1e-12);
        }
    }

    #[test]
    fn the_interval_is_that_of_students_t() {
        // Logarithms -1, 0, 1: mean 0, deviation 1, so the half width is 4.303 / sqrt(3).
        let e = std::f64::consts::E;
        let ratio = ratio(&[(1.0, e), (1.0, 1.0), (e, 1.0)]).unwrap();
        assert!((ratio.mean - 1.0).abs() < 1e-12);
        assert!((ratio.high.ln() - 4.303 / 3f64.sqrt()).abs() < 1e-9);
        assert!((ratio.low * ratio.high - 1.0).abs() < 1e-9);
    }

    #[test]
    fn one_pair_or_a_value_of_zero_says_nothing() {
        assert_eq!(ratio(&[(1.0, 2.0)]), None);
        assert_eq!(ratio(&[(1.0, 2.0), (0.0, 2.0)]), None);
    }
}
