use super::demand::Meter;
use super::types::{Allotment, Reason, Snapshot};
use crate::units::MilliGpus;

/// Capacity divided by the number of agents, whatever their load, minimum share, floor, ceiling and priority.
///
/// The paper's baseline (arXiv 2512.22149), and the static twin that a pool is compared with; so what an agent cannot use above
/// its ceiling is *not* given to others. Milli-GPUs that do not divide go to the first by name. A lost signal changes nothing.
pub(super) fn allocate(snapshot: &Snapshot<'_>, out: &mut [Allotment]) {
    let n = snapshot.agents.len().min(out.len());
    let meter = Meter::new(snapshot.drain);
    let each = snapshot.capacity.0 / (n as u64).max(1);
    let first = snapshot.capacity.0 % (n as u64).max(1);
    for (i, (agent, slot)) in snapshot.agents.iter().zip(out).enumerate() {
        let target = MilliGpus(each + u64::from((i as u64) < first));
        // What an agent of unknown load asks for is not known; it counts as what it has.
        let demand = match meter.demand(agent) {
            Some(demand) => demand.share,
            None => agent.realized.min(agent.ceiling),
        };
        *slot = Allotment {
            target,
            demand,
            reason: Reason::EqualSplit,
            minimum_unmet: target < demand.min(agent.min_share),
        };
    }
}
