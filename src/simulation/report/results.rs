//! What several runs of several rules came to, in numbers: the shape of the JSON and the source of every table.

use super::bounds::{BoundResult, OfSeed};
use super::runs::{Run, Runs, Sample, merged};
use crate::simulation::statistics::{Interval, interval, jain, paired_ratio};
use crate::simulation::{AgentOutcome, Power, Scenario};
use schemars::JsonSchema;
use serde::Serialize;

/// The rules that were compared, the first of them being what the others are compared with.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Results {
    /// What was simulated, in words.
    pub scenario: Described,
    /// What drew the loads; each rule ran once with each.
    pub seeds: Vec<u64>,
    /// A rule each.
    pub results: Vec<RuleResult>,
    /// What no rule, or none of a kind, can beat on the same requests; empty where they were not computed.
    pub bounds: Vec<BoundResult>,
}

/// What was simulated, in words.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Described {
    /// The pool's name.
    pub pool: String,
    /// For how long requests arrive, in seconds.
    pub seconds: f64,
    /// Of these, not counted, in seconds.
    pub warmup_seconds: f64,
    /// What there is to serve with.
    pub cluster: String,
    /// What is assumed because nothing was said about it.
    pub assumed: Vec<String>,
    /// The load of each agent: generated or recorded, from what.
    pub loads: Vec<DescribedLoad>,
}

/// The load of an agent, in words.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DescribedLoad {
    /// The agent.
    pub agent: String,
    /// Its load.
    pub load: String,
}

/// What a rule came to.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RuleResult {
    /// The rule, as the command line names it.
    pub policy: String,
    /// Over all agents.
    #[serde(flatten)]
    pub measures: Measures,
    /// Where they lie.
    #[serde(flatten)]
    pub intervals: Intervals,
    /// GPU-hours that were paid for and granted to nobody, a run, until all is served.
    pub stranded_gpu_hours: f64,
    /// Jain's index over the agents' speeds: work of a request over its mean time in the system; null without requests.
    pub fairness: Option<f64>,
    /// The agents, in the order of their names.
    pub agents: Vec<AgentResult>,
}

/// What a rule came to for an agent.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AgentResult {
    /// Its name.
    pub name: String,
    /// Its figures.
    #[serde(flatten)]
    pub measures: Measures,
    /// Where they lie.
    #[serde(flatten)]
    pub intervals: Intervals,
}

/// Figures that rules and agents have in common. Latencies are over all requests of all seeds; amounts are a run's, on average.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Measures {
    /// Mean time in the system, in seconds; null without requests. What is not served in the end counts with its age.
    pub mean_latency_seconds: Option<f64>,
    /// Its median, within 0.4 % as all quantiles.
    pub p50_latency_seconds: Option<f64>,
    /// Its 95th percentile.
    pub p95_latency_seconds: Option<f64>,
    /// Its 99th percentile.
    pub p99_latency_seconds: Option<f64>,
    /// Mean time before a request first runs, in seconds.
    pub mean_waiting_seconds: Option<f64>,
    /// Requests that arrived.
    pub requests: f64,
    /// Of these, not served in the end.
    pub unserved: f64,
    /// Requests served a second, from the end of the warm-up until all is served, which may be after arrivals end.
    pub throughput_per_second: f64,
    /// Of these, within the latency target; all when there is none.
    pub goodput_per_second: f64,
    /// Part of the requests that arrived that was served within the latency target; null without requests or target.
    pub within_target: Option<f64>,
    /// GPU-hours from the end of the warm-up until all is served: of a rule paid for, of an agent granted.
    pub gpu_hours: f64,
    /// Their price, in USD.
    pub cost_usd: f64,
    /// Energy in kilowatt-hours; null without a power model.
    pub energy_kwh: Option<f64>,
    /// Part of the GPU-hours that was spent on requests; null without GPU-hours.
    pub utilisation: Option<f64>,
    /// Pods that were started.
    pub restarts: f64,
    /// Changes of shares or replicas that were begun, an hour, from the end of the warm-up until all is served.
    pub moves_per_hour: f64,
    /// Requests that lost their pod while they ran and started again.
    pub requests_cut: f64,
    /// Longest time with requests and none finished, in seconds, in any run.
    pub longest_starvation_seconds: f64,
}

/// Where figures of rules and agents lie with 95 % confidence (Student's t over the seeds), `mean` being the mean of the runs, each
/// counted once; null for one seed, and of latencies where a run had no request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Intervals {
    /// Mean latency with 95 % confidence over the seeds; null for one seed.
    pub mean_latency_interval: Option<Interval>,
    /// The 95th percentile with 95 % confidence over the seeds.
    pub p95_latency_interval: Option<Interval>,
    /// GPU-hours with 95 % confidence over the seeds.
    pub gpu_hours_interval: Option<Interval>,
    /// Their price with 95 % confidence over the seeds.
    pub cost_usd_interval: Option<Interval>,
    /// Pods that were started, with 95 % confidence over the seeds.
    pub restarts_interval: Option<Interval>,
    /// Changes an hour with 95 % confidence over the seeds.
    pub moves_per_hour_interval: Option<Interval>,
    /// Mean latency as a ratio to the first rule's, paired by seed; null for one seed.
    pub mean_latency_ratio: Option<Interval>,
    /// The 95th percentile as a ratio to the first rule's, paired by seed.
    pub p95_latency_ratio: Option<Interval>,
}

impl Results {
    /// From the runs of each rule, with the same seeds in the same order, and the bounds of each seed, where there are any.
    pub fn new(
        scenario: &Scenario,
        described: Described,
        rules: &[Runs],
        bounds: &[Vec<OfSeed>],
    ) -> Self {
        let ran = || rules.iter().filter(|runs| !runs.each.is_empty());
        let first = ran().next();
        let seeds = first.iter().flat_map(|runs| &runs.each);
        Self {
            scenario: described,
            seeds: seeds.map(|run| run.seed).collect(),
            results: ran()
                .map(|runs| rule(scenario, runs, first.unwrap_or(runs)))
                .collect(),
            bounds: BoundResult::all(bounds, first),
        }
    }
}

fn rule(scenario: &Scenario, runs: &Runs, reference: &Runs) -> RuleResult {
    let count = runs.each.len() as f64;
    let average = |of: fn(&Run) -> f64| runs.map(of).iter().sum::<f64>() / count;
    let seconds = average(|run| run.seconds);
    let price = scenario.price_per_gpu_hour;
    let agent = |(i, of): (usize, &AgentOutcome)| {
        let granted = of.granted / 3600.0 / count;
        AgentResult {
            name: of.name.clone(),
            measures: measures(scenario, &[of], count, seconds, granted),
            intervals: Intervals::of(runs, reference, price, &|run| run.agents[i]),
        }
    };
    let everyone: Vec<&AgentOutcome> = runs.agents.iter().collect();
    let paid = average(|run| run.paid) / 3600.0;
    let speeds: Vec<f64> = runs.agents.iter().filter_map(speed).collect();
    RuleResult {
        policy: runs.rule.clone(),
        measures: measures(scenario, &everyone, count, seconds, paid),
        intervals: Intervals::of(runs, reference, price, &|run| run.all),
        stranded_gpu_hours: average(|run| run.stranded) / 3600.0,
        fairness: jain(&speeds),
        agents: runs.agents.iter().enumerate().map(agent).collect(),
    }
}

impl Intervals {
    /// Of what is told of each run.
    fn of(runs: &Runs, reference: &Runs, price: f64, told: &dyn Fn(&Run) -> Sample) -> Self {
        let lies = |of: &dyn Fn(Sample) -> f64| interval(&runs.map(|run| of(told(run))));
        let ratio = |of: fn(Sample) -> f64| {
            let each = |runs: &Runs| runs.map(|run| of(told(run)));
            paired_ratio(&each(runs), &each(reference))
        };
        Self {
            mean_latency_interval: lies(&|sample| sample.mean),
            p95_latency_interval: lies(&|sample| sample.p95),
            gpu_hours_interval: lies(&|sample| sample.gpu_hours),
            cost_usd_interval: lies(&|sample| sample.gpu_hours * price),
            restarts_interval: lies(&|sample| sample.restarts),
            moves_per_hour_interval: lies(&|sample| sample.moves_per_hour),
            mean_latency_ratio: ratio(|sample| sample.mean),
            p95_latency_ratio: ratio(|sample| sample.p95),
        }
    }
}

/// Figures of agents whose outcomes are sums over so many runs, of so many seconds each on average.
fn measures(
    scenario: &Scenario,
    of: &[&AgentOutcome],
    runs: f64,
    seconds: f64,
    gpu_hours: f64,
) -> Measures {
    let latency = merged(of.iter().map(|agent| &agent.latency));
    let waiting = merged(of.iter().map(|agent| &agent.waiting));
    let a_run = |measure: fn(&AgentOutcome) -> f64| {
        of.iter().map(|agent| measure(agent)).sum::<f64>() / runs
    };
    let arrived = a_run(|agent| agent.arrived as f64);
    let served = a_run(|agent| agent.served as f64);
    let within = a_run(|agent| agent.within_target as f64);
    let busy = a_run(|agent| agent.busy) / 3600.0;
    Measures {
        mean_latency_seconds: latency.mean(),
        p50_latency_seconds: latency.quantile(0.5),
        p95_latency_seconds: latency.quantile(0.95),
        p99_latency_seconds: latency.quantile(0.99),
        mean_waiting_seconds: waiting.mean(),
        requests: arrived,
        unserved: arrived - served,
        throughput_per_second: served / seconds,
        goodput_per_second: within / seconds,
        within_target: (arrived > 0.0 && scenario.latency_target.is_some())
            .then(|| within / arrived),
        gpu_hours,
        cost_usd: gpu_hours * scenario.price_per_gpu_hour,
        energy_kwh: scenario.power.map(|power| energy(power, gpu_hours, busy)),
        utilisation: (gpu_hours > 0.0).then(|| busy / gpu_hours),
        restarts: a_run(|agent| agent.restarts as f64),
        moves_per_hour: a_run(|agent| agent.moves as f64) * 3600.0 / seconds,
        requests_cut: a_run(|agent| agent.cut as f64),
        longest_starvation_seconds: of.iter().map(|agent| agent.starved).fold(0.0, f64::max),
    }
}

/// Kilowatt-hours of GPU-hours of which some were busy.
fn energy(power: Power, gpu_hours: f64, busy: f64) -> f64 {
    (power.idle * gpu_hours + (power.busy - power.idle) * busy) / 1000.0
}

/// GPU-seconds of work of a request over its time in the system: 1 when each has a whole idle GPU for itself, 0 when none is served.
/// `None` without requests.
fn speed(of: &AgentOutcome) -> Option<f64> {
    let latency = of.latency.mean()?;
    if of.served == 0 {
        return Some(0.0);
    }
    (latency > 0.0).then(|| of.work / of.served as f64 / latency)
}
