//! Shares without pods: in force a fixed lag after they were decided, whatever was decided meanwhile.

use crate::simulation::engine::{Device, Engine, ServerId, ServerSpec};
use crate::simulation::{Fractions, Service, Sharing};
use crate::units::MilliGpus;
use std::collections::VecDeque;

/// Shares that are in force, and those on their way.
#[derive(Debug, Clone)]
pub(in crate::simulation) struct Shares {
    gpus: MilliGpus,
    lag: f64,
    sharing: Sharing,
    exponents: Vec<f64>,
    servers: Vec<ServerId>,
    /// In force now, by agent.
    pub in_force: Vec<MilliGpus>,
    /// Asked for last.
    asked: Vec<MilliGpus>,
    coming: VecDeque<(f64, Vec<MilliGpus>)>,
    /// Changes that were asked for, by agent.
    moves: Vec<u64>,
}

/// Shares that nobody can have: a defect of the rule in control.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ShareError {
    /// One for each agent is needed.
    #[error("a rule gave {found} shares to {agents} agents")]
    Count {
        /// Shares.
        found: usize,
        /// Agents.
        agents: usize,
    },
    /// More than there is.
    #[error("a rule gave out {given} GPUs of {there}")]
    Excess {
        /// Their sum.
        given: MilliGpus,
        /// What there is.
        there: MilliGpus,
    },
    /// Replicas and steps have no meaning without pods.
    #[error("a rule asked for replicas or steps where there are no pods; it must ask for shares")]
    Foreign,
}

impl Shares {
    /// Equal shares are in force, whatever rule takes control then. `exponents` are b in speed = throughput · share^b.
    pub fn new(
        fractions: &Fractions,
        services: &[Service],
        exponents: Vec<f64>,
        engine: &mut Engine,
    ) -> Self {
        let agents = services.len() as u64;
        let extra = fractions.gpus.0 % agents.max(1);
        let equal: Vec<MilliGpus> = (0..agents)
            .map(|i| MilliGpus(fractions.gpus.0 / agents + u64::from(i < extra)))
            .collect();
        let devices = match fractions.sharing {
            Sharing::Partition => Vec::new(),
            Sharing::TimeSlicing {
                switching_efficiency,
            } => {
                vec![engine.add_device(Device::Turns {
                    efficiency: switching_efficiency,
                })]
            }
            Sharing::Mps => vec![engine.add_device(Device::Caps {
                gpus: fractions.gpus.as_gpus(),
            })],
        };
        let start = |(agent, service): (usize, &Service)| {
            let spec = ServerSpec {
                agent,
                devices: devices.clone(),
                speed: 0.0,
                weight: 0.0,
                max_running: service.max_running,
            };
            engine.start(0.0, spec)
        };
        let servers = services.iter().enumerate().map(start).collect();
        let mut shares = Self {
            gpus: fractions.gpus,
            lag: fractions.lag,
            sharing: fractions.sharing,
            exponents,
            servers,
            in_force: vec![MilliGpus::ZERO; equal.len()],
            asked: equal.clone(),
            coming: VecDeque::new(),
            moves: vec![0; services.len()],
        };
        shares.enforce(0.0, &equal, engine);
        shares
    }

    fn enforce(&mut self, now: f64, shares: &[MilliGpus], engine: &mut Engine) {
        for (agent, share) in shares.iter().enumerate() {
            if self.in_force[agent] == *share {
                continue;
            }
            self.in_force[agent] = *share;
            let weight = share.as_gpus();
            let (speed, gpus) = match self.sharing {
                // Its turns are on all of them.
                Sharing::TimeSlicing { .. } => (self.gpus.as_gpus(), self.gpus.as_gpus()),
                Sharing::Partition | Sharing::Mps => (speed(weight, self.exponents[agent]), weight),
            };
            engine.set(now, self.servers[agent], speed, gpus, weight);
        }
    }

    /// Takes a decision.
    ///
    /// # Errors
    /// When nobody could have such shares.
    pub fn decide(
        &mut self,
        now: f64,
        shares: &[MilliGpus],
        engine: &mut Engine,
    ) -> Result<(), ShareError> {
        if shares.len() != self.asked.len() {
            return Err(ShareError::Count {
                found: shares.len(),
                agents: self.asked.len(),
            });
        }
        let given: MilliGpus = shares.iter().copied().sum();
        if given > self.gpus && self.sharing != Sharing::Mps {
            return Err(ShareError::Excess {
                given,
                there: self.gpus,
            });
        }
        if shares != self.asked {
            let changed = shares.iter().zip(&self.asked).map(|(new, old)| new != old);
            for (moves, changed) in self.moves.iter_mut().zip(changed) {
                *moves += u64::from(changed);
            }
            self.asked.copy_from_slice(shares);
            if self.lag > 0.0 {
                self.coming.push_back((now + self.lag, shares.to_vec()));
            } else {
                self.enforce(now, shares, engine);
            }
        }
        Ok(())
    }

    /// When shares come in force next.
    pub fn next(&self) -> f64 {
        self.coming.front().map_or(f64::INFINITY, |coming| coming.0)
    }

    /// Lets everything come in force that is due.
    pub fn advance(&mut self, now: f64, engine: &mut Engine) {
        while self.next() <= now {
            if let Some((_, shares)) = self.coming.pop_front() {
                self.enforce(now, &shares, engine);
            }
        }
    }

    /// Changes of an agent's share that were asked for since the run began.
    pub fn moves(&self, agent: usize) -> u64 {
        self.moves[agent]
    }

    /// From a decision until it is in force, in seconds.
    pub fn lag(&self) -> f64 {
        self.lag
    }

    /// GPUs that there are.
    pub fn gpus(&self) -> MilliGpus {
        self.gpus
    }
}

/// Speed of a part of the GPUs, in GPUs: sublinear within one GPU, linear beyond.
pub(super) fn speed(gpus: f64, exponent: f64) -> f64 {
    if gpus >= 1.0 || exponent == 1.0 {
        gpus
    } else {
        libm::pow(gpus, exponent)
    }
}
