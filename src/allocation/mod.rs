//! Pure: what is known of the agents -> how much GPU each should have, and why.
//!
//! A policy is one function from a [`Snapshot`] and a [`Memory`] to one [`Allotment`] an agent and the next memory. It knows
//! neither Kubernetes nor a clock; the laws that all policies obey (finite, never above capacity, independent of the order of
//! agents, same input same bytes) stand in `laws.rs` as properties.

mod adaptive;
mod balanced;
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

pub use balanced::{Memory, Outlook};
pub use lag::Lag;
pub use pace::{Pace, pace};
pub use types::{Agent, Allotment, Load, Policy, Reason, Snapshot, Spare};

/// Computes every agent's target share, in the order of `snapshot.agents`, into `out`.
///
/// Balanced learns from call to call: `memory` is passed in and out, and losing it is safe. The others leave it alone.
///
/// O(N) in a fixed number of passes; allocates nothing unless the pool's agents have changed. `out` must be as long as `snapshot.agents`; a shorter `out` gets
/// as many agents as it has room for.
pub fn allocate(
    policy: Policy,
    snapshot: &Snapshot<'_>,
    memory: &mut Memory,
    out: &mut [Allotment],
) {
    match policy {
        Policy::WaterFilling => water_filling::allocate(snapshot, out),
        Policy::Adaptive => adaptive::allocate(snapshot, out),
        Policy::StaticEqual => static_equal::allocate(snapshot, out),
        Policy::Balanced(spare) => balanced::allocate(spare, snapshot, memory, out),
    }
}
