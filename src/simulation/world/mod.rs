//! What serves: shares of GPUs without pods, or pods on nodes.

pub mod cluster;
pub mod fractions;
mod pods;

use self::cluster::WishError;
use self::fractions::{ShareError, Shares};
use self::pods::Pods;
use super::control::{AgentSight, Sight, Wish};
use super::engine::{Engine, ServerId};
use super::scenario::{Cluster, Scenario};
use super::tally::Granted;

/// A wish that cannot be fulfilled: a defect of the rule in control.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WorldError {
    /// Where there are shares.
    #[error(transparent)]
    Shares(#[from] ShareError),
    /// Where there are pods.
    #[error(transparent)]
    Pods(#[from] WishError),
}

/// The world of one run.
#[derive(Debug, Clone)]
pub(super) enum World {
    Shares(Shares),
    Pods(Box<Pods>),
}

impl World {
    /// As a run begins: equal shares are in force.
    pub fn new(scenario: &Scenario, engine: &mut Engine) -> Self {
        let (pool, services) = (&scenario.pool, &scenario.services);
        match &scenario.cluster {
            Cluster::Fractions(fractions) => {
                let exponents = pool.agents.iter().map(|a| a.speed_exponent).collect();
                Self::Shares(Shares::new(fractions, services, exponents, engine))
            }
            Cluster::Nodes(nodes) => Self::Pods(Box::new(Pods::new(pool, services, nodes, engine))),
        }
    }

    /// When something happens by itself.
    pub fn next(&self) -> f64 {
        match self {
            Self::Shares(shares) => shares.next(),
            Self::Pods(pods) => pods.next(),
        }
    }

    /// Lets everything happen that is due.
    pub fn advance(&mut self, now: f64, engine: &mut Engine) {
        match self {
            Self::Shares(shares) => shares.advance(now, engine),
            Self::Pods(pods) => pods.advance(now, engine),
        }
    }

    /// Whether a request that was served was the last of a server that is to go: [`Self::served`] is to be told.
    #[inline]
    pub fn is_drained(&self, server: ServerId, engine: &Engine) -> bool {
        match self {
            Self::Shares(_) => false,
            Self::Pods(pods) => pods.is_drained(server, engine),
        }
    }

    /// See [`Self::is_drained`].
    pub fn served(&mut self, now: f64, server: ServerId, engine: &mut Engine) {
        match self {
            Self::Shares(_) => {}
            Self::Pods(pods) => pods.served(now, server, engine),
        }
    }

    /// Whether a pod has begun to serve or gone since this was last asked.
    pub fn take_news(&mut self) -> bool {
        match self {
            Self::Shares(_) => false,
            Self::Pods(pods) => pods.take_news(),
        }
    }

    /// Shows a rule what is there, and does what it wishes. `agents` is what was measured; the rest is added.
    ///
    /// # Errors
    /// When the wish cannot be fulfilled.
    pub fn decide(
        &mut self,
        now: f64,
        is_tick: bool,
        agents: &mut [AgentSight],
        engine: &mut Engine,
        rule: impl FnOnce(&Sight<'_>) -> Wish,
    ) -> Result<(), WorldError> {
        match self {
            Self::Shares(shares) => {
                for (agent, share) in agents.iter_mut().zip(&shares.in_force) {
                    agent.realized = *share;
                }
                let wish = rule(&Sight {
                    now,
                    is_tick,
                    capacity: shares.gpus(),
                    lag: shares.lag(),
                    agents,
                    observed: None,
                });
                match wish {
                    Wish::Nothing => {}
                    Wish::Shares(wanted) => shares.decide(now, &wanted, engine)?,
                    Wish::Replicas(_) | Wish::Steps(_) => return Err(ShareError::Foreign.into()),
                }
            }
            Self::Pods(pods) => {
                let (observed, survey) = pods.observed(engine);
                for (i, agent) in agents.iter_mut().enumerate() {
                    (agent.replicas, agent.ready) = pods.cluster().replicas(i);
                    agent.realized = survey.agents[i].realized;
                }
                let wish = rule(&Sight {
                    now,
                    is_tick,
                    capacity: survey.capacity,
                    lag: pods.lag(),
                    agents,
                    observed: Some(&observed),
                });
                if wish != Wish::Nothing {
                    pods.decide(now, &wish, engine)?;
                }
            }
        }
        Ok(())
    }

    /// What an agent is granted now.
    pub fn granted(&self, agent: usize) -> Granted {
        match self {
            Self::Shares(shares) => Granted {
                gpus: shares.in_force[agent].as_gpus(),
                moves: shares.moves(agent),
                ..Granted::default()
            },
            Self::Pods(pods) => Granted {
                gpus: pods.cluster().held(agent),
                replicas: pods.cluster().replicas(agent).1,
                restarts: pods.cluster().started(agent),
                moves: pods.cluster().moves(agent),
            },
        }
    }

    /// GPUs that are there and paid for.
    pub fn paid(&self) -> f64 {
        match self {
            Self::Shares(shares) => shares.gpus().as_gpus(),
            Self::Pods(pods) => pods.cluster().paid(),
        }
    }
}
