//! From a trace to the loads of a pool's agents.

use super::trace::{EVERYONE, Trace};
use super::{AgentLoad, Arrivals, LoadError, Replay, Scaling, Work};

impl Replay {
    /// Puts in what the trace has of `of`, else of the load's agent, else of everyone.
    ///
    /// # Errors
    /// The trace has nothing of it; the message names whom it has something of.
    pub fn attach(&mut self, agent: &str, trace: &Trace) -> Result<(), LoadError> {
        let own = self.of.as_deref().unwrap_or(agent);
        let found = trace.agents.get(own);
        let only = || match (&self.of, trace.agents.get(EVERYONE)) {
            (None, everyone) => everyone,
            (Some(_), _) => None,
        };
        match found.or_else(only) {
            Some(recording) => {
                self.recorded = recording.clone();
                Ok(())
            }
            None => Err(LoadError {
                agent: agent.to_owned(),
                field: "arrivals.file".to_owned(),
                value: format!("{:?}", self.file),
                right: format!("has no {own:?}; it has {}; name one in `of`", names(trace)),
            }),
        }
    }
}

/// The loads of a pool's agents from one trace, in the order of `agents`: every agent of the one is in the other. A trace that names
/// no agent is the load of a pool's only one.
///
/// # Errors
/// The first agent that is missing on either side, or that the scaling does not suit; a trace that names no agent where there are
/// several: each would get all of it at once.
pub fn recorded_loads(
    trace: &Trace,
    file: &str,
    agents: &[&str],
    scalings: &[Scaling],
    work: Work,
) -> Result<Vec<AgentLoad>, LoadError> {
    let stranger = |name: &&String| !agents.contains(&name.as_str()) && name.as_str() != EVERYONE;
    if let Some(stranger) = trace.agents.keys().find(stranger) {
        return Err(LoadError {
            agent: stranger.clone(),
            field: "trace".to_owned(),
            value: format!("{file:?}"),
            right: format!(
                "has requests of an agent that the pool lacks; the pool has {}",
                agents.join(", ")
            ),
        });
    }
    if let ([first, _, ..], true) = (agents, trace.agents.contains_key(EVERYONE)) {
        return Err(LoadError {
            agent: (*first).to_owned(),
            field: "trace".to_owned(),
            value: format!("{file:?}"),
            right: format!(
                "names no agent, and the pool has {} ({}): give it a column `agent`, or give agents traces of their own, in the \
                 scenario file as agents.{first}.arrivals: {{type: Trace, file: ...}}",
                agents.len(),
                agents.join(", ")
            ),
        });
    }
    let scalings = scalings
        .iter()
        .copied()
        .chain(std::iter::repeat(Scaling::AsRecorded));
    agents
        .iter()
        .zip(scalings)
        .map(|(agent, scaling)| {
            let mut replay = Replay {
                file: file.to_owned(),
                scaling,
                ..Replay::default()
            };
            replay.attach(agent, trace)?;
            let load = AgentLoad {
                agent: (*agent).to_owned(),
                arrivals: Arrivals::Trace(replay),
                work,
            };
            load.check().map(|()| load)
        })
        .collect()
}

fn names(trace: &Trace) -> String {
    let names = trace.agents.keys().map(|name| match name.as_str() {
        EVERYONE => "requests without an agent".to_owned(),
        name => name.to_owned(),
    });
    names.collect::<Vec<_>>().join(", ")
}
