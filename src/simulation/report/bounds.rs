//! What no rule, or none of a kind, can beat, beside what rules came to: on the same requests, seed by seed.

use super::runs::Runs;
use crate::sharing::Strategy;
use crate::simulation::bounds::{
    Bound, NoSplit, Terms, best_split, clairvoyant_plan, cmu_order, processor_sharing,
};
use crate::simulation::statistics::{Interval, interval, paired_ratio};
use crate::simulation::{Cluster, Scenario, Sketch};
use crate::units::MilliGpus;
use schemars::JsonSchema;
use serde::Serialize;

/// Fewest steps into which all GPUs are split; two an agent where there are more than ten.
const STEPS: u64 = 20;
/// Bins of a plan: a minute, and longer in a long run.
const BIN: f64 = 60.0;
const MOST_BINS: f64 = 20_000.0;
/// Seconds of work an agent that may wait in a plan, on average over the agents.
const MAY_WAIT: f64 = 60.0;

/// A bound, or what is told in its place, over the seeds.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BoundResult {
    /// Its name: `cmu-order`, `processor-sharing`, where GPUs are hard parts `best-split`, where nodes come and go `clairvoyant-plan`.
    pub bound: String,
    /// What it bounds, and under which conditions, in words.
    pub conditions: String,
    /// Why it bounds nothing in this scenario, in words; empty when it does.
    pub unmet: Vec<String>,
    /// Mean time in the system under it, over all requests of all seeds, in seconds; null where it says nothing about it.
    pub mean_latency_seconds: Option<f64>,
    /// Mean latency under it with 95 % confidence over the seeds; null for one seed.
    pub mean_latency_interval: Option<Interval>,
    /// Mean latency under it as a ratio to the first rule's, paired by seed; null for one seed.
    pub mean_latency_ratio: Option<Interval>,
    /// GPU-hours under it, a run; null where it says nothing about them.
    pub gpu_hours: Option<f64>,
    /// GPU-hours under it with 95 % confidence over the seeds.
    pub gpu_hours_interval: Option<Interval>,
}

/// A bound on the runs of one seed.
#[derive(Debug, Clone, PartialEq)]
pub struct OfSeed {
    bound: &'static str,
    conditions: String,
    unmet: Vec<String>,
    /// Sum and number of the times in the system.
    latency: Option<(f64, u64)>,
    gpu_hours: Option<f64>,
}

/// All bounds on the runs of a scenario with one seed. It holds all requests of a run in memory.
pub fn bounds_of(scenario: &Scenario, seed: u64) -> Vec<OfSeed> {
    let mut found = vec![order(scenario, seed), sharing(scenario, seed)];
    found.extend(split(scenario, seed));
    found.extend(plan(scenario, seed));
    found
}

fn order(scenario: &Scenario, seed: u64) -> OfSeed {
    let mut bound = cmu_order(scenario, seed);
    if scenario.warmup > 0.0 {
        let words = "a warm-up is not counted, and a rule could serve its requests last";
        bound.unmet.push(words.to_owned());
    }
    OfSeed {
        bound: "cmu-order",
        conditions: "no rule that does not know how long a request takes has a lower mean, where work is exponential and speed linear \
                     in GPUs (preemptive cμ order on all GPUs as one, moved without lag)"
            .to_owned(),
        latency: Some(sum(&bound.agents)),
        unmet: bound.unmet,
        gpu_hours: None,
    }
}

fn sharing(scenario: &Scenario, seed: u64) -> OfSeed {
    let Bound { agents, unmet } = processor_sharing(scenario, seed);
    OfSeed {
        bound: "processor-sharing",
        conditions: "all requests share all GPUs equally at every moment, without lag".to_owned(),
        latency: Some(sum(&agents)),
        unmet,
        gpu_hours: None,
    }
}

/// Where shares bind.
fn split(scenario: &Scenario, seed: u64) -> Option<OfSeed> {
    let Cluster::Fractions(fractions) = &scenario.cluster else {
        return None;
    };
    let steps = STEPS.max(2 * scenario.loads.len() as u64);
    let step = MilliGpus((fractions.gpus.0 / steps).max(1));
    let mut found = OfSeed {
        bound: "best-split",
        conditions: format!(
            "no static split of all GPUs into hard parts, in steps of {step}, has a lower mean (found knowing all requests); rules that \
             move may"
        ),
        unmet: Vec::new(),
        latency: None,
        gpu_hours: None,
    };
    match best_split(scenario, seed, step) {
        Ok(split) => found.latency = Some(sum(&split.agents)),
        Err(NoSplit::NoPartition(_)) => return None,
        Err(none) => found.unmet.push(none.to_string()),
    }
    Some(found)
}

/// Where nodes come and go.
fn plan(scenario: &Scenario, seed: u64) -> Option<OfSeed> {
    let Cluster::Nodes(nodes) = &scenario.cluster else {
        return None;
    };
    nodes.groups.iter().find_map(|group| group.elastic)?;
    let bin = BIN.max((scenario.seconds / MOST_BINS).ceil());
    let may_wait = MAY_WAIT * scenario.loads.len() as f64;
    let mut found = OfSeed {
        bound: "clairvoyant-plan",
        conditions: format!(
            "no plan of GPU numbers costs fewer GPU-hours that changes them every {bin} s and never lets more than {may_wait} GPU-seconds \
             of work wait (found knowing all requests; speed linear in GPUs, work evenly within a step, any GPU for any agent)"
        ),
        unmet: Vec::new(),
        latency: None,
        gpu_hours: None,
    };
    let agents = &scenario.pool.agents;
    if scenario.pool.shape.strategy == Strategy::Mig
        && agents.iter().any(|agent| agent.speed_exponent < 1.0)
    {
        let words = "a part of a GPU is worth more than its size";
        found.unmet.push(words.to_owned());
    }
    let terms = Terms::of(scenario, (bin * 1000.0) as u64, may_wait);
    match clairvoyant_plan(scenario, seed, terms) {
        Ok(plan) => found.gpu_hours = Some(plan.paid / 3600.0),
        Err(none) => found.unmet.push(none.to_string()),
    }
    Some(found)
}

fn sum(of: &[Sketch]) -> (f64, u64) {
    let sums = of.iter().map(|sketch| (sketch.sum(), sketch.count()));
    sums.fold((0.0, 0), |(a, n), (b, m)| (a + b, n + m))
}

impl BoundResult {
    /// From the bounds of each seed, and the runs of the first rule with the same seeds.
    pub(super) fn all(seeds: &[Vec<OfSeed>], first: Option<&Runs>) -> Vec<Self> {
        let count = seeds.first().map_or(0, Vec::len);
        let theirs = first.map_or_else(Vec::new, |runs| runs.map(|run| run.all.mean));
        (0..count)
            .map(|i| {
                let each: Vec<&OfSeed> = seeds.iter().filter_map(|of| of.get(i)).collect();
                Self::new(&each, &theirs)
            })
            .collect()
    }

    fn new(seeds: &[&OfSeed], theirs: &[f64]) -> Self {
        let mut unmet: Vec<String> = Vec::new();
        for words in seeds.iter().flat_map(|of| &of.unmet) {
            if !unmet.contains(words) {
                unmet.push(words.clone());
            }
        }
        let latencies: Option<Vec<(f64, u64)>> = seeds.iter().map(|of| of.latency).collect();
        let latencies = latencies.unwrap_or_default();
        let total = latencies
            .iter()
            .fold((0.0, 0), |(a, n), (b, m)| (a + b, n + m));
        let means: Vec<f64> = latencies.iter().map(|(sum, n)| sum / *n as f64).collect();
        let hours: Option<Vec<f64>> = seeds.iter().map(|of| of.gpu_hours).collect();
        let hours = hours.unwrap_or_default();
        Self {
            bound: seeds.first().map_or("", |of| of.bound).to_owned(),
            conditions: seeds
                .first()
                .map_or_else(String::new, |of| of.conditions.clone()),
            unmet,
            mean_latency_seconds: (total.1 > 0).then(|| total.0 / total.1 as f64),
            mean_latency_interval: interval(&means),
            mean_latency_ratio: paired_ratio(&means, theirs),
            gpu_hours: (!hours.is_empty()).then(|| hours.iter().sum::<f64>() / hours.len() as f64),
            gpu_hours_interval: interval(&hours),
        }
    }

    /// What it bounds, and why it does not.
    pub(super) fn describe(&self) -> String {
        let (bound, conditions) = (&self.bound, &self.conditions);
        if self.unmet.is_empty() {
            return format!("{bound}: {conditions}.");
        }
        let unmet = self.unmet.join("; ");
        format!("{bound}: {conditions}. No bound here: {unmet}.")
    }
}
