//! Pods as servers: what happens to a pod, told to the engine.

use super::cluster::{Cluster, Happening, PodId, WishError};
use super::fractions::speed;
use crate::allocation::Lag;
use crate::api::ValidPool;
use crate::sharing::{self, Observed, Survey};
use crate::simulation::control::Wish;
use crate::simulation::engine::{Device, Engine, ServerId, ServerSpec};
use crate::simulation::{Nodes, Service};
use std::collections::BTreeMap;
use std::time::Duration;

/// The pods of a run and their servers.
#[derive(Debug, Clone)]
pub(in crate::simulation) struct Pods {
    cluster: Cluster,
    shape: sharing::PoolShape,
    exponents: Vec<f64>,
    max_running: Vec<u32>,
    servers: BTreeMap<PodId, ServerId>,
    /// Servers whose pods go as soon as they are idle.
    retiring: BTreeMap<ServerId, PodId>,
    lag: Lag,
    /// A pod has begun to serve or gone since it was last asked.
    news: bool,
}

impl Pods {
    /// Settled with equal shares, whatever rule takes control then.
    pub fn new(pool: &ValidPool, services: &[Service], nodes: &Nodes, engine: &mut Engine) -> Self {
        let cluster = Cluster::new(pool, services, nodes);
        // One for each, so that their numbers are the same on both sides.
        for _ in cluster.devices() {
            engine.add_device(Device::Turns {
                efficiency: nodes.switching_efficiency,
            });
        }
        let mut pods = Self {
            cluster,
            shape: pool.shape.clone(),
            exponents: pool.agents.iter().map(|a| a.speed_exponent).collect(),
            max_running: services.iter().map(|s| s.max_running).collect(),
            servers: BTreeMap::new(),
            retiring: BTreeMap::new(),
            lag: lag(pool, services),
            news: false,
        };
        pods.follow(0.0, engine, false);
        pods
    }

    /// Tells the engine what happened, and the cluster what that came to.
    fn follow(&mut self, now: f64, engine: &mut Engine, learns: bool) {
        loop {
            let happened = self.cluster.happened();
            if happened.is_empty() {
                return;
            }
            for happening in happened {
                self.tell(now, happening, engine, learns);
            }
        }
    }

    fn tell(&mut self, now: f64, happening: Happening, engine: &mut Engine, learns: bool) {
        match happening {
            Happening::Serves {
                pod,
                agent,
                devices,
                startup,
            } => {
                self.news = true;
                let all = self.cluster.devices();
                let gpus: f64 = devices.iter().map(|d| all[*d].share).sum();
                let spec = self.spec(agent, devices);
                self.servers.insert(pod, engine.start_on(now, spec, gpus));
                if learns {
                    let startup = Duration::try_from_secs_f64(startup);
                    self.lag.saw(startup.unwrap_or(Duration::ZERO));
                }
            }
            Happening::Retires { pod } => {
                let Some(server) = self.servers.get(&pod).copied() else {
                    return;
                };
                engine.retire(now, server);
                self.retiring.insert(server, pod);
                self.served(now, server, engine);
            }
            Happening::Gone { pod } => {
                self.news = true;
                if let Some(server) = self.servers.remove(&pod) {
                    self.retiring.remove(&server);
                    engine.stop(now, server);
                }
            }
        }
    }

    fn spec(&self, agent: usize, devices: Vec<usize>) -> ServerSpec {
        let exponent = self.exponents[agent];
        let all = self.cluster.devices();
        ServerSpec {
            agent,
            speed: devices.iter().map(|d| speed(all[*d].share, exponent)).sum(),
            devices: devices.into_iter().filter(|d| all[*d].shared).collect(),
            weight: 1.0,
            max_running: self.max_running[agent],
        }
    }

    /// Whether something waits for a server to be idle, and it is.
    #[inline]
    pub fn is_drained(&self, server: ServerId, engine: &Engine) -> bool {
        !self.retiring.is_empty()
            && self.retiring.contains_key(&server)
            && engine.load(server).is_none_or(|(running, _)| running == 0)
    }

    /// A server has served a request: its pod may go.
    pub fn served(&mut self, now: f64, server: ServerId, engine: &mut Engine) {
        if self.is_drained(server, engine)
            && let Some(pod) = self.retiring.remove(&server)
        {
            self.cluster.drained(now, pod);
            self.follow(now, engine, true);
        }
    }

    /// When something happens by itself.
    pub fn next(&self) -> f64 {
        self.cluster.next().unwrap_or(f64::INFINITY)
    }

    /// Lets everything happen that is due.
    pub fn advance(&mut self, now: f64, engine: &mut Engine) {
        if self.next() <= now {
            self.cluster.advance(now);
            self.follow(now, engine, true);
        }
    }

    /// Does what a rule wishes.
    ///
    /// # Errors
    /// When it has no meaning for pods.
    pub fn decide(&mut self, now: f64, wish: &Wish, engine: &mut Engine) -> Result<(), WishError> {
        self.cluster.apply(now, wish)?;
        self.follow(now, engine, true);
        Ok(())
    }

    /// Whether a pod has begun to serve or gone since this was last asked.
    pub fn take_news(&mut self) -> bool {
        std::mem::take(&mut self.news)
    }

    /// What the operator would see.
    pub fn observed(&self, engine: &Engine) -> (Observed, Survey) {
        let load = |pod: PodId| {
            let (running, waiting) = engine.load(*self.servers.get(&pod)?)?;
            Some((running + waiting) as f64)
        };
        let observed = self.cluster.observed(load);
        let survey = sharing::survey(&self.shape, &observed);
        (observed, survey)
    }

    /// The cluster.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// From a decision until it serves, in seconds: declared, or guessed from the pods that are there at the beginning, then learned from
    /// those that became ready.
    pub fn lag(&self) -> f64 {
        self.lag.get().as_secs_f64()
    }
}

/// The pods that run at the beginning have started once, and the operator guesses from how long that took.
fn lag(pool: &ValidPool, services: &[Service]) -> Lag {
    let mut lag = Lag::new(pool.declared_lag);
    let started = pool.shape.agents.iter().zip(services);
    let started = started.filter(|(agent, _)| agent.min_replicas > 0);
    let took = started.filter_map(|(_, s)| Duration::try_from_secs_f64(s.cold_start).ok());
    lag.guess(took);
    lag
}
