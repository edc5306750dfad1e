//! The runs of a rule, added up as they end.

use crate::simulation::{AgentOutcome, Outcome, Point, Sketch};

/// What the runs of one rule came to. Memory does not grow with their number, but for a few numbers of each: agents are added up, and
/// only the first run is kept over time.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Runs {
    /// The rule, as the command line names it.
    pub(super) rule: String,
    /// Each run.
    pub(super) each: Vec<Run>,
    /// The agents, in the order of the pool, over all runs.
    pub(super) agents: Vec<AgentOutcome>,
    /// The first run over time.
    pub(super) series: Vec<Point>,
}

/// A few numbers of one run.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Run {
    pub seed: u64,
    pub seconds: f64,
    pub paid: f64,
    pub stranded: f64,
    /// Of all agents together.
    pub all: Sample,
    /// Of each.
    pub agents: Vec<Sample>,
}

/// What one run came to for an agent, or for all of them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Sample {
    /// Mean time in the system, in seconds; not a number without requests.
    pub mean: f64,
    /// Its 95th percentile.
    pub p95: f64,
    /// GPU-hours: of an agent granted, of all of them paid for.
    pub gpu_hours: f64,
    /// Pods that were started.
    pub restarts: f64,
    /// Changes of shares or replicas, an hour.
    pub moves_per_hour: f64,
}

impl Runs {
    /// Adds a run: of the same scenario and rule as those before it. The order in which runs are added decides the last digits of sums.
    pub fn add(&mut self, run: Outcome) {
        let sample = |of: &[AgentOutcome], gpu_seconds| Sample::new(of, gpu_seconds, run.seconds);
        self.each.push(Run {
            seed: run.seed,
            seconds: run.seconds,
            paid: run.paid,
            stranded: run.stranded,
            all: sample(&run.agents, run.paid),
            agents: run
                .agents
                .iter()
                .map(|agent| sample(std::slice::from_ref(agent), agent.granted))
                .collect(),
        });
        if self.each.len() == 1 {
            (self.rule, self.agents, self.series) = (run.rule, run.agents, run.series);
            return;
        }
        for (all, agent) in self.agents.iter_mut().zip(&run.agents) {
            add(all, agent);
        }
    }

    /// A number of each run.
    pub(super) fn map(&self, of: impl Fn(&Run) -> f64) -> Vec<f64> {
        self.each.iter().map(of).collect()
    }
}

impl Sample {
    /// Of agents that had so many GPU-seconds in a run of so many seconds.
    fn new(of: &[AgentOutcome], gpu_seconds: f64, seconds: f64) -> Self {
        let latency = merged(of.iter().map(|agent| &agent.latency));
        let sum = |count: fn(&AgentOutcome) -> u64| of.iter().map(count).sum::<u64>() as f64;
        Self {
            mean: latency.mean().unwrap_or(f64::NAN),
            p95: latency.quantile(0.95).unwrap_or(f64::NAN),
            gpu_hours: gpu_seconds / 3600.0,
            restarts: sum(|agent| agent.restarts),
            moves_per_hour: sum(|agent| agent.moves) * 3600.0 / seconds,
        }
    }
}

impl FromIterator<Outcome> for Runs {
    fn from_iter<T: IntoIterator<Item = Outcome>>(runs: T) -> Self {
        let mut all = Self::default();
        runs.into_iter().for_each(|run| all.add(run));
        all
    }
}

fn add(all: &mut AgentOutcome, agent: &AgentOutcome) {
    all.latency.merge(&agent.latency);
    all.waiting.merge(&agent.waiting);
    all.arrived += agent.arrived;
    all.served += agent.served;
    all.within_target += agent.within_target;
    all.granted += agent.granted;
    all.work += agent.work;
    all.busy += agent.busy;
    all.restarts += agent.restarts;
    all.moves += agent.moves;
    all.cut += agent.cut;
    all.starved = all.starved.max(agent.starved);
}

/// All of these in one.
pub(super) fn merged<'a>(sketches: impl Iterator<Item = &'a Sketch>) -> Sketch {
    let mut all = Sketch::default();
    sketches.for_each(|sketch| all.merge(sketch));
    all
}
