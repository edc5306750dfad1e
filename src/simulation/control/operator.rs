//! The operator's own policies in control: its way of measuring, its pace, its rules, and where there are pods its planner.

use super::{AgentSight, Controller, Sight, Wish};
use crate::allocation::{self, Agent, Allotment, Load, Pace, Policy, Snapshot};
use crate::api::ValidPool;
use crate::sharing::{self, Memory};
use crate::signals::{Pod, PodSample, Settings, Tracker};
use crate::units::MilliGpus;
use std::sync::Arc;
use std::time::Duration;

/// Longest window that a pace may ask for, in seconds.
const LONGEST_WINDOW: u64 = 4 * 3600;

/// One of the operator's policies, as the operator would run it for a pool: load by conservation over the pace's window, the pace
/// slowed down to the lag, `allocation::allocate`, and where there are pods `sharing::plan` with its tolerance and windows, at every
/// tick and whenever a pod serves or is gone. Until half a window was seen, load is unknown, and agents keep what they have.
#[derive(Debug, Clone)]
pub struct Operator {
    pool: ValidPool,
    policy: Policy,
    metric_age: f64,
    slowed: bool,
    trackers: Vec<Tracker>,
    decision: Vec<Allotment>,
    memory: Memory,
    learned: allocation::Memory,
    /// What each agent looks like to its tracker: one engine that never restarts.
    engine: Pod,
}

impl Operator {
    /// The policy in control of the pool's agents; what it sees is `metric_age` seconds old.
    pub fn new(pool: &ValidPool, policy: Policy, metric_age: f64) -> Self {
        let longest = pool.pace.window.max(Duration::from_secs(LONGEST_WINDOW));
        let uid: Arc<str> = "engine".into();
        let mut settings = Settings::new(pool.interval, pool.pace.window, longest);
        // A simulated metrics server is late, never broken.
        settings.stale_after += seconds(metric_age);
        settings.frozen_after = Duration::MAX;
        Self {
            trackers: vec![Tracker::new(settings); pool.agents.len()],
            decision: vec![Allotment::default(); pool.agents.len()],
            pool: pool.clone(),
            memory: Memory::default(),
            learned: allocation::Memory::default(),
            policy,
            metric_age,
            slowed: true,
            engine: Pod {
                uid: uid.clone(),
                name: uid,
                ready: true,
                started: Some(Duration::ZERO),
            },
        }
    }

    /// The same with the declared pace, even where it is too fast for the lag.
    pub fn at_declared_pace(mut self) -> Self {
        self.slowed = false;
        self
    }

    fn pace(&self, lag: f64) -> Pace {
        if self.slowed {
            allocation::pace(self.pool.pace, seconds(lag))
        } else {
            self.pool.pace
        }
    }

    fn measure(&mut self, now: Duration, agents: &[AgentSight]) {
        let at = now.saturating_sub(seconds(self.metric_age));
        for (tracker, agent) in self.trackers.iter_mut().zip(agents) {
            let sample = PodSample {
                // Tokens are processed as work is done: where nothing arrived and nothing finished, that says so.
                tokens: Some(agent.busy),
                ..PodSample::new(agent.finished, agent.running, agent.waiting, at)
            };
            let samples = [(&*self.engine.uid, Ok(sample))];
            tracker.observe(now, std::slice::from_ref(&self.engine), samples);
        }
    }
}

impl Controller for Operator {
    fn interval(&self) -> f64 {
        self.pool.interval.as_secs_f64()
    }

    fn wakes(&self) -> bool {
        true
    }

    fn decide(&mut self, sight: &Sight<'_>, wish: &mut Wish) {
        let pace = self.pace(sight.lag);
        let now = seconds(sight.now);
        let window = self.policy.window(pace, self.pool.interval);
        if sight.is_tick {
            self.measure(now, sight.agents);
        }
        let loads: Vec<Load> = self
            .trackers
            .iter()
            .map(|tracker| tracker.load(now, window).0)
            .collect();
        let survey = sight
            .observed
            .map(|observed| sharing::survey(&self.pool.shape, observed));
        let agent = |(i, load): (usize, Load)| Agent {
            name: &self.pool.agents[i].name,
            priority: self.pool.shape.agents[i].priority,
            min_share: self.pool.agents[i].min_share,
            base_throughput: self.pool.agents[i].base_throughput,
            speed_exponent: self.pool.agents[i].speed_exponent,
            part: survey
                .as_ref()
                .map_or(MilliGpus::ZERO, |s| s.agents[i].part),
            swaps: survey.as_ref().is_some_and(|s| s.agents[i].swaps),
            load,
            floor: survey
                .as_ref()
                .map_or(MilliGpus::ZERO, |s| s.agents[i].floor),
            ceiling: survey
                .as_ref()
                .map_or(sight.capacity, |s| s.agents[i].ceiling),
            quantum: survey
                .as_ref()
                .map_or(MilliGpus::ZERO, |s| s.agents[i].quantum),
            realized: sight.agents[i].realized,
        };
        let agents: Vec<Agent<'_>> = loads.into_iter().enumerate().map(agent).collect();
        let snapshot = Snapshot {
            capacity: sight.capacity,
            now,
            interval: self.pool.interval,
            lag: seconds(sight.lag),
            drain: pace.drain,
            agents: &agents,
        };
        allocation::allocate(
            self.policy,
            &snapshot,
            &mut self.learned,
            &mut self.decision,
        );
        *wish = match sight.observed {
            None => Wish::Shares(self.decision.iter().map(|d| d.target).collect()),
            Some(observed) => {
                let shape = &self.pool.shape;
                let (plan, memory) =
                    sharing::plan(shape, observed, &self.decision, &self.memory, now);
                self.memory = memory;
                Wish::Steps(plan.steps)
            }
        };
    }
}

fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::ZERO)
}
