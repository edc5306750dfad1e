//! What a few runs say about all that could have been: confidence intervals and paired ratios.

/// A mean and where it lies with 95 % confidence.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Interval {
    /// The mean of the samples; of ratios their geometric mean.
    pub mean: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// The mean of samples of one kind, with 95 % confidence (Student's t); `None` for fewer than two samples or one that is not finite.
pub fn interval(samples: &[f64]) -> Option<Interval> {
    let n = samples.len();
    if n < 2 || samples.iter().any(|sample| !sample.is_finite()) {
        return None;
    }
    let mean = samples.iter().sum::<f64>() / n as f64;
    let squares: f64 = samples.iter().map(|s| (s - mean) * (s - mean)).sum();
    let error = (squares / (n - 1) as f64 / n as f64).sqrt();
    let reach = student(0.95, n - 1) * error;
    Some(Interval {
        mean,
        low: mean - reach,
        high: mean + reach,
    })
}

/// The ratio of paired samples, ours over theirs: the geometric mean of the pairs' ratios, with 95 % confidence (Student's t on their
/// logarithms). `None` for fewer than two pairs, or where a value is not above zero.
pub fn paired_ratio(ours: &[f64], theirs: &[f64]) -> Option<Interval> {
    let pairs = ours.iter().zip(theirs);
    let logs: Vec<f64> = pairs.map(|(a, b)| libm::log(a / b)).collect();
    interval(&logs).map(|logs| Interval {
        mean: libm::exp(logs.mean),
        low: libm::exp(logs.low),
        high: libm::exp(logs.high),
    })
}

/// Jain's index of fairness, (Σx)² / (n Σx²): 1 when all are equal, 1/n when one has everything. `None` without a value above zero.
pub fn jain(values: &[f64]) -> Option<f64> {
    let sum: f64 = values.iter().sum();
    let squares: f64 = values.iter().map(|x| x * x).sum();
    (squares > 0.0).then(|| sum * sum / (values.len() as f64 * squares))
}

/// The t for which a variable of Student's distribution lies in -t .. t with this probability (in (0, 1)); degrees of freedom ≥ 1.
pub fn student(probability: f64, freedom: usize) -> f64 {
    let (mut low, mut high) = (0.0, 1e6);
    // Halved until nothing lies between in a double.
    for _ in 0..100 {
        let middle = f64::midpoint(low, high);
        if within(middle, freedom) < probability {
            low = middle;
        } else {
            high = middle;
        }
    }
    high
}

/// Probability of -t .. t; the finite sums of Abramowitz and Stegun, 26.7.3 and 26.7.4.
fn within(t: f64, freedom: usize) -> f64 {
    let angle = libm::atan(t / (freedom as f64).sqrt());
    let (sin, cos) = (libm::sin(angle), libm::cos(angle));
    let odd = freedom % 2 == 1;
    // The terms are cos, 2/3 cos³, 2·4/(3·5) cos⁵, ... or 1, 1/2 cos², 1·3/(2·4) cos⁴, ...
    let (mut term, mut k) = if odd { (cos, 3) } else { (1.0, 2) };
    let mut sum = 0.0;
    while k <= freedom {
        sum += term;
        term *= (k - 1) as f64 / k as f64 * cos * cos;
        k += 2;
    }
    if odd {
        (angle + sin * sum) * std::f64::consts::FRAC_2_PI
    } else {
        sin * sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn students_t_is_that_of_the_tables() {
        for (freedom, t) in [
            (1, "12.706"),
            (2, "4.303"),
            (3, "3.182"),
            (4, "2.776"),
            (9, "2.262"),
            (10, "2.228"),
            (19, "2.093"),
            (30, "2.042"),
            (120, "1.980"),
        ] {
            assert_eq!(format!("{:.3}", student(0.95, freedom)), t, "{freedom}");
        }
        assert_eq!(format!("{:.3}", student(0.99, 4)), "4.604");
    }

    #[test]
    fn an_interval_is_the_mean_and_t_times_its_standard_error() {
        // Mean 3, standard deviation sqrt(2.5), standard error sqrt(0.5).
        let found = interval(&[1.0, 2.0, 3.0, 4.0, 5.0]);
        let reach = 2.776_445 * 0.5f64.sqrt();
        assert!(found.is_some_and(|i| {
            i.mean == 3.0
                && (i.low - 3.0 + reach).abs() < 1e-6
                && (i.high - 3.0 - reach).abs() < 1e-6
        }));
        assert_eq!(interval(&[1.0]), None);
        assert_eq!(interval(&[1.0, f64::NAN]), None);
    }

    #[test]
    fn what_runs_have_in_common_cancels_in_a_paired_ratio() {
        let theirs = [1.0, 10.0, 100.0];
        let ours = theirs.map(|x| x * 0.5);
        let ratio = paired_ratio(&ours, &theirs);
        assert!(ratio.is_some_and(|r| (r.mean - 0.5).abs() < 1e-12 && r.high - r.low < 1e-12));
        assert_eq!(paired_ratio(&[0.0, 1.0], &[1.0, 1.0]), None);
        // Twice and half as much are as far from one.
        let even = paired_ratio(&[2.0, 1.0], &[1.0, 2.0]);
        assert!(even.is_some_and(|r| (r.mean - 1.0).abs() < 1e-12 && r.low < 1.0 && r.high > 1.0));
    }

    #[test]
    fn fairness_is_one_when_all_are_equal_and_one_in_n_when_one_has_all() {
        assert_eq!(jain(&[2.0, 2.0, 2.0]), Some(1.0));
        assert_eq!(jain(&[3.0, 0.0, 0.0]), Some(1.0 / 3.0));
        assert_eq!(jain(&[0.0, 0.0]), None);
        assert_eq!(jain(&[]), None);
    }
}
