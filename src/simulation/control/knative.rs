use super::behavior::replicas_for;
use super::pods;
use super::rule::{Refusal, Rule};
use super::{AgentSight, Controller, Sight, Wish};
use crate::sharing::PoolShape;
use crate::simulation::{Dispatch, Scenario};
use std::collections::VecDeque;

/// Knative's pod autoscaler (KPA) for each agent, on concurrency: requests that run or wait, those held by the activator included.
///
/// Looks every 2 s at the mean over a stable window of 60 s and a panic window of 6 s (`panic-window-percentage` 10); a replica is to
/// have `target` (`container-concurrency-target-percentage` 70) of its hard limit, or of 100 requests where that is unbounded. It
/// panics when the short window wants at least twice the ready pods (`panic-threshold-percentage` 200); then it never scales down, until
/// that has not been so for a stable window. At most 1000 times the ready pods and at least half of them (`max-scale-up-rate`,
/// `max-scale-down-rate`). `scale-down-delay` is 0 s, its default. An agent that may have no replica loses the last one 30 s after none
/// is wanted (`scale-to-zero-grace-period`).
///
/// It brings its activator along: requests wait there, in one queue, and go to a pod when that has room. The activator is in the path
/// while fewer than about 200 requests beside those that are there would find room (`target-burst-capacity`): always, where all
/// replicas together run fewer than that.
///
/// Source: `pkg/autoscaler/scaling/autoscaler.go` and `pkg/activator/net/throttler.go` of knative/serving, knative.dev/docs/serving/
/// autoscaling/kpa-specific and load-balancing/target-burst-capacity. Simplified: a second's concurrency is read at its end, the real
/// one is the mean over it; the activator never leaves the path; of pods with room it takes the one with the fewest requests, the real
/// one the first for limits of up to 3 and else one after the other.
#[derive(Debug, Clone)]
pub(super) struct Knative {
    /// Concurrency that a replica is to have, by agent.
    targets: Vec<f64>,
    shape: PoolShape,
    agents: Vec<Agent>,
    /// When it looks next.
    look: f64,
}

#[derive(Debug, Clone, Default)]
struct Agent {
    /// Concurrency by second, the oldest first.
    seconds: VecDeque<(f64, f64)>,
    /// Since when it panics, extended while the threshold is passed.
    panics: Option<f64>,
    /// Most that was wanted in this panic.
    most: u32,
    looked: bool,
    /// Since when none is wanted.
    idle: Option<f64>,
}

/// The target without one: part of a replica's limit.
pub(super) const TARGET: f64 = 0.7;
/// Limits above this are none (`container-concurrency-max-limit`).
const LARGEST: u32 = 1000;
/// `container-concurrency-target-default`: where there is no limit.
const SOFT: f64 = 100.0;
/// Time between two scrapes, in seconds.
const SCRAPE: f64 = 1.0;
/// Time between two looks, in seconds.
const TICK: f64 = 2.0;
/// `stable-window`, in seconds.
const STABLE: f64 = 60.0;
/// 10 % of it.
const PANIC: f64 = 6.0;
/// `panic-threshold-percentage` 200.
const THRESHOLD: f64 = 2.0;
/// `max-scale-up-rate`.
const UP: f64 = 1000.0;
/// `max-scale-down-rate`.
const DOWN: f64 = 2.0;
/// `scale-to-zero-grace-period`, in seconds.
const GRACE: f64 = 30.0;

impl Knative {
    /// # Errors
    /// Without pods.
    pub fn build(
        rule: &Rule,
        target: f64,
        scenario: &Scenario,
    ) -> Result<Box<dyn Controller>, Refusal> {
        let shape = pods::shape(rule, scenario)?;
        let limit = |slots: u32| match slots {
            0..=LARGEST => f64::from(slots),
            _ => SOFT,
        };
        let services = scenario.services.iter();
        Ok(Box::new(Self {
            targets: services.map(|s| limit(s.max_running) * target).collect(),
            shape: shape.clone(),
            agents: vec![Agent::default(); shape.agents.len()],
            look: 0.0,
        }))
    }
}

impl Controller for Knative {
    fn interval(&self) -> f64 {
        SCRAPE
    }

    fn dispatch(&self) -> Dispatch {
        Dispatch::OneQueue
    }

    fn decide(&mut self, sight: &Sight<'_>, wish: &mut Wish) {
        for (agent, seen) in self.agents.iter_mut().zip(sight.agents) {
            agent.scrape(sight.now, seen.running + seen.waiting);
        }
        if sight.now < self.look {
            return;
        }
        self.look = sight.now + TICK;
        let agents = self.agents.iter_mut().zip(sight.agents).enumerate();
        let replicas = agents.map(|(i, (agent, seen))| {
            let wanted = agent.look(sight.now, seen, self.targets[i]);
            let bounds = &self.shape.agents[i];
            let bounded = wanted.clamp(bounds.min_replicas, bounds.max_replicas);
            agent.grace(sight.now, bounded, seen.replicas)
        });
        *wish = Wish::Replicas(replicas.collect());
    }
}

impl Agent {
    fn scrape(&mut self, now: f64, concurrency: f64) {
        self.seconds.push_back((now, concurrency));
        while self
            .seconds
            .front()
            .is_some_and(|(at, _)| *at <= now - STABLE)
        {
            self.seconds.pop_front();
        }
    }

    /// The mean over what there is of a window.
    fn mean(&self, now: f64, window: f64) -> f64 {
        let recent = self.seconds.iter().rev();
        let recent = recent.take_while(|(at, _)| *at > now - window);
        let (sum, count) = recent.fold((0.0, 0.0), |(sum, count), (_, c)| (sum + c, count + 1.0));
        if count > 0.0 { sum / count } else { 0.0 }
    }

    /// Replicas that are wanted, before the bounds of the agent.
    fn look(&mut self, now: f64, seen: &AgentSight, target: f64) -> u32 {
        if !self.looked {
            // It starts in panic where there is more than one, so as not to scale down before it knows anything.
            self.looked = true;
            self.panics = (seen.ready > 1).then_some(now);
            self.most = seen.ready;
        }
        let ready = f64::from(seen.ready.max(1));
        let (most, fewest) = ((UP * ready).ceil(), (ready / DOWN).floor());
        let within = |wanted: f64| replicas_for(wanted.max(fewest).min(most), 1.0);
        let stable = (self.mean(now, STABLE) / target).ceil();
        let panic = (self.mean(now, PANIC) / target).ceil();
        if panic / ready >= THRESHOLD {
            self.panics = Some(now);
        } else if self.panics.is_some_and(|since| since + STABLE < now) {
            self.panics = None;
            self.most = 0;
        }
        if self.panics.is_none() {
            return within(stable);
        }
        self.most = self.most.max(within(stable)).max(within(panic));
        self.most
    }

    /// The last replica stays for a while.
    fn grace(&mut self, now: f64, wanted: u32, replicas: u32) -> u32 {
        if wanted > 0 {
            self.idle = None;
            return wanted;
        }
        let since = *self.idle.get_or_insert(now);
        u32::from(replicas > 0 && now < since + GRACE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An agent that has seen this concurrency every second until `now`.
    fn after(seconds: &[f64]) -> (Agent, f64) {
        let mut agent = Agent::default();
        for (second, concurrency) in seconds.iter().enumerate() {
            agent.scrape(second as f64, *concurrency);
        }
        (agent, seconds.len() as f64 - 1.0)
    }

    fn ready(ready: u32) -> AgentSight {
        AgentSight {
            ready,
            replicas: ready,
            ..AgentSight::default()
        }
    }

    #[test]
    fn the_stable_mean_over_the_target_is_rounded_up() {
        let (mut agent, now) = after(&[10.0; 60]);
        assert_eq!(agent.look(now, &ready(1), 7.0), 2);
        // Means are over what there is of a window.
        let (mut agent, now) = after(&[14.1]);
        assert_eq!(agent.look(now, &ready(2), 7.0), 3);
    }

    #[test]
    fn twice_the_ready_pods_in_six_seconds_is_a_panic_that_never_scales_down() {
        let mut seconds = vec![1.0; 54];
        seconds.extend([40.0; 6]);
        let (mut agent, mut now) = after(&seconds);
        // Stable mean (54 + 240) / 60 = 4.9, panic mean 40.
        assert_eq!(agent.look(now, &ready(1), 10.0), 4);
        for _ in 0..60 {
            now += 1.0;
            agent.scrape(now, 0.0);
            assert_eq!(agent.look(now, &ready(4), 10.0), 4);
        }
        now += 1.0;
        agent.scrape(now, 0.0);
        assert_eq!(agent.look(now, &ready(4), 10.0), 2, "and then by half");
    }

    #[test]
    fn below_the_threshold_there_is_no_panic() {
        let mut seconds = vec![10.0; 54];
        seconds.extend([19.0; 6]);
        let (mut agent, now) = after(&seconds);
        agent.looked = true;
        // Panic wants 4 of 2 ready: 2.0 is at the threshold; with 3 ready it is not.
        assert_eq!(agent.clone().look(now, &ready(2), 5.0), 4);
        assert_eq!(agent.look(now, &ready(3), 5.0), 3);
    }

    #[test]
    fn it_starts_in_panic_with_more_than_one_pod() {
        let (mut agent, now) = after(&[0.0]);
        assert_eq!(agent.look(now, &ready(5), 10.0), 5);
        let (mut agent, now) = after(&[0.0]);
        assert_eq!(agent.look(now, &ready(1), 10.0), 0);
    }

    #[test]
    fn the_last_replica_stays_for_the_grace_period() {
        let mut agent = Agent::default();
        assert_eq!(agent.grace(0.0, 0, 1), 1);
        assert_eq!(agent.grace(29.0, 0, 1), 1);
        assert_eq!(agent.grace(30.0, 0, 1), 0);
        assert_eq!(agent.grace(32.0, 0, 0), 0);
        assert_eq!(agent.grace(34.0, 2, 0), 2);
        assert_eq!(agent.grace(36.0, 0, 2), 1);
    }
}
