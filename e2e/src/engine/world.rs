//! What all engines of a cluster do, as a machine without I/O: Kubernetes objects, requests and time go in, effects
//! come out.
//!
//! The life of an engine follows its pod:
//!
//! * bound: it holds its GPUs (see [`super::placement`]) and loads; nobody can connect;
//! * Ready for the first time: it listens and serves;
//! * not Ready later: it still listens (its metrics can be read) but refuses requests;
//! * deletion begun: it stops listening, finishes what it has within the grace period, refuses the rest, then exits;
//! * gone, ended, its node gone, or a container restarted: it dies at once, and what it had is cut.
//!
//! An engine whose model does not fit beside those that are already on its GPU never starts.

use std::collections::{BTreeMap, BTreeSet};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::metrics::{EngineCounters, Moment, Served};
use super::physics::{Physics, ProcessId, ProcessSpec, Queue, RequestId};
use super::placement::{NodeView, Placement, Tenant};
use super::profile::Service;
use super::view::PodView;
use parts::Engine;
pub use parts::{AgentStats, Demand, Effect, Phase};

/// How many violations and problems are remembered.
const REMEMBERED: usize = 1000;

/// All nodes, pods, GPUs, engines and requests of a cluster.
pub struct World {
    physics: Physics,
    placement: Placement,
    nodes: BTreeSet<String>,
    engines: BTreeMap<String, Engine>,
    /// Pods in the order in which they were bound, waiting for their node to be known.
    unplaced: Vec<String>,
    by_process: BTreeMap<ProcessId, String>,
    demands: BTreeMap<RequestId, Demand>,
    stats: BTreeMap<String, AgentStats>,
    /// Engines with a deadline.
    draining: BTreeSet<String>,
    violations: Vec<String>,
    effects: Vec<Effect>,
    rng: StdRng,
    /// Unix time of the world's second 0.
    epoch: f64,
}

impl World {
    /// An empty world. `epoch` is the Unix time of its second 0 (for `_created` series), `seed` draws the work of
    /// requests that do not state theirs; for `switching_efficiency` see [`Physics::new`].
    pub fn new(switching_efficiency: f64, seed: u64, epoch: f64) -> Self {
        Self {
            physics: Physics::new(switching_efficiency),
            placement: Placement::default(),
            nodes: BTreeSet::new(),
            engines: BTreeMap::new(),
            unplaced: Vec::new(),
            by_process: BTreeMap::new(),
            demands: BTreeMap::new(),
            stats: BTreeMap::new(),
            draining: BTreeSet::new(),
            violations: Vec::new(),
            effects: Vec::new(),
            rng: StdRng::seed_from_u64(seed),
            epoch,
        }
    }

    /// A node appeared or changed.
    pub fn node_applied(&mut self, now: f64, node: &NodeView) {
        self.advance(now);
        self.nodes.insert(node.name.clone());
        self.placement.node_applied(&mut self.physics, node);
        for uid in std::mem::take(&mut self.unplaced) {
            self.place(&uid);
            self.settle(now, &uid);
        }
    }

    /// A node is gone, and with it the engines on it.
    pub fn node_gone(&mut self, now: f64, name: &str) {
        self.advance(now);
        self.nodes.remove(name);
        let here: Vec<String> = self
            .engines
            .iter()
            .filter(|(_, engine)| engine.view.node.as_deref() == Some(name))
            .map(|(uid, _)| uid.clone())
            .collect();
        for uid in here {
            self.die(now, &uid, Phase::Dead);
        }
    }

    /// A pod appeared or changed.
    pub fn pod_applied(&mut self, now: f64, view: PodView) {
        self.advance(now);
        let uid = view.uid.clone();
        if let Some(Err(problem)) = &view.profile {
            self.remember(format!("pod {}: {problem}", view.key()));
        }
        match self.engines.get_mut(&uid) {
            None => {
                self.engines.insert(uid.clone(), Engine::new(view));
            }
            Some(engine) => {
                let restarted = view.restarts > engine.view.restarts;
                engine.view = view;
                if restarted {
                    self.die(now, &uid, Phase::Loading);
                }
            }
        }
        self.place(&uid);
        self.settle(now, &uid);
    }

    /// A pod's object is gone.
    pub fn pod_gone(&mut self, now: f64, uid: &str) {
        self.advance(now);
        self.die(now, uid, Phase::Dead);
        self.placement.free(uid);
        self.unplaced.retain(|waiting| waiting != uid);
        self.engines.remove(uid);
    }

    /// The uids of all pods that are known.
    pub fn pods(&self) -> Vec<String> {
        self.engines.keys().cloned().collect()
    }

    /// The names of all nodes that are known.
    pub fn nodes(&self) -> Vec<String> {
        self.nodes.iter().cloned().collect()
    }

    /// A request reaches the engine of a pod. `None`: refused, because it is not serving.
    pub fn submit(&mut self, now: f64, uid: &str, demand: Demand) -> Option<RequestId> {
        self.advance(now);
        let engine = self.engines.get(uid)?;
        let profile = engine.profile()?;
        let agent = engine.agent();
        let accepted = match (engine.phase, engine.process) {
            (Phase::Serving, Some(process)) => {
                let factor = demand.factor.unwrap_or_else(|| match profile.service {
                    Service::Deterministic => 1.0,
                    Service::Exponential => -(1.0 - self.rng.random::<f64>()).ln(),
                });
                self.physics.submit(now, process, profile.work(factor))
            }
            _ => None,
        };
        match accepted {
            Some(request) => {
                self.demands.insert(request, demand);
            }
            None => self.stats.entry(agent).or_default().refused += 1,
        }
        accepted
    }

    /// The client of a request went away.
    pub fn abort(&mut self, now: f64, uid: &str, request: RequestId) {
        self.advance(now);
        if !self.physics.cancel(now, request) {
            return;
        }
        self.demands.remove(&request);
        if let Some(engine) = self.engines.get_mut(uid) {
            if let Some(counters) = &mut engine.counters {
                counters.aborted();
            }
            let agent = engine.agent();
            self.stats.entry(agent).or_default().aborted += 1;
        }
        self.settle(now, uid);
    }

    /// When something will happen by itself.
    pub fn next_event(&self) -> Option<f64> {
        let deadline = self
            .engines
            .values()
            .filter_map(|engine| engine.deadline)
            .reduce(f64::min);
        match (self.physics.next_event(), deadline) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// Lets time pass until `now`.
    pub fn advance(&mut self, now: f64) {
        while let Some((at, uid)) = self.first_deadline().filter(|(at, _)| *at <= now) {
            self.serve_until(at);
            self.die(at, &uid, Phase::Dead);
        }
        self.serve_until(now);
    }

    /// What the outside has to do since the last call, in order.
    pub fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// The metrics page of a pod's engine, while it listens.
    pub fn page(&mut self, now: f64, uid: &str) -> Option<String> {
        self.advance(now);
        let engine = self
            .engines
            .get(uid)
            .filter(|engine| engine.phase != Phase::Dead)?;
        let (process, profile) = (engine.process?, engine.profile()?);
        let moment = Moment {
            queue: self.physics.queue(process),
            max_running: profile.max_concurrency,
            now: self.epoch + now,
            delivered: self.physics.delivered(process),
            requests_per_gpu_second: profile.requests_per_second_per_gpu,
        };
        Some(engine.counters.as_ref()?.render(&moment))
    }

    /// The counters of a pod's engine go back to zero though nothing restarted (a fault to be injected).
    pub fn reset_counters(&mut self, now: f64, uid: &str) {
        self.advance(now);
        let Some(engine) = self.engines.get_mut(uid) else {
            return;
        };
        let delivered = engine
            .process
            .map_or(0.0, |process| self.physics.delivered(process));
        if let Some(counters) = &mut engine.counters {
            counters.reset(self.epoch + now, delivered);
        }
    }

    fn first_deadline(&self) -> Option<(f64, String)> {
        self.draining
            .iter()
            .filter_map(|uid| Some((self.engines.get(uid)?.deadline?, uid)))
            .min_by(|a, b| a.0.total_cmp(&b.0))
            .map(|(at, uid)| (at, uid.clone()))
    }

    fn serve_until(&mut self, now: f64) {
        let mut draining = BTreeSet::new();
        for finished in self.physics.advance(now) {
            let demand = self.demands.remove(&finished.request).unwrap_or_default();
            if let Some((uid, engine)) = self
                .by_process
                .get(&finished.process)
                .and_then(|uid| self.engines.get_mut(uid).map(|engine| (uid, engine)))
            {
                if let Some(counters) = &mut engine.counters {
                    counters.served(Served {
                        queued: finished.started - finished.submitted,
                        ran: finished.at - finished.started,
                        prompt_tokens: demand.prompt_tokens,
                    });
                }
                let stats = self.stats.entry(engine.agent()).or_default();
                stats.served += 1;
                stats.latencies.add(finished.at - finished.submitted);
                if engine.phase == Phase::Draining {
                    draining.insert(uid.clone());
                }
            }
            self.effects.push(Effect::Served(finished));
        }
        for uid in draining {
            self.settle(now, &uid);
        }
    }

    /// Gives a bound pod its GPUs, once.
    fn place(&mut self, uid: &str) {
        let Some(engine) = self.engines.get_mut(uid) else {
            return;
        };
        let (Some(node), Some((resource, count)), None, false) = (
            &engine.view.node,
            &engine.view.gpus,
            &engine.placed,
            engine.view.ended,
        ) else {
            return;
        };
        let tenant = Tenant {
            uid: uid.to_owned(),
            name: engine.view.key(),
            memory: engine.profile().map_or(0, |profile| profile.memory),
        };
        match self.placement.place(&tenant, node, resource, *count) {
            None if self.unplaced.iter().any(|waiting| waiting == uid) => {}
            None => self.unplaced.push(uid.to_owned()),
            Some(placed) => {
                let violations = placed.violations.clone();
                if !violations.is_empty() {
                    engine.phase = Phase::Rejected;
                }
                engine.placed = Some(placed);
                for violation in violations {
                    self.remember(violation);
                }
            }
        }
    }

    /// Brings an engine into the phase that its pod asks for.
    fn settle(&mut self, now: f64, uid: &str) {
        let Some(engine) = self.engines.get_mut(uid) else {
            return;
        };
        if engine.view.ended {
            self.die(now, uid, Phase::Dead);
            return self.placement.free(uid);
        }
        if let Some(grace) = engine.view.deleting {
            return self.drain(now, uid, grace);
        }
        let up = matches!(engine.phase, Phase::Serving | Phase::Unready);
        if up && !engine.view.ready {
            engine.phase = Phase::Unready;
        } else if up {
            engine.phase = Phase::Serving;
        } else if engine.phase == Phase::Loading && engine.view.ready {
            self.begin(now, uid);
        }
    }

    fn begin(&mut self, now: f64, uid: &str) {
        let Some(engine) = self.engines.get_mut(uid) else {
            return;
        };
        let (Some(placed), Some(profile), Some(address)) =
            (&engine.placed, engine.profile(), engine.address())
        else {
            return;
        };
        let process = self.physics.start(ProcessSpec {
            devices: placed.devices.clone(),
            speed: profile.speed_on(placed.fraction),
            max_running: profile.max_concurrency,
        });
        engine.counters = Some(EngineCounters::new(
            profile.dialect,
            &profile.model,
            self.epoch + now,
        ));
        engine.process = Some(process);
        engine.phase = Phase::Serving;
        engine.listening = true;
        self.by_process.insert(process, uid.to_owned());
        self.effects.push(Effect::Open(uid.to_owned(), address));
    }

    fn drain(&mut self, now: f64, uid: &str, grace: f64) {
        let Some(engine) = self.engines.get_mut(uid) else {
            return;
        };
        if matches!(engine.phase, Phase::Serving | Phase::Unready) {
            engine.phase = Phase::Draining;
            engine.deadline = Some(now + grace);
            self.draining.insert(uid.to_owned());
            engine.listening = false;
            self.effects.push(Effect::Close(uid.to_owned()));
        }
        let idle = engine
            .process
            .is_none_or(|process| self.physics.queue(process) == Queue::default());
        if idle {
            // It exits. Its connections are not dropped: the last answers may still be on their way.
            engine.phase = Phase::Dead;
            engine.deadline = None;
            self.draining.remove(uid);
        }
    }

    /// The engine's process ends now, whatever it was doing.
    fn die(&mut self, now: f64, uid: &str, next: Phase) {
        let Some(engine) = self.engines.get_mut(uid) else {
            return;
        };
        if engine.phase != Phase::Rejected {
            engine.phase = next;
        }
        engine.deadline = None;
        self.draining.remove(uid);
        engine.counters = None;
        engine.listening = false;
        let agent = engine.agent();
        let Some(process) = engine.process.take() else {
            return;
        };
        self.by_process.remove(&process);
        for request in self.physics.stop(now, process) {
            self.demands.remove(&request);
            self.stats.entry(agent.clone()).or_default().cut += 1;
            self.effects.push(Effect::Cut(request));
        }
        self.effects.push(Effect::Kill(uid.to_owned()));
    }

    fn remember(&mut self, violation: String) {
        if self.violations.len() < REMEMBERED && !self.violations.contains(&violation) {
            self.violations.push(violation);
        }
    }
}

mod parts;
pub mod report;

#[cfg(test)]
mod tests;
