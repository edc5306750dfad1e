//! Runs of many scenarios under many rules and seeds, on all cores.

use agentpool::simulation::control::Rule;
use agentpool::simulation::report::{self, Block, Page};
use agentpool::simulation::statistics::{Interval, interval, paired_ratio};
use agentpool::simulation::{Outcome, Scenario, Sketch, run};
use anyhow::{Context as _, Result};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How much is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Seeds of every comparison; at least 2.
    pub seeds: u64,
}

/// A scenario, and the rules that it is run under.
pub struct Job {
    /// The scenario.
    pub scenario: Scenario,
    /// The rules; the first is what the others are compared with.
    pub rules: Vec<Rule>,
}

impl Job {
    /// A scenario under rules as the command line names them.
    ///
    /// # Errors
    /// When there is no such rule.
    pub fn new(scenario: Scenario, rules: &[&str]) -> Result<Self> {
        let rules = rules.iter().map(|rule| Rule::parse(rule));
        Ok(Self {
            scenario,
            rules: rules.collect::<Result<_, _>>()?,
        })
    }
}

/// What a job came to: by rule, by seed.
pub type Runs = Vec<Vec<Outcome>>;

/// Runs jobs, all seeds and rules at once on all cores, in no order; the results are in order.
///
/// # Errors
/// The first run that came to nothing.
pub fn all(settings: &Settings, jobs: &[Job]) -> Result<Vec<Runs>> {
    let mut tasks = Vec::new();
    for (j, job) in jobs.iter().enumerate() {
        for (r, rule) in job.rules.iter().enumerate() {
            tasks.extend((0..settings.seeds).map(|seed| (j, r, *rule, seed + 1)));
        }
    }
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(&(j, r, rule, seed)) =
                    tasks.get(next.fetch_add(1, Ordering::Relaxed))
                {
                    let outcome = one(&jobs[j], rule, seed);
                    let mut done = done
                        .lock()
                        .unwrap_or_else(std::sync::PoisonError::into_inner);
                    done.push(((j, r, seed), outcome));
                }
            });
        }
    });
    let mut done = done
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    done.sort_by_key(|(place, _)| *place);
    let mut runs: Vec<Runs> = jobs
        .iter()
        .map(|job| vec![Vec::new(); job.rules.len()])
        .collect();
    for ((j, r, _), outcome) in done {
        runs[j][r].push(outcome?);
    }
    Ok(runs)
}

fn one(job: &Job, rule: Rule, seed: u64) -> Result<Outcome> {
    let mut controller = rule.build(&job.scenario)?;
    run(
        &job.scenario,
        controller.as_mut(),
        &rule.to_string(),
        seed,
        &mut |_| {},
    )
    .with_context(|| format!("{rule}, seed {seed}"))
}

/// All requests of a run.
pub fn latency(outcome: &Outcome) -> Sketch {
    let mut all = Sketch::default();
    outcome.agents.iter().for_each(|a| all.merge(&a.latency));
    all
}

/// One number of each run.
pub fn each(outcomes: &[Outcome], of: impl Fn(&Outcome) -> f64) -> Vec<f64> {
    outcomes.iter().map(of).collect()
}

/// Mean time in the system, in seconds.
pub fn mean(outcome: &Outcome) -> f64 {
    latency(outcome).mean().unwrap_or(0.0)
}

/// What 95 % of the times in the system do not exceed, in seconds.
pub fn p95(outcome: &Outcome) -> f64 {
    latency(outcome).quantile(0.95).unwrap_or(0.0)
}

/// The paired ratio of a rule's runs to the first rule's.
pub fn ratio(runs: &Runs, rule: usize, of: impl Fn(&Outcome) -> f64) -> Option<Interval> {
    paired_ratio(&each(&runs[rule], &of), &each(&runs[0], &of))
}

/// The upper end of an interval; infinite when there is none, so that nothing counts as reached that was not measured.
pub fn upper(interval: Option<Interval>) -> f64 {
    interval.map_or(f64::INFINITY, |i| i.high)
}

/// `0.78 [0.75, 0.81]`.
pub fn shown(interval: Option<Interval>) -> String {
    interval.map_or_else(
        || "-".to_owned(),
        |i| format!("{} [{}, {}]", short(i.mean), short(i.low), short(i.high)),
    )
}

/// Adds plots of a job, whose files begin with `prefix`: shares or replicas and queues over time, and the distribution of latency.
pub fn plot(page: &mut Page, prefix: &str, runs: &Runs) {
    let wanted = ["shares", "replicas", "queues", "latency-distribution"];
    let of_rule = |outcomes: &Vec<Outcome>| {
        let mut runs = report::Runs::default();
        outcomes
            .iter()
            .cloned()
            .for_each(|outcome| runs.add(outcome));
        runs
    };
    let runs: Vec<report::Runs> = runs.iter().map(of_rule).collect();
    for mut figure in report::figures(&runs) {
        if wanted.contains(&figure.name.as_str()) {
            figure.name = format!("{prefix}-{}", figure.name);
            page.blocks.push(Block::Figure(figure));
        }
    }
}

/// The mean of one number over the runs.
pub fn average(outcomes: &[Outcome], of: impl Fn(&Outcome) -> f64) -> String {
    let values = each(outcomes, of);
    interval(&values).map_or_else(|| "-".to_owned(), |i| short(i.mean))
}

/// Three digits that count.
pub fn short(x: f64) -> String {
    let decimals = match x.abs() {
        x if x >= 100.0 => 0,
        x if x >= 10.0 => 1,
        x if x >= 0.1 => 2,
        _ => 3,
    };
    format!("{x:.decimals$}")
}
