use super::{Arrivals, Scaling};

impl Arrivals {
    /// Requests a second on average over a run of `seconds` (> 0), as the load declares them; of a trace while it lasts.
    pub fn mean_rate(&self, seconds: f64) -> f64 {
        match self {
            Self::Constant { rate }
            | Self::Poisson { rate }
            | Self::Sine { rate, .. }
            | Self::Diurnal { rate, .. }
            | Self::Bursty { rate, .. } => *rate,
            Self::Drifting(drift) => drift.rate,
            Self::Square {
                low, high, duty, ..
            } => low * (1.0 - duty) + high * duty,
            Self::Steps { steps, .. } => {
                let mut left = seconds;
                let mut arrived = 0.0;
                for step in steps {
                    let held = step.seconds.min(left);
                    arrived += held * step.rate;
                    left -= held;
                }
                arrived / seconds
            }
            Self::Trace(replay) => match replay.scaling {
                Scaling::AsRecorded => replay.mean_rate(),
                Scaling::Compression { rate }
                | Scaling::Superposition { rate }
                | Scaling::Thinning { rate } => rate,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulation::load::{Piece, Spacing};

    #[test]
    fn the_mean_of_a_load_is_what_it_declares() {
        let steps = |steps: &[(f64, f64)]| Arrivals::Steps {
            steps: steps
                .iter()
                .map(|&(seconds, rate)| Piece { seconds, rate })
                .collect(),
            spacing: Spacing::Even,
        };
        let square = Arrivals::Square {
            low: 1.0,
            high: 5.0,
            period: 10.0,
            duty: 0.25,
            spacing: Spacing::Even,
        };
        assert_eq!(square.mean_rate(100.0), 2.0);
        // 20 s at 3/s, then 80 s at 1/s; and 20 s at 3/s, then nothing.
        let falls = steps(&[(20.0, 3.0), (f64::INFINITY, 1.0)]);
        assert_eq!(falls.mean_rate(100.0), 1.4);
        assert_eq!(steps(&[(20.0, 3.0)]).mean_rate(100.0), 0.6);
    }
}
