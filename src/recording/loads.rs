//! A recording as load: at which rate requests reached each agent.

use super::format::{Decision, Line, Pool};
use crate::allocation::Load;
use crate::api::AgentPool;
use std::collections::BTreeMap;

/// What a recording says of the load of each of its pools, by key (`namespace/name`).
#[derive(Debug, Default)]
pub struct Loads {
    /// The pools.
    pub pools: BTreeMap<String, PoolLoads>,
}

/// A pool and what reached its agents.
#[derive(Debug)]
pub struct PoolLoads {
    /// The pool as it was declared last.
    pub manifest: AgentPool,
    /// Per agent, by name: the rates, one after the other from the first decision of the pool to its last.
    ///
    /// A rate is what the operator measured: a mean over the demand window, or, where the policy averages by itself, over an interval.
    /// What bursts within that time is not in it.
    pub agents: BTreeMap<String, AgentLoads>,
    /// Wall time of the first decision and of the last, in seconds since 1970.
    between: Option<(f64, f64)>,
    order: Vec<String>,
}

/// What reached an agent.
#[derive(Debug, Default)]
pub struct AgentLoads {
    /// One after the other.
    pub held: Vec<Held>,
    /// For how long all together, in seconds.
    pub seconds: f64,
}

/// A rate that held for a while.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Held {
    /// For how long, in seconds; > 0.
    pub seconds: f64,
    /// Requests a second; `None`: not known (no fresh signals, or nothing was recorded).
    pub arrivals_per_second: Option<f64>,
}

/// A pause between two decisions is not known to be like its beginning when it is longer than this many intervals.
const LONGEST_PAUSE: f64 = 10.0;

impl Loads {
    /// Takes a line; those of several files in the order of their names.
    ///
    /// # Errors
    /// Why the line cannot be read.
    pub fn line(&mut self, text: &str) -> Result<(), String> {
        match Line::read(text)? {
            Line::Head(_) | Line::Gap(_) => Ok(()),
            Line::Pool(pool) => self.pool(*pool),
            Line::Decision(decision) => self.decision(&decision),
        }
    }

    fn pool(&mut self, line: Pool) -> Result<(), String> {
        let valid = line.admit().map_err(|invalid| invalid.to_string())?;
        let order = valid.agents.into_iter().map(|agent| agent.name).collect();
        let before = self.pools.remove(&line.key);
        let (agents, between) = before.map(|p| (p.agents, p.between)).unwrap_or_default();
        let pool = PoolLoads {
            manifest: line.manifest,
            agents,
            between,
            order,
        };
        self.pools.insert(line.key, pool);
        Ok(())
    }

    fn decision(&mut self, line: &Decision) -> Result<(), String> {
        let key = &line.pool;
        let Some(pool) = self.pools.get_mut(key) else {
            return Err(format!(
                "a decision of pool {key:?} stands before that pool's line"
            ));
        };
        let wall: jiff::Timestamp = line
            .wall
            .parse()
            .map_err(|_| format!("wall {:?} is not a time as 2026-01-31T12:00:00Z", line.wall))?;
        pool.take(wall.as_microsecond() as f64 / 1e6, line);
        Ok(())
    }
}

impl PoolLoads {
    /// Seconds from the first decision to the last.
    pub fn seconds(&self) -> f64 {
        self.between.map_or(0.0, |(first, last)| last - first)
    }

    /// A rate is known at a decision and taken to have held since the one before.
    fn take(&mut self, wall: f64, line: &Decision) {
        let Some((first, last)) = self.between else {
            self.between = Some((wall, wall));
            return;
        };
        let (elapsed, began) = (wall - last, last - first);
        // A wall clock that was set back.
        if elapsed <= 0.0 {
            return;
        }
        self.between = Some((first, wall));
        let is_pause = elapsed > LONGEST_PAUSE * self.interval();
        for (name, load) in self.order.iter().zip(&line.inputs.loads) {
            let rate = match load {
                Load::Measured {
                    arrivals_per_second,
                    ..
                } if !is_pause => Some(*arrivals_per_second),
                Load::Measured { .. } | Load::Unknown => None,
            };
            let agent = self.agents.entry(name.clone()).or_default();
            // An agent that came later was not known before.
            let unknown = began - agent.seconds;
            if unknown > 1e-3 {
                agent.push(unknown, None);
            }
            agent.push(elapsed, rate);
        }
    }

    fn interval(&self) -> f64 {
        let interval = crate::units::parse_duration(&self.manifest.spec.policy.interval);
        interval.map_or(1.0, |interval| interval.as_secs_f64())
    }
}

impl AgentLoads {
    fn push(&mut self, seconds: f64, arrivals_per_second: Option<f64>) {
        self.seconds += seconds;
        match self.held.last_mut() {
            Some(last) if last.arrivals_per_second == arrivals_per_second => {
                last.seconds += seconds;
            }
            _ => self.held.push(Held {
                seconds,
                arrivals_per_second,
            }),
        }
    }
}
