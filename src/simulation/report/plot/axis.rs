//! Axes: where a value stands, and which values are written beside it.

/// A scale from the smallest to the largest value shown.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Scale {
    /// Equal distances for equal differences.
    Linear {
        /// Smallest value.
        from: f64,
        /// Largest value; above `from`.
        to: f64,
    },
    /// Equal distances for equal ratios.
    Log {
        /// Smallest value; > 0.
        from: f64,
        /// Largest value; above `from`.
        to: f64,
    },
}

impl Scale {
    /// From 0 to a round number not below `most`.
    pub fn from_zero(most: f64) -> Self {
        let step = step(most, 4.0);
        let to = (most / step - 1e-9).ceil().max(1.0) * step;
        Self::Linear { from: 0.0, to }
    }

    /// From 0 to `most` exactly: a time axis.
    pub fn until(most: f64) -> Self {
        let to = if most > 0.0 { most } else { 1.0 };
        Self::Linear { from: 0.0, to }
    }

    /// Over the powers of ten around all values above zero.
    pub fn powers(values: impl Iterator<Item = f64>) -> Self {
        let (mut low, mut high) = (f64::INFINITY, 0.0f64);
        for value in values.filter(|value| value.is_finite() && *value > 0.0) {
            low = low.min(value);
            high = high.max(value);
        }
        if high == 0.0 {
            (low, high) = (0.1, 10.0);
        }
        let from = libm::pow(10.0, (libm::log10(low) + 1e-9).floor());
        let to = libm::pow(10.0, (libm::log10(high) - 1e-9).ceil());
        Self::Log {
            from,
            to: to.max(10.0 * from),
        }
    }

    /// Where a value stands, from 0 to 1; outside of the scale at its end.
    pub fn place(self, value: f64) -> f64 {
        let place = match self {
            Self::Linear { from, to } => (value - from) / (to - from),
            Self::Log { from, to } => libm::log(value.max(from) / from) / libm::log(to / from),
        };
        place.clamp(0.0, 1.0)
    }

    /// The values that are written beside the axis.
    pub fn ticks(self) -> Vec<f64> {
        match self {
            Self::Linear { from, to } => {
                let step = step(to - from, 4.0);
                let count = ((to - from) / step + 1e-9).floor() as usize;
                (0..=count).map(|i| from + i as f64 * step).collect()
            }
            Self::Log { from, to } => {
                let decades = libm::round(libm::log10(to / from)) as usize;
                let every = decades.div_ceil(6).max(1);
                let power = |i: usize| from * libm::pow(10.0, i as f64);
                (0..=decades).step_by(every).map(power).collect()
            }
        }
    }
}

/// 1, 2 or 5 times a power of ten, so that some `parts` of them make up a range.
fn step(range: f64, parts: f64) -> f64 {
    if !(range.is_finite() && range > 0.0) {
        return 1.0;
    }
    let rough = range / parts;
    let power = libm::pow(10.0, libm::log10(rough).floor());
    let factor = [1.0, 2.0, 2.5, 5.0, 10.0];
    let next = factor.into_iter().find(|f| f * power >= rough * 0.999);
    next.unwrap_or(10.0) * power
}

/// A number as short as it can be told from its neighbours on an axis.
pub(super) fn short(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        v if v >= 1e6 => trimmed(format!("{:.1}", value / 1e6)) + "M",
        v if v >= 1e4 => trimmed(format!("{:.1}", value / 1e3)) + "k",
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 0.01 => trimmed(format!("{value:.3}")),
        _ => format!("{value:.0e}"),
    }
}

fn trimmed(text: String) -> String {
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_end_at_round_numbers() {
        assert_eq!(Scale::from_zero(0.93), Scale::Linear { from: 0.0, to: 1.0 });
        assert_eq!(
            Scale::from_zero(37.0).ticks(),
            [0.0, 10.0, 20.0, 30.0, 40.0]
        );
        assert_eq!(Scale::from_zero(0.0), Scale::Linear { from: 0.0, to: 1.0 });
        let log = Scale::powers([0.02, 350.0].into_iter());
        assert!((log.place(0.01), log.place(1000.0)) == (0.0, 1.0) && log.ticks().len() == 6);
        assert!((log.place(1.0) - 0.4).abs() < 1e-9);
    }

    #[test]
    fn what_is_outside_or_no_number_stays_on_the_paper() {
        let scale = Scale::powers(std::iter::empty());
        for value in [0.0, -1.0, f64::INFINITY] {
            assert!((0.0..=1.0).contains(&scale.place(value)), "{value}");
        }
        assert!(Scale::from_zero(f64::NAN).ticks().len() >= 2);
    }

    #[test]
    fn numbers_are_short() {
        let said: Vec<String> = [0.0, 0.25, 12.5, 1500.0, 25_000.0, 3e6, 0.001]
            .into_iter()
            .map(short)
            .collect();
        assert_eq!(said, ["0", "0.25", "12.5", "1500", "25k", "3M", "1e-3"]);
    }
}
