//! Runs rules and seeds on all processors, and shows how far they are.

use super::failure::Failure;
use crate::simulation::control::Rule;
use crate::simulation::{Outcome, Scenario, run};
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

/// Runs all of them; outcomes in their order. A bar on standard error when it is a terminal and they take longer than a second.
///
/// # Errors
/// The first of them, in their order, that failed.
pub(super) fn run_all(jobs: &[Job<'_>]) -> Result<Vec<Outcome>, Failure> {
    let (next, done) = (AtomicUsize::new(0), AtomicU64::new(0));
    let results: Vec<Mutex<Option<Result<Outcome, Failure>>>> =
        jobs.iter().map(|_| Mutex::new(None)).collect();
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
            *results[i].lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
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
    let results = results
        .into_iter()
        .filter_map(|result| result.into_inner().unwrap_or_else(PoisonError::into_inner));
    let outcomes: Vec<Outcome> = results.collect::<Result<_, _>>()?;
    if outcomes.len() < jobs.len() {
        return Err(Failure::Run("a run ended without a result".to_owned()));
    }
    Ok(outcomes)
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
