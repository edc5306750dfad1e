use serde::Deserialize;

use super::drift::Drift;
use super::mmpp::Mmpp;
use super::pieces::{Piece, Spacing};
use super::random::Stream;
use super::replay::Replay;
use super::shapes;
use super::statistics::Burstiness;
use super::words::plain;

/// When requests arrive. Rates are requests a second on average, times are seconds.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "type", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum Arrivals {
    /// Evenly spaced.
    Constant {
        /// ≥ 0.
        rate: f64,
    },
    /// Independently of each other.
    Poisson {
        /// ≥ 0.
        rate: f64,
    },
    /// At a rate that changes in steps; no more after the last.
    Steps {
        /// The steps, one after the other.
        steps: Vec<Piece>,
        /// How requests are spaced under a rate.
        #[serde(default)]
        spacing: Spacing,
    },
    /// At two rates in turn, the high one first.
    Square {
        /// The low rate; ≥ 0.
        low: f64,
        /// The high rate; > 0.
        high: f64,
        /// Time from one rise to the next; > 0.
        period: f64,
        /// Part of the period at the high rate; in (0, 1).
        #[serde(default = "half")]
        duty: f64,
        /// How requests are spaced under a rate.
        #[serde(default)]
        spacing: Spacing,
    },
    /// At a rate that swings as a sine, upwards first; in 96 steps a period.
    Sine {
        /// The mean; > 0.
        rate: f64,
        /// How far it swings as a part of the mean; from 0 to 1.
        amplitude: f64,
        /// Time from one crest to the next; > 0.
        period: f64,
        /// How requests are spaced under a rate.
        #[serde(default)]
        spacing: Spacing,
    },
    /// At a rate that repeats every day.
    Diurnal {
        /// The mean; > 0.
        rate: f64,
        /// The rates of equal parts of a day, in any unit, ≥ 0; absent: [`super::DAY`], the measured hours of a language service.
        #[serde(default = "day")]
        shape: Vec<f64>,
        /// Length of a day; > 0.
        #[serde(default = "day_length")]
        day: f64,
        /// How requests are spaced under a rate.
        #[serde(default)]
        spacing: Spacing,
    },
    /// In bursts: a Poisson process that jumps between two rates (MMPP), fitted to measured statistics; its time is compressed until
    /// it has the rate.
    Bursty {
        /// > 0.
        rate: f64,
        /// What it is fitted to.
        like: Burstiness,
    },
    /// Poisson at a rate that wanders from window to window.
    Drifting(Drift),
    /// As recorded.
    Trace(Replay),
}

fn half() -> f64 {
    0.5
}

fn day() -> Vec<f64> {
    super::DAY.to_vec()
}

fn day_length() -> f64 {
    86_400.0
}

impl Arrivals {
    /// The rate over time and how requests are spaced under it; none of recorded requests, which have times of their own.
    pub(super) fn pieces(&self, rates: Stream) -> (Pieces, Spacing) {
        match self {
            Self::Constant { rate } => (once(*rate), Spacing::Even),
            Self::Poisson { rate } => (once(*rate), Spacing::Poisson),
            Self::Steps { steps, spacing } => (Box::new(steps.clone().into_iter()), *spacing),
            Self::Square {
                low,
                high,
                period,
                duty,
                spacing,
            } => (
                Box::new(shapes::square(*low, *high, *period, *duty)),
                *spacing,
            ),
            Self::Sine {
                rate,
                amplitude,
                period,
                spacing,
            } => (Box::new(shapes::sine(*rate, *amplitude, *period)), *spacing),
            Self::Diurnal {
                rate,
                shape,
                day,
                spacing,
            } => (Box::new(shapes::diurnal(*rate, shape, *day)), *spacing),
            Self::Bursty { rate, like } => {
                let mmpp = Mmpp::fit(like).faster(rate / like.mean);
                (Box::new(mmpp.pieces(rates)), Spacing::Poisson)
            }
            Self::Drifting(drift) => (Box::new(drift.pieces(rates)), Spacing::Poisson),
            Self::Trace(replay) => (Box::new(replay.pieces()), Spacing::Poisson),
        }
    }

    /// What they are, in words for an output.
    pub fn describe(&self) -> String {
        match self {
            Self::Constant { rate } => format!("generated: {}/s, evenly spaced", plain(*rate)),
            Self::Poisson { rate } => format!("generated: Poisson at {}/s", plain(*rate)),
            Self::Steps { steps, spacing } => {
                format!("generated: {}, {}", stepped(steps), spacing.describe())
            }
            Self::Square {
                low,
                high,
                period,
                duty,
                spacing,
            } => format!(
                "generated: {}/s for {} s and {}/s for {} s in turn, {}",
                plain(*high),
                plain(period * duty),
                plain(*low),
                plain(period * (1.0 - duty)),
                spacing.describe()
            ),
            Self::Sine {
                rate,
                amplitude,
                period,
                spacing,
            } => format!(
                "generated: a sine of {}/s ± {} % with a period of {period} s in 96 steps, {}",
                plain(*rate),
                plain(amplitude * 100.0),
                spacing.describe()
            ),
            Self::Diurnal {
                rate,
                shape,
                day,
                spacing,
            } => format!(
                "generated: {}/s with a daily shape in {} steps of {} s, {}",
                plain(*rate),
                shape.len(),
                plain(day / shape.len() as f64),
                spacing.describe()
            ),
            Self::Bursty { rate, like } => format!(
                "generated: bursts (MMPP) fitted to {:.3}/s with an index of dispersion of {} in 1 s and {} in 60 s and \
                 gaps with a variation of {}, time compressed {:.3} times to {}/s",
                like.mean,
                like.idc_1s,
                like.idc_60s,
                like.cv,
                rate / like.mean,
                plain(*rate)
            ),
            Self::Drifting(drift) => format!(
                "generated: Poisson at a rate that drifts around {}/s, windows of {} s, deviation {} and correlation {} of \
                 its logarithm",
                plain(drift.rate),
                drift.window,
                drift.sigma,
                drift.correlation
            ),
            Self::Trace(replay) => replay.describe(),
        }
    }
}

/// Steps that are told one by one.
const TOLD: usize = 8;

/// Steps in words: each of a few, of many their number, mean and range.
fn stepped(steps: &[Piece]) -> String {
    if steps.len() <= TOLD {
        let each = |step: &Piece| match plain(step.seconds) {
            seconds if seconds.is_infinite() => format!("{}/s for ever", plain(step.rate)),
            seconds => format!("{}/s for {seconds} s", plain(step.rate)),
        };
        return steps.iter().map(each).collect::<Vec<_>>().join(", ");
    }
    let (count, seconds, arrived, least, most) = steps
        .iter()
        .filter(|step| step.seconds.is_finite())
        .fold((0, 0.0, 0.0, f64::INFINITY, 0.0), |sum, step| {
            let (count, seconds, arrived, least, most) = sum;
            (
                count + 1,
                seconds + step.seconds,
                arrived + step.seconds * step.rate,
                step.rate.min(least),
                step.rate.max(most),
            )
        });
    let mean = if seconds > 0.0 {
        arrived / seconds
    } else {
        0.0
    };
    let last = steps.iter().find(|step| step.seconds.is_infinite());
    let last = last.map_or(String::new(), |step| {
        format!(", then {}/s", plain(step.rate))
    });
    format!(
        "{count} steps in {} s, {}/s on average, from {}/s to {}/s{last}",
        plain(seconds),
        plain(mean),
        plain(least),
        plain(most)
    )
}

/// A rate over time.
pub(super) type Pieces = Box<dyn Iterator<Item = Piece> + Send>;

fn once(rate: f64) -> Pieces {
    Box::new(std::iter::once(Piece::forever(rate)))
}
