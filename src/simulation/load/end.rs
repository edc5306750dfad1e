//! When a load ends by itself, and how much of it reaches a run.

use super::trace::Recording;
use super::{Arrivals, Replay};

impl Replay {
    /// For how long it is played at the pace of its scaling, in seconds: what was asked for; else until the last window, or up to the
    /// next whole second after the last request, so that it is in a run of that length.
    pub fn length(&self) -> f64 {
        let length = self.span() / self.factors().faster;
        match (&self.recorded, self.seconds) {
            (Recording::Requests(_), None) => length.floor() + 1.0,
            _ => length,
        }
    }

    /// Seconds of the trace that there are from `from` on.
    pub fn there(&self) -> f64 {
        (self.recorded.seconds() - self.from).max(0.0)
    }

    /// Requests that reach a run of so many seconds, on average over what is drawn.
    pub fn amount_until(&self, seconds: f64) -> f64 {
        let factors = self.factors();
        let kept = factors.copies as f64 * factors.keep;
        let all = self.amount() * kept;
        let length = self.length();
        if seconds >= length {
            return all;
        }
        // Shifted copies are in the first part what they are in any.
        if factors.copies > 1 && matches!(self.recorded, Recording::Requests(_)) {
            return all * seconds / length;
        }
        let part = Self {
            seconds: Some(seconds * factors.faster),
            ..self.clone()
        };
        part.amount() * kept
    }
}

impl Arrivals {
    /// After how many seconds nothing arrives any more; `None` of a load without end.
    pub fn end(&self) -> Option<f64> {
        match self {
            Self::Trace(replay) => Some(replay.length()),
            Self::Steps { steps, .. } => {
                let end = steps.iter().map(|step| step.seconds).sum::<f64>();
                Some(end).filter(|end| end.is_finite())
            }
            _ => None,
        }
    }

    /// Requests a second that a run of so many seconds (> 0) gets on average: of a load that ends before it, all the same over the
    /// whole run.
    pub fn offered(&self, seconds: f64) -> f64 {
        match self {
            Self::Trace(replay) => replay.amount_until(seconds) / seconds,
            other => other.mean_rate(seconds),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::trace::Recorded;
    use super::super::{AgentLoad, Piece, Scaling, Spacing, Work};
    use super::*;

    /// A request every half second until 99.5 s, in the first half of the time only where `half`.
    fn replay(half: bool, scaling: Scaling) -> Replay {
        let rows = (0..200).filter(|i| !half || *i < 100);
        let row = |i: u32| Recorded {
            at: f64::from(i) / 2.0,
            ..Recorded::default()
        };
        Replay {
            scaling,
            recorded: Recording::Requests(rows.map(row).collect()),
            ..Replay::default()
        }
    }

    fn arrived(replay: &Replay, seconds: f64) -> f64 {
        let load = AgentLoad {
            agent: "a".to_owned(),
            arrivals: Arrivals::Trace(replay.clone()),
            work: Work::Exponential,
        };
        load.requests(1).filter(|r| r.at < seconds).count() as f64
    }

    #[test]
    fn a_scaling_that_keeps_the_length_keeps_it_and_a_compression_does_not() {
        let length = |scaling| replay(false, scaling).length();
        assert_eq!(length(Scaling::AsRecorded), 100.0);
        assert_eq!(length(Scaling::Thinning { rate: 0.5 }), 100.0);
        assert_eq!(length(Scaling::Superposition { rate: 8.0 }), 100.0);
        // 200 requests at 7/s take 28.6 s.
        assert_eq!(length(Scaling::Compression { rate: 7.0 }), 29.0);
    }

    #[test]
    fn a_run_of_its_length_has_every_request_and_a_longer_one_no_more() {
        for scaling in [Scaling::AsRecorded, Scaling::Compression { rate: 7.0 }] {
            let replay = replay(false, scaling);
            for longer in [1.0, 10.0] {
                let seconds = longer * replay.length();
                assert_eq!(arrived(&replay, seconds), 200.0);
                assert_eq!(replay.amount_until(seconds), 200.0);
            }
        }
    }

    #[test]
    fn what_reaches_a_shorter_run_is_what_its_first_part_has() {
        for (scaling, seconds) in [
            (Scaling::AsRecorded, 25.0),
            (Scaling::AsRecorded, 60.0),
            (Scaling::Compression { rate: 20.0 }, 2.5),
        ] {
            let replay = replay(true, scaling);
            assert_eq!(arrived(&replay, seconds), replay.amount_until(seconds));
        }
        // Half of four copies, drawn and shifted: four standard deviations.
        let copies = replay(false, Scaling::Superposition { rate: 7.0 });
        let expected = copies.amount_until(50.0);
        assert!((expected / 350.0 - 1.0).abs() < 0.02, "{expected}");
        let off = arrived(&copies, 50.0) - expected;
        assert!(off.abs() < 4.0 * expected.sqrt(), "{off} of {expected}");
    }

    #[test]
    fn a_load_that_ends_is_thinner_over_a_run_that_goes_on() {
        let recorded = Arrivals::Trace(replay(false, Scaling::AsRecorded));
        assert_eq!(recorded.end(), Some(100.0));
        assert_eq!(recorded.offered(400.0), 0.5);
        let steps = |seconds| Arrivals::Steps {
            steps: vec![Piece { seconds, rate: 3.0 }],
            spacing: Spacing::Even,
        };
        assert_eq!(steps(20.0).end(), Some(20.0));
        assert_eq!(steps(20.0).offered(60.0), 1.0);
        assert_eq!(steps(f64::INFINITY).end(), None);
        assert_eq!(Arrivals::Poisson { rate: 1.0 }.end(), None);
    }
}
