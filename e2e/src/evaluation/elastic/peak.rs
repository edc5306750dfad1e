//! Peak provisioning: the fewest GPUs that keep a tail when each agent has a number of its own and nothing ever moves.

use super::super::aims::Aim;
use super::super::bench::{Job, Runs, Settings, all, short};
use super::front::{OURS, Point};
use agentpool::simulation::report::Table;
use agentpool::simulation::{Cluster, Nodes, Scenario, Sketch};
use agentpool::units::MilliGpus;
use anyhow::Result;

/// What our GPU-hours may be of peak provisioning's.
const MOST: f64 = 0.75;

/// How long each agent's requests take with so many GPUs of its own, whatever the others have.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Alone {
    /// GPUs of the first row.
    fewest: u32,
    /// By GPUs, then by agent.
    latency: Vec<Vec<Sketch>>,
}

/// A static split.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Split {
    /// By agent.
    pub gpus: Vec<u32>,
    /// p95 of all requests, in seconds.
    pub tail: f64,
}

impl Split {
    fn total(&self) -> u32 {
        self.gpus.iter().sum()
    }
}

impl Alone {
    /// Runs a scenario's load with `fewest` to `most` GPUs an agent, on nodes that stay.
    pub fn measure(
        scenario: &Scenario,
        (fewest, most): (u32, u32),
        settings: &Settings,
    ) -> Result<Self> {
        let agents = scenario.loads.len() as u32;
        let job = |each: u32| {
            let mut scenario = scenario.clone();
            scenario.pool.shape.declared_gpus = Some(MilliGpus::whole(u64::from(agents * each)));
            if let Cluster::Nodes(Nodes { groups, .. }) = &mut scenario.cluster {
                for group in groups {
                    group.elastic = None;
                    group.count = agents * each;
                }
            }
            Job::new(scenario, &["hold"])
        };
        let jobs = (fewest..=most).map(job).collect::<Result<Vec<_>>>()?;
        let runs = all(settings, &jobs)?;
        let row = |runs: &Runs| -> Vec<Sketch> {
            let mut row = vec![Sketch::default(); agents as usize];
            for outcome in runs.iter().flatten() {
                let pairs = row.iter_mut().zip(&outcome.agents);
                pairs.for_each(|(sum, agent)| sum.merge(&agent.latency));
            }
            row
        };
        Ok(Self {
            fewest,
            latency: runs.iter().map(row).collect(),
        })
    }

    /// Every split, the smallest first.
    pub fn splits(&self) -> Vec<Split> {
        let agents = self.latency.first().map_or(0, Vec::len);
        let rows = self.latency.len();
        let split = |mut number: usize| {
            let mut gpus = Vec::with_capacity(agents);
            let mut all = Sketch::default();
            for agent in 0..agents {
                all.merge(&self.latency[number % rows][agent]);
                gpus.push(self.fewest + (number % rows) as u32);
                number /= rows;
            }
            let tail = all.quantile(0.95).unwrap_or(f64::INFINITY);
            Split { gpus, tail }
        };
        let mut splits: Vec<Split> = (0..rows.pow(agents as u32)).map(split).collect();
        splits.sort_by(|a, b| a.total().cmp(&b.total()).then(a.tail.total_cmp(&b.tail)));
        splits
    }
}

/// The smallest split, of equal ones the best, with a tail that is no longer.
fn smallest(splits: &[Split], tail: f64) -> Option<&Split> {
    splits.iter().find(|split| split.tail <= tail)
}

/// Each of our points beside the smallest split with a p95 that is no longer; `hours` is for how long a GPU of a split is paid. `judged`
/// is the setting that the aim is about.
pub(super) fn compare(
    scene: &str,
    judged: &str,
    points: &[Point],
    (splits, hours): (&[Split], f64),
    aims: &mut Vec<Aim>,
) -> Table {
    let mut table = Table::new([
        "ours",
        "GPU-hours",
        "p95",
        "smallest split",
        "its GPU-hours",
        "its p95",
        "ours to it",
    ]);
    for ours in points.iter().filter(|p| p.family == OURS) {
        let found = smallest(splits, ours.tail());
        let theirs = found.map(|split| f64::from(split.total()) * hours);
        let ratio = theirs.map(|theirs| ours.hours_to(&vec![theirs; ours.hours.len()]));
        if ours.setting == judged {
            let what = format!(
                "elastic, {scene}: GPU-hours of {judged} to peak provisioning's at its p95"
            );
            aims.push(Aim::new(what, ratio.unwrap_or(f64::INFINITY), MOST));
        }
        let numbers = |split: &Split| {
            let numbers: Vec<String> = split.gpus.iter().map(u32::to_string).collect();
            numbers.join("+")
        };
        let or_none = |text: Option<String>| text.unwrap_or_else(|| "none tried".to_owned());
        table.row([
            ours.setting.clone(),
            short(ours.hours()),
            format!("{} s", short(ours.tail())),
            or_none(found.map(numbers)),
            or_none(theirs.map(short)),
            or_none(found.map(|split| format!("{} s", short(split.tail)))),
            or_none(theirs.map(|theirs| short(ours.hours() / theirs))),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::super::front::tests::at;
    use super::*;

    fn sketch(seconds: f64) -> Sketch {
        let mut sketch = Sketch::default();
        (0..100).for_each(|_| sketch.add(seconds));
        sketch
    }

    /// Two agents: the first needs three GPUs to be fast, the second one.
    fn alone() -> Alone {
        let row = |a: f64, b: f64| vec![sketch(a), sketch(b)];
        Alone {
            fewest: 1,
            latency: vec![row(100.0, 1.0), row(10.0, 0.9), row(1.0, 0.9)],
        }
    }

    #[test]
    fn the_smallest_split_gives_each_agent_what_it_needs() {
        let splits = alone().splits();
        assert_eq!(splits.len(), 9);
        let gpus = |tail| smallest(&splits, tail).map(|split| split.gpus.clone());
        assert_eq!(gpus(200.0), Some(vec![1, 1]));
        assert_eq!(gpus(11.0), Some(vec![2, 1]));
        assert_eq!(gpus(2.0), Some(vec![3, 1]));
        assert_eq!(gpus(0.95), None, "the first agent is never so fast");
    }

    #[test]
    fn a_quarter_less_than_the_smallest_split_is_the_aim() {
        let splits = alone().splits();
        let mut aims = Vec::new();
        // Four GPUs for ten hours are forty; three quarters are thirty.
        for (hours, tail) in [(29.9, 2.0), (31.0, 2.0), (1.0, 0.5)] {
            compare(
                "a day",
                OURS,
                &[at(OURS, hours, tail)],
                (&splits, 10.0),
                &mut aims,
            );
        }
        let met: Vec<bool> = aims.iter().map(Aim::is_met).collect();
        assert_eq!(met, [true, false, false]);
        compare(
            "a day",
            "another",
            &[at(OURS, 29.9, 2.0)],
            (&splits, 10.0),
            &mut aims,
        );
        assert_eq!(aims.len(), 3);
    }
}
