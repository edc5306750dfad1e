use super::station::serve;
use super::{Counted, Job, jobs_of};
use crate::simulation::account::Sketch;
use crate::simulation::scenario::{Cluster, Scenario, Sharing};
use crate::units::MilliGpus;

/// The static split that would have been the best.
#[derive(Debug, Clone, PartialEq)]
pub struct Split {
    /// Shares, in the order of the pool; multiples of the step.
    pub shares: Vec<MilliGpus>,
    /// Time in the system by agent under it; requests of the warm-up are not in it.
    pub agents: Vec<Sketch>,
    /// Mean time in the system over all requests, in seconds; `None` without any.
    pub mean: Option<f64>,
}

/// Why there is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoSplit {
    /// Shares do not bind.
    #[error("a static split binds only where GPUs are partitioned by shares; here {0}")]
    NoPartition(&'static str),
    /// The grid is too coarse, or too fine.
    #[error(
        "the step must be at least 1m and leave a step to each of {agents} agents of {gpus} GPUs, in at most 10000 steps; it is {step}"
    )]
    Step {
        /// The step.
        step: MilliGpus,
        /// Agents.
        agents: usize,
        /// GPUs that are split.
        gpus: MilliGpus,
    },
}

/// The split of all GPUs, in steps, with the lowest mean time in the system over all requests of a run: found knowing them all.
///
/// Under hard partitions an agent's latency depends on its own share alone, so the search is exact on the grid: each agent's requests
/// are served under every share, and dynamic programming finds the shares with the lowest sum. A lower bound on the mean of every
/// static split whose shares are multiples of the step, each at least one step; not of rules that move.
///
/// # Errors
/// Where shares do not bind (time-slicing lends, pods come in replicas), or when the step does not divide the GPUs into 1 to 10000
/// steps.
pub fn best_split(scenario: &Scenario, seed: u64, step: MilliGpus) -> Result<Split, NoSplit> {
    let fractions = match &scenario.cluster {
        Cluster::Nodes(_) => return Err(NoSplit::NoPartition("there are pods in whole replicas")),
        Cluster::Fractions(f) if matches!(f.sharing, Sharing::TimeSlicing { .. }) => {
            return Err(NoSplit::NoPartition("idle agents lend their turns"));
        }
        Cluster::Fractions(fractions) => fractions,
    };
    let agents = scenario.loads.len();
    let steps = fractions.gpus.0.checked_div(step.0).unwrap_or(0) as usize;
    if steps < agents || steps > 10_000 {
        let gpus = fractions.gpus;
        return Err(NoSplit::Step { step, agents, gpus });
    }
    let lanes: Vec<Lane> = (0..agents).map(|i| Lane::new(scenario, seed, i)).collect();
    let most = steps + agents.min(1) - agents;
    let sums: Vec<Vec<f64>> = lanes
        .iter()
        .map(|lane| (1..=most).map(|k| lane.sum(step * k as u64)).collect())
        .collect();
    let shares: Vec<MilliGpus> = cheapest(&sums, steps)
        .into_iter()
        .map(|k| step * k as u64)
        .collect();
    let sketches: Vec<Sketch> = lanes
        .iter()
        .zip(&shares)
        .map(|(lane, share)| lane.sketch(*share))
        .collect();
    let mut all = Sketch::default();
    sketches.iter().for_each(|sketch| all.merge(sketch));
    Ok(Split {
        shares,
        agents: sketches,
        mean: all.mean(),
    })
}

/// One agent alone under its share.
struct Lane {
    jobs: Vec<Job>,
    exponent: f64,
    limit: u32,
    counted: Counted,
}

impl Lane {
    fn new(scenario: &Scenario, seed: u64, agent: usize) -> Self {
        Self {
            jobs: jobs_of(scenario, seed, agent).collect(),
            exponent: scenario
                .pool
                .agents
                .get(agent)
                .map_or(1.0, |a| a.speed_exponent),
            limit: scenario.services.get(agent).map_or(1, |s| s.max_running),
            counted: Counted::of(scenario),
        }
    }

    /// Latencies that count under a share > 0.
    fn serve(&self, share: MilliGpus, mut latency: impl FnMut(f64)) {
        let share = share.as_gpus();
        let speed = if share < 1.0 {
            libm::pow(share, self.exponent)
        } else {
            share
        };
        serve(self.jobs.iter().copied(), speed, self.limit, |job, took| {
            if let Some(counted) = self.counted.latency(job, took) {
                latency(counted);
            }
        });
    }

    fn sum(&self, share: MilliGpus) -> f64 {
        let mut sum = 0.0;
        self.serve(share, |latency| sum += latency);
        sum
    }

    fn sketch(&self, share: MilliGpus) -> Sketch {
        let mut sketch = Sketch::default();
        self.serve(share, |latency| sketch.add(latency));
        sketch
    }
}

/// Steps for each agent, at least one and `steps` in sum, with the lowest sum of costs; `costs[i][k - 1]` is what agent i costs with k
/// steps. Of equal ones the fewest steps for the last agents.
fn cheapest(costs: &[Vec<f64>], steps: usize) -> Vec<usize> {
    // best[k]: the lowest cost of the agents so far with k steps; taken[i][k]: steps of agent i in it.
    let mut best = vec![f64::INFINITY; steps + 1];
    best[0] = 0.0;
    let mut taken = Vec::with_capacity(costs.len());
    for cost in costs {
        let mut next = vec![f64::INFINITY; steps + 1];
        let mut took = vec![0; steps + 1];
        for (used, before) in best.iter().enumerate().filter(|(_, b)| b.is_finite()) {
            for (k, more) in cost.iter().enumerate().take(steps - used) {
                let (at, sum) = (used + k + 1, before + more);
                if sum < next[at] {
                    (next[at], took[at]) = (sum, k + 1);
                }
            }
        }
        best = next;
        taken.push(took);
    }
    let mut left = steps;
    let mut found = Vec::with_capacity(costs.len());
    for took in taken.iter().rev() {
        found.push(took[left]);
        left -= took[left];
    }
    found.reverse();
    found
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::simulation::control::rule_tests::{fractions, scenario};
    use proptest::prelude::*;

    fn milli(shares: &[MilliGpus]) -> Vec<u64> {
        shares.iter().map(|share| share.0).collect()
    }

    /// By hand: every split of ten steps of three agents.
    #[test]
    fn it_is_the_best_of_all_splits_on_the_grid() {
        let mut scenario = scenario("{type: WholeGPU}", &[2.0, 1.0, 4.0], fractions(1000));
        scenario.services[2].max_running = 3;
        scenario.pool.agents[0].speed_exponent = 0.6;
        scenario.warmup = 100.0;
        let step = MilliGpus(100);
        let split = best_split(&scenario, 1, step).unwrap();
        let lanes: Vec<Lane> = (0..3).map(|i| Lane::new(&scenario, 1, i)).collect();
        let cost = |steps: [u64; 3]| -> f64 {
            let lanes = lanes.iter().zip(steps);
            lanes.map(|(lane, steps)| lane.sum(step * steps)).sum()
        };
        let mut best = (f64::INFINITY, [0; 3]);
        for a in 1..9 {
            for b in 1..10 - a {
                let steps = [a, b, 10 - a - b];
                let cost = cost(steps);
                if cost < best.0 {
                    best = (cost, steps);
                }
            }
        }
        assert_eq!(milli(&split.shares), best.1.map(|steps| steps * 100));
        let counted: u64 = split.agents.iter().map(Sketch::count).sum();
        assert!((split.mean.unwrap() * counted as f64 / best.0 - 1.0).abs() < 1e-9);
    }

    /// M/M/1 under a share of half a GPU: 1 / (5 - 3).
    #[test]
    fn equal_loads_get_equal_shares_and_the_mean_of_theory() {
        let mut scenario = scenario("{type: WholeGPU}", &[3.0, 3.0], fractions(1000));
        scenario.seconds = 100_000.0;
        let split = best_split(&scenario, 1, MilliGpus(50)).unwrap();
        assert_eq!(milli(&split.shares), [500, 500]);
        assert!(
            (split.mean.unwrap() / 0.5 - 1.0).abs() < 0.03,
            "{:?}",
            split.mean
        );
    }

    #[test]
    fn the_engine_agrees_to_the_microsecond() {
        let scenario = scenario("{type: WholeGPU}", &[2.0, 2.0], fractions(1000));
        let split = best_split(&scenario, 7, MilliGpus(500)).unwrap();
        let mut hold = crate::simulation::control::Rule::Hold
            .build(&scenario)
            .unwrap();
        let outcome =
            crate::simulation::run(&scenario, hold.as_mut(), "hold", 7, &mut |_| {}).unwrap();
        for (agent, sketch) in outcome.agents.iter().zip(&split.agents) {
            assert_eq!(agent.latency.count(), sketch.count());
            assert!((agent.latency.mean().unwrap() - sketch.mean().unwrap()).abs() < 1e-6);
        }
    }

    #[test]
    fn where_shares_do_not_bind_and_where_the_step_does_not_fit_it_says_so() {
        let mut scenario = scenario("{type: WholeGPU}", &[1.0, 1.0], fractions(1000));
        for step in [0, 600, 1001] {
            let error = best_split(&scenario, 1, MilliGpus(step))
                .unwrap_err()
                .to_string();
            assert!(error.contains("10000 steps"), "{error}");
        }
        if let Cluster::Fractions(fractions) = &mut scenario.cluster {
            fractions.sharing = Sharing::TimeSlicing {
                switching_efficiency: 1.0,
            };
        }
        let error = best_split(&scenario, 1, MilliGpus(100))
            .unwrap_err()
            .to_string();
        assert!(error.contains("lend"), "{error}");
    }

    proptest! {
        #[test]
        fn dynamic_programming_finds_the_lowest_sum(costs in proptest::collection::vec(proptest::collection::vec(0u32..100, 6), 2..4)) {
            let costs: Vec<Vec<f64>> = costs.into_iter().map(|c| c.into_iter().map(f64::from).collect()).collect();
            let steps = 7;
            let found = cheapest(&costs, steps);
            prop_assert_eq!(found.iter().sum::<usize>(), steps);
            let sum: f64 = found.iter().zip(&costs).map(|(k, c)| c[k - 1]).sum();
            let all = (0..6usize.pow(costs.len() as u32)).map(|n| {
                (0..costs.len()).map(|i| n / 6usize.pow(i as u32) % 6 + 1).collect::<Vec<_>>()
            });
            let best = all.filter(|ks| ks.iter().sum::<usize>() == steps)
                .map(|ks| ks.iter().zip(&costs).map(|(k, c)| c[k - 1]).sum::<f64>())
                .fold(f64::INFINITY, f64::min);
            prop_assert_eq!(sum, best);
        }
    }
}
