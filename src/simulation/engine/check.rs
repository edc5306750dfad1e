//! Laws that every run obeys, whatever is simulated: a run that breaks one is a defect of the simulator and says so.

use super::server::{Job, Server};
use super::{Dispatch, Engine};

/// Rounding that is forgiven, as a part of what is compared.
const ROUNDING: f64 = 1e-6;

/// A law of conservation that a run broke.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{law} does not hold for agent number {agent} at {at} s: {one} is not {other}")]
pub struct Broken {
    /// Which law.
    pub law: &'static str,
    /// Whose.
    pub agent: usize,
    /// When, in seconds.
    pub at: f64,
    /// One side.
    pub one: f64,
    /// The other.
    pub other: f64,
}

impl Engine {
    /// Checks all laws; `latencies` is the sum of the times in the system of requests that were served, by agent.
    ///
    /// # Errors
    /// The first law that is broken.
    pub fn check(&self, now: f64, latencies: &[f64]) -> Result<(), Broken> {
        self.check_idleness(now)?;
        (0..self.agents.len()).try_for_each(|agent| self.check_agent(now, agent, latencies[agent]))
    }

    fn check_agent(&self, now: f64, agent: usize, latencies: f64) -> Result<(), Broken> {
        let law = |law, one: f64, other: f64| {
            if (one - other).abs() <= ROUNDING * one.abs().max(other.abs()).max(1.0) {
                return Ok(());
            }
            Err(Broken {
                law,
                agent,
                at: now,
                one,
                other,
            })
        };
        let own = || {
            let servers = self.servers.iter().flatten();
            servers.filter(move |server| server.spec.agent == agent)
        };
        let state = &self.agents[agent];
        let counts = &state.counts;
        let running: usize = own().map(|s| s.running.len()).sum();
        law(
            "conservation of requests (arrived = served + present)",
            counts.arrived as f64,
            (counts.finished + self.jobs(agent).count() as u64) as f64,
        )?;
        law(
            "the count of running requests",
            counts.running as f64,
            running as f64,
        )?;
        let open = |server: &Server| {
            let mut server = server.clone();
            server.sync(now);
            server.begun()
        };
        law(
            "conservation of work (done = served + begun + lost with cut requests)",
            self.done(now, agent),
            counts.served + own().map(open).sum::<f64>() + counts.lost,
        )?;
        let age = |job: &Job| now - job.arrived;
        law(
            "Little's law (requests in the system over time = times in the system of all requests)",
            counts.area + counts.present() as f64 * (now - counts.changed),
            latencies + self.jobs(agent).map(age).sum::<f64>(),
        )
    }

    /// Nobody waits beside a server that has room.
    ///
    /// # Errors
    /// Where somebody does.
    pub fn check_idleness(&self, now: f64) -> Result<(), Broken> {
        let idle = |agent: usize, running: usize, waiting: usize| Broken {
            law: "no idle server beside waiting requests",
            agent,
            at: now,
            one: running as f64,
            other: (running + waiting) as f64,
        };
        for server in self.servers.iter().flatten() {
            if server.has_room() && !server.waiting.is_empty() {
                return Err(idle(
                    server.spec.agent,
                    server.running.len(),
                    server.waiting.len(),
                ));
            }
        }
        for (i, agent) in self
            .agents
            .iter()
            .enumerate()
            .filter(|(_, a)| !a.queue.is_empty())
        {
            let open = |id: &usize| self.servers[*id].as_ref().is_some_and(Server::has_room);
            let could = match agent.dispatch {
                Dispatch::FewestRequests => !agent.takers.is_empty(),
                Dispatch::OneQueue => agent.takers.iter().any(open),
            };
            if could {
                return Err(idle(i, 0, agent.queue.len()));
            }
        }
        Ok(())
    }
}
