//! Pure: what is known of the agents -> how much GPU each should have, and why.
//!
//! A policy is one function from a [`Snapshot`] to one [`Allotment`] an agent. It knows neither Kubernetes nor time; the
//! laws that all policies obey (finite, never above capacity, independent of the order of agents, same input same bytes)
//! stand in `laws.rs` as properties.

mod adaptive;
mod demand;
mod lag;
mod level;
mod pace;
mod rounding;
mod static_equal;
mod types;
mod water_filling;

#[cfg(test)]
mod adversarial;
#[cfg(test)]
mod laws;
#[cfg(test)]
mod tests;

pub use lag::Lag;
pub use pace::{Pace, pace};
pub use types::{Agent, Allotment, Load, Policy, Reason, Snapshot};

/// Computes every agent's target share, in the order of `snapshot.agents`, into `out`.
///
/// O(N) in a fixed number of passes; allocates nothing. `out` must be as long as `snapshot.agents`; a shorter `out` gets
/// as many agents as it has room for.
pub fn allocate(policy: Policy, snapshot: &Snapshot<'_>, out: &mut [Allotment]) {
    match policy {
        Policy::WaterFilling => water_filling::allocate(snapshot, out),
        Policy::Adaptive => adaptive::allocate(snapshot, out),
        Policy::StaticEqual => static_equal::allocate(snapshot, out),
    }
}
