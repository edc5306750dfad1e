//! Runs rules and seeds on all processors, and shows how far they are.

use super::failure::Failure;
use crate::simulation::control::Rule;
use crate::simulation::{Outcome, Scenario, run};
use std::collections::BTreeMap;
use std::io::{IsTerminal, Write as _};
use std::num::NonZero;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// A run to be made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Job<'a> {
    /// Of what.
    pub scenario: &'a Scenario,
    /// What errors call it.
    pub name: &'a str,
    /// Under which rule.
    pub rule: Rule,
    /// With which load.
    pub seed: u64,
}

/// Parts of a run that its progress is told in.
const PARTS: f64 = 1000.0;

/// Runs all of them and hands their outcomes on in their order, whichever ends first. A bar on standard error when it is a terminal
/// and they take longer than a second.
///
/// # Errors
/// The first of them, in their order, that failed.
pub(super) fn run_all(
    jobs: &[Job<'_>],
    take: impl FnMut(usize, Outcome) + Send,
) -> Result<(), Failure> {
    let (next, done) = (AtomicUsize::new(0), AtomicU64::new(0));
    let ended = Mutex::new(Ended {
        next: 0,
        waiting: BTreeMap::new(),
        failed: None,
        take,
    });
    let threads = thread::available_parallelism()
        .map_or(1, NonZero::get)
        .min(jobs.len());
    let work = || {
        while let Some((i, job)) =
            Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|i| jobs.get(i).map(|job| (i, job)))
        {
            let result = one(job, &done);
            if result.is_err() {
                next.store(jobs.len(), Ordering::Relaxed);
            }
            let mut ended = ended.lock().unwrap_or_else(PoisonError::into_inner);
            ended.add(i, result);
        }
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        if std::io::stderr().is_terminal() {
            show(jobs.len(), &done, || {
                workers.iter().all(thread::ScopedJoinHandle::is_finished)
            });
        }
    });
    let ended = ended.into_inner().unwrap_or_else(PoisonError::into_inner);
    match ended.failed {
        Some((_, failure)) => Err(failure),
        None if ended.next < jobs.len() => {
            Err(Failure::Run("a run ended without a result".to_owned()))
        }
        None => Ok(()),
    }
}

/// Outcomes of runs, handed on in the order of their jobs.
struct Ended<T> {
    /// The job whose outcome is handed on next.
    next: usize,
    /// What came before its turn: as many as there are processors, unless runs differ much in length.
    waiting: BTreeMap<usize, Outcome>,
    failed: Option<(usize, Failure)>,
    take: T,
}

impl<T: FnMut(usize, Outcome)> Ended<T> {
    fn add(&mut self, job: usize, result: Result<Outcome, Failure>) {
        match result {
            Ok(outcome) => {
                self.waiting.insert(job, outcome);
            }
            Err(failure) => {
                if self.failed.as_ref().is_none_or(|(first, _)| job < *first) {
                    self.failed = Some((job, failure));
                }
            }
        }
        while let Some(outcome) = self.waiting.remove(&self.next) {
            (self.take)(self.next, outcome);
            self.next += 1;
        }
    }
}

fn one(job: &Job<'_>, done: &AtomicU64) -> Result<Outcome, Failure> {
    let refused = |error: &dyn std::fmt::Display| Failure::input(job.name, error);
    let mut controller = job
        .rule
        .build(job.scenario)
        .map_err(|error| refused(&error))?;
    let name = job.rule.to_string();
    let mut told = 0;
    let mut progress = |part: f64| {
        let now = (part * PARTS) as u64;
        done.fetch_add(now.saturating_sub(told), Ordering::Relaxed);
        told = told.max(now);
    };
    let outcome = run(
        job.scenario,
        &mut *controller,
        &name,
        job.seed,
        &mut progress,
    );
    progress(1.0);
    outcome.map_err(|error| Failure::run(job.name, &name, &error))
}

/// Draws the bar until all is over.
fn show(jobs: usize, done: &AtomicU64, over: impl Fn() -> bool) {
    const WIDTH: usize = 40;
    let start = Instant::now();
    let mut drawn = false;
    while !over() {
        thread::sleep(Duration::from_millis(50));
        if start.elapsed() < Duration::from_secs(1) {
            continue;
        }
        let part = done.load(Ordering::Relaxed) as f64 / (jobs as f64 * PARTS);
        let full = (part.min(1.0) * WIDTH as f64) as usize;
        let left = start.elapsed().as_secs_f64() * (1.0 / part.max(1e-3) - 1.0);
        eprint!(
            "\r[{}{}] {:3.0} %  {jobs} runs, {left:.0} s left \x1b[K",
            "#".repeat(full),
            " ".repeat(WIDTH - full),
            100.0 * part
        );
        let _ = std::io::stderr().flush();
        drawn = true;
    }
    if drawn {
        eprint!("\r\x1b[K");
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn outcome(seed: u64) -> Outcome {
        Outcome {
            rule: String::new(),
            seed,
            seconds: 1.0,
            agents: Vec::new(),
            paid: 0.0,
            stranded: 0.0,
            moves: 0,
            series: Vec::new(),
        }
    }

    #[test]
    fn outcomes_are_handed_on_in_order_and_the_first_failure_counts() {
        let mut seen = Vec::new();
        let mut ended = Ended {
            next: 0,
            waiting: BTreeMap::new(),
            failed: None,
            take: |job, outcome: Outcome| seen.push((job, outcome.seed)),
        };
        for job in [2, 0, 1] {
            ended.add(job, Ok(outcome(job as u64 * 10)));
        }
        for job in [5, 3, 4] {
            ended.add(job, Err(Failure::Run(job.to_string())));
        }
        assert_eq!(ended.failed.map(|(job, _)| job), Some(3));
        assert!(ended.waiting.is_empty());
        assert_eq!(seen, [(0, 0), (1, 10), (2, 20)]);
    }
}
