//! Pure: a decision as a function of what was seen, what is kept of it on a line of JSON, and the same computed again.
//!
//! A recording is a folder of files; each can be replayed by itself. A file begins with a [`Head`]; before the first decision
//! of a pool, and whenever its spec changes, stands its [`Pool`]; a [`Decision`] names what it was computed from and what it
//! came to; a [`Gap`] says which decisions are missing. What a pool remembers from decision to decision is written with the
//! first decision that follows upon nothing, and with every [`CHECKPOINT`]th.
//!
//! Nothing else is kept: numbers, and names of pools, agents, workloads, pods and nodes.

mod decide;
mod differences;
mod format;
mod loads;
mod replay;
#[cfg(test)]
pub(crate) mod tests;

pub use decide::{allot, decide};
pub use format::{CHECKPOINT, Decision, Gap, Head, Inputs, Line, Memory, Output, Pool, VERSION};
pub use loads::{AgentLoads, Held, Loads, PoolLoads};
pub use replay::{Difference, Replay};
