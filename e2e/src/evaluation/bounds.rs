//! What could be reached on fractions of one GPU, beside what is.

use super::bench::{Settings, parallel};
use agentpool::simulation::Scenario;
use agentpool::simulation::bounds::{best_split, cmu_order, processor_sharing};
use agentpool::simulation::statistics::{Interval, paired_ratio};
use agentpool::units::MilliGpus;
use anyhow::Result;

/// Steps of the splits that are tried: a hundredth of a GPU.
const STEP: MilliGpus = MilliGpus(10);

/// Bounds of the mean time in the system, as ratios to a rule's.
pub(super) struct Bounds {
    /// The static split that is the best of all, for who knows every request.
    pub split: Option<Interval>,
    /// All requests share the whole GPU: no bound, but what fair sharing per request comes to.
    pub sharing: Option<Interval>,
    /// Preemptive cμ order; `None` where it bounds nothing.
    pub order: Option<Interval>,
}

impl Bounds {
    /// Of the runs whose means are given, by seed.
    ///
    /// # Errors
    /// Where shares do not bind.
    pub fn of(settings: &Settings, scenario: &Scenario, means: &[f64]) -> Result<Self> {
        let seeds: Vec<u64> = (1..=settings.seeds).collect();
        let bounds = parallel(&seeds, |&seed| {
            let order = cmu_order(scenario, seed);
            let order = order.mean().filter(|_| order.unmet.is_empty());
            let split = best_split(scenario, seed, STEP)?;
            anyhow::Ok([split.mean, processor_sharing(scenario, seed).mean(), order])
        });
        let bounds: Vec<[Option<f64>; 3]> = bounds.into_iter().collect::<Result<_>>()?;
        let ratio = |which: usize| {
            let found: Option<Vec<f64>> = bounds.iter().map(|of| of[which]).collect();
            paired_ratio(&found?, means)
        };
        Ok(Self {
            split: ratio(0),
            sharing: ratio(1),
            order: ratio(2),
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::bench::{HOLD, Job, PROPORTIONAL, all, each, mean, ratio};
    use super::super::exponent;
    use super::super::scenes::{EVEN, Pool, UNEVEN, one_gpu, scenario};
    use super::super::waves::turns;
    use super::*;

    /// Bounds and what comes of a split in proportion, of a load that never changes.
    fn bounded(pool: &Pool, split: [f64; 4]) -> (Bounds, f64) {
        let settings = Settings { seeds: 3 };
        let loads = turns(1e6, 1000.0);
        let made = scenario(pool, loads, (0.4, split), one_gpu(0.0), 1000.0).unwrap();
        let job = Job::new(made, &[HOLD, PROPORTIONAL]).unwrap();
        let runs = all(&settings, std::slice::from_ref(&job))
            .unwrap()
            .remove(0);
        let bounds = Bounds::of(&settings, &job.scenario, &each(&runs[0], mean)).unwrap();
        (bounds, ratio(&runs, PROPORTIONAL, mean).unwrap().mean)
    }

    #[test]
    fn no_static_split_beats_the_best_one_and_nothing_beats_the_order() {
        let (bounds, proportional) = bounded(&Pool::default(), UNEVEN);
        let split = bounds.split.unwrap().mean;
        assert!(split <= proportional, "{split} {proportional}");
        let sharing = bounds.sharing.unwrap().mean;
        let order = bounds.order.unwrap().mean;
        assert!(order <= sharing && sharing < split, "{order} {sharing}");
    }

    #[test]
    fn where_the_order_bounds_nothing_there_is_no_figure() {
        let (bounds, _) = bounded(&exponent::pool(), EVEN);
        assert!(bounds.split.is_some() && bounds.order.is_none());
    }
}
