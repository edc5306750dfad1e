//! Pure: what arrives, the same for every rule that is compared.
//!
//! ```text
//!  a file ──trace──▶ Recording ──replay──┐
//!  built-in statistics ──mmpp, drift──▶ rate over time ──pieces──▶ times ──work──▶ Requests
//!  a scenario's numbers ──shapes──────┘
//! ```
//!
//! Everything random follows from (seed, agent, purpose), so that neither the order of agents nor what is compared changes a
//! request.

mod arrivals;
mod builtin;
mod check;
mod drift;
mod end;
mod merge;
mod mmpp;
mod pieces;
mod random;
mod rate;
mod recorded;
mod replay;
mod shapes;
pub mod statistics;
pub mod trace;
mod words;
mod work;
mod ziggurat;

#[cfg(test)]
mod tests;

use serde::Deserialize;

use self::pieces::arriving;
use self::random::{Purpose, Stream};
use self::trace::Recording;

pub use self::arrivals::Arrivals;
pub use self::builtin::{BuiltIn, DAY, FOUR_AGENT_A, FOUR_AGENT_B, FOUR_AGENT_C};
pub use self::check::LoadError;
pub use self::drift::Drift;
pub use self::merge::merge;
pub use self::mmpp::Mmpp;
pub use self::pieces::{Piece, Spacing};
pub use self::recorded::recorded_loads;
pub use self::replay::{Replay, Scaling};
pub use self::statistics::Burstiness;
pub use self::work::{TokenWork, Work};

/// A request as it reaches an agent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Request {
    /// Seconds since the start of the run; finite, never falling from one to the next.
    pub at: f64,
    /// Its work as a multiple of the agent's mean: on one whole idle GPU it takes `work` / throughput seconds. Finite, ≥ 0.
    pub work: f64,
}

/// The requests of one agent, in order.
pub type Requests = Box<dyn Iterator<Item = Request> + Send>;

/// How an agent's load is made: read from a file, or built by hand. [`AgentLoad::check`] says what a file got wrong.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AgentLoad {
    /// The agent's name.
    pub agent: String,
    /// When requests arrive.
    pub arrivals: Arrivals,
    /// How much work they are.
    #[serde(default)]
    pub work: Work,
}

impl AgentLoad {
    /// Its requests, without end unless the load ends by itself; none of a load that fails [`AgentLoad::check`]. Two calls with one
    /// seed give the same requests.
    pub fn requests(&self, seed: u64) -> Requests {
        if self.check().is_err() {
            return Box::new(std::iter::empty());
        }
        let stream = |purpose| Stream::new(seed, &self.agent, purpose);
        let (times, works) = (stream(Purpose::Arrivals), stream(Purpose::Works));
        match &self.arrivals {
            // The most usual load, without a box in a box.
            Arrivals::Poisson { rate } => {
                let piece = std::iter::once(Piece::forever(*rate));
                self.drawn(arriving(piece, Spacing::Poisson, times), works)
            }
            Arrivals::Trace(replay) if matches!(replay.recorded, Recording::Requests(_)) => {
                replay.requests(self.work, stream(Purpose::Thinning), works)
            }
            other => {
                let (pieces, spacing) = other.pieces(stream(Purpose::Rates));
                self.drawn(arriving(pieces, spacing, times), works)
            }
        }
    }

    /// Requests at these times, their works drawn.
    fn drawn(
        &self,
        times: impl Iterator<Item = f64> + Send + 'static,
        mut works: Stream,
    ) -> Requests {
        match self.work {
            Work::Exponential => Box::new(times.map(move |at| Request {
                at,
                work: works.exponential(),
            })),
            // Tokens need a trace of requests, which is not drawn.
            Work::Deterministic | Work::Tokens(_) => {
                Box::new(times.map(|at| Request { at, work: 1.0 }))
            }
        }
    }

    /// What it is, in words for an output: generated or recorded, from what, how scaled.
    pub fn describe(&self) -> String {
        format!("{}; {}", self.arrivals.describe(), self.work.describe())
    }
}
