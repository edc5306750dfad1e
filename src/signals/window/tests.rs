#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::*;

mod faults;
mod pods;
mod properties;
mod rates;

const SECOND: Duration = Duration::from_secs(1);
const WINDOW: Duration = Duration::from_secs(10);

fn at(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

fn pod(uid: &str, ready: bool) -> Pod {
    Pod {
        uid: uid.into(),
        name: format!("pod-{uid}").into(),
        ready,
        started: None,
    }
}

/// Drives a tracker tick by tick, a second each, as a controller does.
struct Driver {
    tracker: Tracker,
    now: Duration,
}

type Outcome = Result<PodSample, Problem>;

impl Driver {
    fn new() -> Self {
        let mut settings = Settings::new(SECOND, WINDOW, Duration::from_secs(120));
        settings.stale_after = at(3.0);
        Self {
            tracker: Tracker::new(settings),
            now: Duration::from_secs(1000),
        }
    }

    /// A tick with ready pods, each `(uid, outcome)`.
    fn tick(&mut self, outcomes: &[(&str, Outcome)]) -> AgentSignal {
        let pods: Vec<Pod> = outcomes.iter().map(|(uid, _)| pod(uid, true)).collect();
        self.tick_with(&pods, outcomes)
    }

    fn tick_with(&mut self, pods: &[Pod], outcomes: &[(&str, Outcome)]) -> AgentSignal {
        self.now += SECOND;
        let now = self.now;
        let samples = outcomes
            .iter()
            .map(|(uid, outcome)| (*uid, outcome.map(|sample| PodSample { at: now, ..sample })));
        self.tracker.observe(now, pods, samples);
        self.signal()
    }

    fn signal(&self) -> AgentSignal {
        self.tracker.signal(self.now, WINDOW)
    }
}

/// A sample; the driver sets its time.
fn sample(finished: f64, running: f64, waiting: f64) -> Outcome {
    Ok(PodSample::new(finished, running, waiting, Duration::ZERO))
}

fn rate(signal: &AgentSignal) -> f64 {
    match signal.load {
        Load::Measured {
            arrivals_per_second,
            ..
        } => arrivals_per_second,
        Load::Unknown => panic!("unknown: {signal:?}"),
    }
}

fn backlog(signal: &AgentSignal) -> f64 {
    match signal.load {
        Load::Measured { backlog, .. } => backlog,
        Load::Unknown => panic!("unknown: {signal:?}"),
    }
}

#[track_caller]
fn assert_near(actual: f64, expected: f64) {
    assert!(
        (actual - expected).abs() < 1e-6 * expected.abs().max(1.0),
        "{actual} is not {expected}"
    );
}

/// `n` ticks of one pod per uid with `per_second` arrivals each, all served at once.
fn steady(driver: &mut Driver, uids: &[&str], per_second: f64, n: u32) -> AgentSignal {
    let mut last = driver.signal();
    for _ in 0..n {
        let finished = (driver.now + SECOND).as_secs_f64() * per_second;
        let outcomes: Vec<_> = uids
            .iter()
            .map(|uid| (*uid, sample(finished, 2.0, 1.0)))
            .collect();
        last = driver.tick(&outcomes);
    }
    last
}
