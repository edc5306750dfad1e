//! What every static split has in common: it is decided once, at the start of the run.

use super::{Controller, Sight, Wish};
use crate::sharing::AgentShape;
use crate::units::MilliGpus;

/// One split for the whole run, in proportion to weights.
#[derive(Debug, Clone)]
pub(super) struct Fixed {
    /// By agent; finite, ≥ 0.
    weights: Vec<f64>,
    /// GPUs that are split; `None`: all that are there at the start.
    gpus: Option<MilliGpus>,
    /// Where there are pods: the agents' replicas and the GPUs of one.
    pods: Option<Vec<AgentShape>>,
    decided: bool,
}

impl Fixed {
    pub fn new(weights: Vec<f64>, gpus: Option<MilliGpus>, pods: Option<Vec<AgentShape>>) -> Self {
        Self {
            weights,
            gpus,
            pods,
            decided: false,
        }
    }
}

impl Controller for Fixed {
    fn interval(&self) -> f64 {
        1.0
    }

    fn decide(&mut self, sight: &Sight<'_>, wish: &mut Wish) {
        if self.decided {
            return;
        }
        self.decided = true;
        let gpus = self.gpus.unwrap_or(sight.capacity);
        *wish = match &self.pods {
            None => Wish::Shares(shares(&self.weights, gpus)),
            Some(shapes) => Wish::Replicas(replicas(&self.weights, gpus, shapes)),
        };
    }
}

/// Shares in proportion to weights, which sum to `gpus`: rounded by largest remainder, of equal ones the first. Weights without a sum
/// count as equal.
pub(super) fn shares(weights: &[f64], gpus: MilliGpus) -> Vec<MilliGpus> {
    let exact = exact(weights, gpus);
    let mut shares: Vec<u64> = exact.iter().map(|share| *share as u64).collect();
    let mut order: Vec<usize> = (0..shares.len()).collect();
    let rest = |i: &usize| exact[*i] - exact[*i].floor();
    order.sort_by(|a, b| rest(b).total_cmp(&rest(a)).then(a.cmp(b)));
    let left = gpus.0.saturating_sub(shares.iter().sum());
    for &i in order.iter().cycle().take(left as usize) {
        shares[i] += 1;
    }
    shares.into_iter().map(MilliGpus).collect()
}

/// The same in whole replicas, within their bounds and within `gpus` unless the fewest replicas need more: the agent that lacks most
/// gets the next, of equal ones the first.
pub(super) fn replicas(weights: &[f64], gpus: MilliGpus, shapes: &[AgentShape]) -> Vec<u32> {
    let wanted = exact(weights, gpus);
    let size = |i: usize| u64::from(shapes[i].gpus_per_replica) * 1000;
    let mut replicas: Vec<u32> = shapes.iter().map(|shape| shape.min_replicas).collect();
    loop {
        let used: u64 = (0..replicas.len())
            .map(|i| u64::from(replicas[i]) * size(i))
            .sum();
        let lacks = |i: usize| wanted[i] - (u64::from(replicas[i]) * size(i)) as f64;
        let next = (0..replicas.len())
            .filter(|&i| replicas[i] < shapes[i].max_replicas)
            .filter(|&i| lacks(i) > 1e-6 && used + size(i) <= gpus.0)
            .max_by(|&a, &b| lacks(a).total_cmp(&lacks(b)).then(b.cmp(&a)));
        match next {
            Some(i) => replicas[i] += 1,
            None => return replicas,
        }
    }
}

/// What each should have, in milli-GPUs.
fn exact(weights: &[f64], gpus: MilliGpus) -> Vec<f64> {
    let sum: f64 = weights.iter().sum();
    let total = gpus.0 as f64;
    let each = |weight: &f64| match sum > 0.0 {
        true => total * weight / sum,
        false => total / weights.len().max(1) as f64,
    };
    weights.iter().map(each).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::units::Priority;
    use proptest::prelude::*;

    fn shape(min: u32, max: u32, gpus: u32) -> AgentShape {
        AgentShape {
            name: "a".into(),
            priority: Priority::Medium,
            min_replicas: min,
            max_replicas: max,
            gpus_per_replica: gpus,
            memory_per_replica: None,
        }
    }

    #[test]
    fn shares_are_rounded_by_largest_remainder_and_the_first_of_equal_ones_wins() {
        let milli = |shares: Vec<MilliGpus>| shares.into_iter().map(|s| s.0).collect::<Vec<_>>();
        assert_eq!(milli(shares(&[1.0; 3], MilliGpus(1000))), [334, 333, 333]);
        // 1000/7 = 142.86 and 857.14.
        assert_eq!(milli(shares(&[1.0, 6.0], MilliGpus(1000))), [143, 857]);
        assert_eq!(milli(shares(&[0.0, 0.0], MilliGpus(1000))), [500, 500]);
    }

    #[test]
    fn replicas_follow_the_weights_in_whole_replicas() {
        let gpus = MilliGpus::whole;
        let ones = [shape(1, 8, 1), shape(1, 8, 1)];
        assert_eq!(replicas(&[1.0, 3.0], gpus(8), &ones), [2, 6]);
        // 5.33 and 2.67 GPUs in replicas of four and of one: one of four, then two more of one; the third would exceed 2.67 by less
        // than the first lacks, so it comes too.
        let mixed = [shape(0, 8, 4), shape(0, 8, 1)];
        assert_eq!(replicas(&[2.0, 1.0], gpus(8), &mixed), [1, 3]);
        assert_eq!(
            replicas(&[1.0, 1.0], gpus(8), &[shape(1, 2, 1), shape(1, 8, 1)]),
            [2, 4]
        );
        assert_eq!(
            replicas(&[0.0, 1.0], gpus(1), &ones),
            [1, 1],
            "the fewest come first"
        );
    }

    proptest! {
        #[test]
        fn shares_sum_to_what_is_split(weights in proptest::collection::vec(0.0f64..10.0, 1..9), gpus in 0u64..20_000) {
            let shares = shares(&weights, MilliGpus(gpus));
            prop_assert_eq!(shares.iter().map(|s| s.0).sum::<u64>(), gpus);
        }
    }
}
