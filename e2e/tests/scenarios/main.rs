//! What issue-level promises look like on a real control plane: one file a scenario, each test named as a sentence.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod capacity;
mod conflicts;
mod crash;
mod default_policy;
mod deleted;
mod hostile;
mod leaders;
mod mig;
mod neighbours;
mod pair;
mod prometheus;
mod quiet;
mod refusals;
mod restarts;
mod rights;
mod sharers;
mod signals;
mod simulated;
mod time_slicing;
mod too_old;
mod uninstalled;
mod whole_gpus;
