//! Who may write: one replica at a time holds a lease, under its pod's name.
//!
//! A lease is a promise among processes that run; a process that was stopped and wakes may break it. So the API server
//! compares the caller's pod with the holder at every write (the fence, `charts/agentpool`), and a write decided under an
//! old lease is refused. The election here keeps the honest case quick and quiet:
//!
//! - Time is measured on this machine's monotonic clock only: a holder is replaced when its record has not *changed* for
//!   the lease's duration as seen here, so that no clock needs to agree with another.
//! - Every write carries the resource version it was decided on: of two candidates one wins.
//! - The leader counts its term from *before* the request that renewed it, and the term ends well before anybody may
//!   replace it.

mod decide;
#[cfg(test)]
mod model;
mod task;

pub use decide::{Action, Observation, Record, Terms};
pub use task::{Leadership, LeadershipError};

use tokio::time::Instant;

/// Whether this process may write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeaderState {
    /// Another replica leads, or nobody does yet.
    Following {
        /// The holder as last seen.
        holder: Option<String>,
    },
    /// This replica leads until its term ends, unless it is renewed.
    Leading {
        /// End of the term.
        until: Instant,
    },
    /// There is no election: this process is the only one.
    Unopposed,
}

impl LeaderState {
    /// Whether a write may begin at `now`. Ask before every write: a term may have ended since the last look.
    pub fn may_write(&self, now: Instant) -> bool {
        match self {
            Self::Following { .. } => false,
            Self::Leading { until } => now < *until,
            Self::Unopposed => true,
        }
    }
}
