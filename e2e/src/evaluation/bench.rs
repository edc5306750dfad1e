//! Runs of many scenarios under many rules and seeds, on all cores.

use agentpool::simulation::control::{Controller, Rule, Sight, Wish};
use agentpool::simulation::report::{self, Block, Page};
use agentpool::simulation::statistics::{Interval, interval, paired_ratio};
use agentpool::simulation::{Dispatch, Outcome, Scenario, Sketch, run};
use anyhow::{Context as _, Result};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How much is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Seeds of every comparison; at least 2.
    pub seeds: u64,
}

/// Never moves, and what everything is compared with: the equal split.
pub const HOLD: &str = "hold";
/// Never moves either: a split in proportion to the mean loads.
pub const PROPORTIONAL: &str = "static-proportional";
/// The policy that follows demand at once.
pub const WATER: &str = "water-filling";
/// The default policy: it holds where moving does not pay.
pub const BALANCED: &str = "balanced";
/// Those of AgentPool, and what they are called in the API.
pub const OURS: [(&str, &str); 2] = [(WATER, "WaterFilling"), (BALANCED, "Balanced")];

/// A scenario, and the rules that it is run under.
pub struct Job {
    /// The scenario.
    pub scenario: Scenario,
    /// The rules; the first is what the others are compared with.
    pub rules: Vec<Rule>,
    /// What the rules are told, where that is not so.
    pub told: Option<Told>,
}

/// What rules are told that is not so.
pub struct Told {
    /// The scenario as its manifest has it.
    pub scenario: Scenario,
    /// The lag, in parts of the true one.
    pub lag: f64,
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
            told: None,
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
            tasks.extend((1..=settings.seeds).map(|seed| (j, r, *rule, seed)));
        }
    }
    let outcomes = parallel(&tasks, |(j, _, rule, seed)| one(&jobs[*j], *rule, *seed));
    let mut runs: Vec<Runs> = jobs
        .iter()
        .map(|job| vec![Vec::new(); job.rules.len()])
        .collect();
    for ((j, r, ..), outcome) in tasks.iter().zip(outcomes) {
        runs[*j][*r].push(outcome?);
    }
    Ok(runs)
}

/// What comes of each task, in their order; done at once on all cores.
pub fn parallel<T: Sync, R: Send>(tasks: &[T], of: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let place = next.fetch_add(1, Ordering::Relaxed);
                    let Some(task) = tasks.get(place) else { break };
                    let result = of(task);
                    let mut done = done
                        .lock()
                        .unwrap_or_else(std::sync::PoisonError::into_inner);
                    done.push((place, result));
                }
            });
        }
    });
    let mut done = done
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    done.sort_by_key(|(place, _)| *place);
    done.into_iter().map(|(_, result)| result).collect()
}

fn one(job: &Job, rule: Rule, seed: u64) -> Result<Outcome> {
    let (told, lag) = match &job.told {
        Some(told) => (&told.scenario, told.lag),
        None => (&job.scenario, 1.0),
    };
    let mut controller = Mistaken {
        rule: rule.build(told)?,
        lag,
    };
    run(
        &job.scenario,
        &mut controller,
        &rule.to_string(),
        seed,
        &mut |_| {},
    )
    .with_context(|| format!("{rule}, seed {seed}"))
}

/// A rule that takes the lag for so many times what it is.
struct Mistaken {
    rule: Box<dyn Controller>,
    lag: f64,
}

impl Controller for Mistaken {
    fn interval(&self) -> f64 {
        self.rule.interval()
    }

    fn dispatch(&self) -> Dispatch {
        self.rule.dispatch()
    }

    fn wakes(&self) -> bool {
        self.rule.wakes()
    }

    fn decide(&mut self, sight: &Sight<'_>, wish: &mut Wish) {
        let lag = sight.lag * self.lag;
        self.rule.decide(&Sight { lag, ..*sight }, wish);
    }
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

/// The runs of a rule; none where it was not run.
pub fn under<'a>(runs: &'a Runs, rule: &str) -> &'a [Outcome] {
    let is = |outcomes: &&Vec<Outcome>| outcomes.first().is_some_and(|o| o.rule == rule);
    runs.iter().find(is).map_or(&[], Vec::as_slice)
}

/// The paired ratio of a rule's runs to the first rule's.
pub fn ratio(runs: &Runs, rule: &str, of: impl Fn(&Outcome) -> f64) -> Option<Interval> {
    paired_ratio(&each(under(runs, rule), &of), &each(&runs[0], &of))
}

/// Changes of shares or replicas, an hour.
pub fn moves(outcome: &Outcome) -> f64 {
    outcome.moves as f64 / (outcome.seconds / 3600.0)
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

/// The cells of a rule beside the first: mean and 95th percentile.
pub fn beside(runs: &Runs, rule: &str) -> [String; 2] {
    [
        shown(ratio(runs, rule, mean)),
        shown(ratio(runs, rule, p95)),
    ]
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

/// Two digits that count, or three; nothing is `0`.
pub fn short(x: f64) -> String {
    let decimals = match x.abs() {
        0.0 => 0,
        x if x >= 100.0 => 0,
        x if x >= 10.0 => 1,
        x if x >= 0.1 => 2,
        x => (1.0 - x.log10().floor()) as usize,
    };
    format!("{x:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use agentpool::units::MilliGpus;

    #[test]
    fn small_numbers_keep_two_digits_that_count() {
        let told = [0.0, 0.000_123, 0.0034, 0.034, 0.43, 4.321, 43.21, 432.1].map(short);
        assert_eq!(
            told,
            [
                "0", "0.00012", "0.0034", "0.034", "0.43", "4.32", "43.2", "432"
            ]
        );
    }

    #[test]
    fn results_stand_in_the_order_of_their_tasks() {
        let tasks: Vec<u32> = (0..100).collect();
        let squares: Vec<u32> = tasks.iter().map(|n| n * n).collect();
        assert_eq!(parallel(&tasks, |n| n * n), squares);
    }

    /// Asks for as many milli-GPUs as it sees seconds of lag.
    struct Echo;

    impl Controller for Echo {
        fn interval(&self) -> f64 {
            1.0
        }

        fn decide(&mut self, sight: &Sight<'_>, wish: &mut Wish) {
            *wish = Wish::Shares(vec![MilliGpus(sight.lag as u64)]);
        }
    }

    #[test]
    fn a_rule_that_is_mistaken_sees_another_lag() {
        let sight = Sight {
            now: 0.0,
            is_tick: true,
            capacity: MilliGpus::ONE,
            lag: 30.0,
            agents: &[],
            observed: None,
        };
        let mut rule = Mistaken {
            rule: Box::new(Echo),
            lag: 2.0,
        };
        let mut wish = Wish::Nothing;
        rule.decide(&sight, &mut wish);
        assert_eq!(wish, Wish::Shares(vec![MilliGpus(60)]));
    }
}
