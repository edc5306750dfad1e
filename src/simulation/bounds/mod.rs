//! What no rule, or no rule of a kind, can beat, each with the conditions under which it is a bound.
//!
//! | file | is | bounds | under |
//! |---|---|---|---|
//! | `order` | preemptive cμ order per request on all GPUs as one | the mean latency of every rule | exponential service, linear speed |
//! | `sharing` | processor sharing of all GPUs by all requests | nothing; what fair sharing per request reaches | any service |
//! | `split` | the best static split in hindsight | the mean latency of every static split on a grid | hard partitions |
//! | `plan` | the cheapest plan of GPU counts, knowing the load | GPU-seconds of every plan that moves at bin edges and keeps the backlog | fluid load |
//!
//! All take the very requests of a run (same scenario, same seed) and count what a run counts, so that a rule and its bound are compared
//! on the same load. Only the warm-up is no part of a proof: a rule could serve what is counted before what is not.

mod order;
mod plan;
mod sharing;
mod split;
mod station;

pub use order::cmu_order;
pub use plan::{NoPlan, Plan, Terms, cheapest_plan, clairvoyant_plan, clairvoyant_plans};
pub use sharing::processor_sharing;
pub use split::{NoSplit, Split, best_split};

use super::account::Sketch;
use super::scenario::{Cluster, Scenario};

/// A request as work on GPUs.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Job {
    /// When it arrives, in seconds.
    at: f64,
    /// Whose it is.
    agent: usize,
    /// GPU-seconds of work, on one whole GPU.
    size: f64,
}

/// What a bound comes to.
#[derive(Debug, Clone, PartialEq)]
pub struct Bound {
    /// Time in the system by agent, in the order of the pool; requests of the warm-up are not in it.
    pub agents: Vec<Sketch>,
    /// Why it bounds nothing in this scenario, in words; empty when it does.
    pub unmet: Vec<String>,
}

impl Bound {
    fn new(agents: usize) -> Self {
        Self {
            agents: vec![Sketch::default(); agents],
            unmet: Vec::new(),
        }
    }

    fn add(&mut self, counted: Counted, job: &Job, latency: f64) {
        if let Some(latency) = counted.latency(job, latency) {
            self.agents[job.agent].add(latency);
        }
    }

    /// Mean time in the system of all requests, in seconds; `None` without any.
    pub fn mean(&self) -> Option<f64> {
        let mut all = Sketch::default();
        self.agents.iter().for_each(|agent| all.merge(agent));
        all.mean()
    }
}

/// The requests of one agent in a run, in order.
fn jobs_of(scenario: &Scenario, seed: u64, agent: usize) -> impl Iterator<Item = Job> {
    let load = scenario.loads.get(agent).map(|load| load.requests(seed));
    let throughput = scenario.services.get(agent).map_or(1.0, |s| s.throughput);
    let seconds = scenario.seconds;
    load.into_iter()
        .flatten()
        .take_while(move |request| request.at < seconds)
        .map(move |request| Job {
            at: request.at,
            agent,
            size: request.work / throughput,
        })
}

/// The requests of a run, in order of arrival; of equal times the first agent's first.
fn jobs(scenario: &Scenario, seed: u64) -> Vec<Job> {
    let agents = 0..scenario.loads.len();
    let mut jobs: Vec<Job> = agents.flat_map(|i| jobs_of(scenario, seed, i)).collect();
    jobs.sort_by(|a, b| a.at.total_cmp(&b.at));
    jobs
}

/// What counts of a request's time in the system, as in a run: nothing of the warm-up's, and at the end of a run, twice the time for
/// which requests arrive, its age.
#[derive(Debug, Clone, Copy)]
struct Counted {
    warmup: f64,
    end: f64,
}

impl Counted {
    fn of(scenario: &Scenario) -> Self {
        Self {
            warmup: scenario.warmup,
            end: 2.0 * scenario.seconds,
        }
    }

    fn latency(self, job: &Job, latency: f64) -> Option<f64> {
        (job.at >= self.warmup).then(|| latency.min(self.end - job.at))
    }
}

/// GPUs that are there at most.
fn gpus(scenario: &Scenario) -> f64 {
    match &scenario.cluster {
        Cluster::Fractions(fractions) => fractions.gpus.as_gpus(),
        Cluster::Nodes(nodes) => {
            let count = |g: &super::NodeGroup| g.elastic.map_or(g.count, |e| e.max.max(g.count));
            let groups = nodes.groups.iter();
            let found = groups
                .map(|g| f64::from(g.node.gpus) * f64::from(count(g)))
                .sum();
            let declared = scenario.pool.shape.declared_gpus;
            declared.map_or(found, |declared| declared.as_gpus().min(found))
        }
    }
}
