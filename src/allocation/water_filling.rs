//! WaterFilling: everyone's smallest quantum first, then entitlements, then demand by weight, then headroom.
//!
//! Every stage is reached only when the one before it fits into capacity:
//!
//! 0. **Floors.** An agent counts at least at its floor; one whose load is unknown keeps what it has. When that exceeds
//!    capacity, Low loses first, then Medium, then High. Within a priority the shares that agents of unknown load hold beyond
//!    their floors go before any floor (a part of a smallest quantum is of no use), and the last by name loses first.
//! 1. **Entitlements.** While it has demand, an agent is entitled to its minimum share, or to its demand where that is
//!    smaller. When the entitlements exceed capacity, Low loses first, then Medium, then High; the agents of the priority
//!    that is partly served are raised above their floors to one common level, what is left over by name.
//! 2. **Demand.** What remains is shared by weighted max-min fairness over the demand that remains, with weights 1/P; what is
//!    left over by name.
//! 3. **Headroom.** When all demand is met, the spare capacity is lent in proportion to sqrt(weight · demand): Kleinrock's
//!    square-root assignment (*Communication Nets*, 1964; *Queueing Systems* II, 1976, section 5.7), which minimises the
//!    weighted mean number of requests in a system of M/M/1 queues. A demand below the minimum share counts as the minimum
//!    share: it is what the user expects of the agent, and a load that dies away does not drag all that is spare after its last
//!    request. Agents with neither demand nor minimum get none, unless all are so; then it is lent equally.
//!
//! Never above a ceiling. Nothing is stranded: targets sum to capacity unless every agent that may receive more stands at
//! its ceiling. Those are the measured agents with demand or a minimum share; all measured ones when none has either; an agent of
//! unknown load receives nothing beyond what it keeps. A higher demand or priority never lowers the agent's own target. All in integers.

use super::demand::{Demand, Meter};
use super::level::{Level, Want};
use super::types::{Agent, Allotment, Reason, Snapshot};
use crate::units::{MilliGpus, Priority};

/// Square roots of headroom weights carry this many binary digits behind the point, times two.
const HEADROOM_ROOT: u32 = 20;
/// Headroom levels are so fine that one gives less than a milli-GPU to a demand of up to 0.7 GPUs (weight 6), and 10 to one
/// of 64 GPUs.
const HEADROOM_SHIFT: u32 = 16;
/// Demand above this many milli-GPUs (half a million GPUs) no longer raises the headroom weight, which keeps it within 2^26.
const HEADROOM_DEMAND: u64 = 1 << 29;

/// The three priorities by index: High 0, Medium 1, Low 2.
const CLASSES: usize = 3;

pub(super) fn allocate(snapshot: &Snapshot<'_>, out: &mut [Allotment]) {
    let n = snapshot.agents.len().min(out.len());
    let (agents, out) = (&snapshot.agents[..n], &mut out[..n]);
    let capacity = snapshot.capacity.0;
    let totals = claim(agents, Meter::new(snapshot.drain), out);
    deal(agents, out, capacity, &totals, Rest::ByBasis);
}

/// What becomes of capacity that is left when everyone has what it wishes for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rest {
    /// It is lent by the square root of weight and demand.
    ByBasis,
    /// It is lent to all alike.
    Alike,
    /// It stays free.
    Free,
}

/// Deals `capacity` out by the four stages to agents whose demand, reason and wish (in `target`) are written.
pub(super) fn deal(
    agents: &[Agent<'_>],
    out: &mut [Allotment],
    capacity: u64,
    totals: &Totals,
    rest: Rest,
) {
    let (floors, entitled, wanted) = totals.sums();
    if let Some(short) = Ranked::new(capacity, floors, &totals.floors) {
        share_floors(agents, out, short);
    } else if let Some(short) = Ranked::new(capacity - narrow(floors), entitled, &totals.entitled) {
        share_entitlements(agents, out, short);
    } else {
        let left = capacity - narrow(floors) - narrow(entitled);
        if wanted > u128::from(left) {
            share_demand(agents, out, left);
        } else {
            let spare = match rest {
                Rest::Free => 0,
                Rest::ByBasis | Rest::Alike => left - narrow(wanted),
            };
            lend_headroom(
                agents,
                out,
                spare,
                rest == Rest::ByBasis && totals.any_basis,
            );
        }
    }
}

/// The successive bounds of one agent's share; each at least the one before.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    /// Smallest quantum.
    floor: u64,
    /// What it counts at before the others share: the floor, or what it holds when its load is unknown.
    kept: u64,
    /// What it is entitled to.
    entitled: u64,
    /// What serves its load.
    wanted: u64,
    /// The most it may be given: the ceiling, or no more than it keeps when its load is unknown.
    most: u64,
}

impl Bounds {
    /// From the agent and what was written for it by [`claim`]: its demand, and in `target` what it wishes for.
    fn of(agent: &Agent<'_>, claimed: &Allotment) -> Self {
        let ceiling = agent.ceiling.0;
        let floor = agent.floor.0.min(ceiling);
        let demand = claimed.demand.0;
        if claimed.reason == Reason::SignalLost {
            return Self {
                floor,
                kept: demand,
                entitled: demand,
                wanted: demand,
                most: demand,
            };
        }
        let entitled = floor.max(demand.min(agent.min_share.0));
        Self {
            floor,
            kept: floor,
            entitled,
            wanted: entitled.max(claimed.target.0.min(ceiling)),
            most: ceiling,
        }
    }
}

/// Sums of the first pass; exact for any values.
#[derive(Debug, Default)]
pub(super) struct Totals {
    /// By priority, first all floors and then what is held beyond them without a signal.
    floors: [[u128; 2]; CLASSES],
    /// By priority: entitlements beyond what is kept.
    entitled: [[u128; 1]; CLASSES],
    /// Demand beyond entitlements.
    wanted: u128,
    /// A measured agent has demand or a minimum share.
    any_basis: bool,
}

impl Totals {
    /// Takes in what was written for one agent.
    pub(super) fn add(&mut self, agent: &Agent<'_>, slot: &Allotment) {
        let bounds = Bounds::of(agent, slot);
        let class = class(agent.priority);
        self.floors[class][0] += u128::from(bounds.floor);
        self.floors[class][1] += u128::from(bounds.kept - bounds.floor);
        self.entitled[class][0] += u128::from(bounds.entitled - bounds.kept);
        self.wanted += u128::from(bounds.wanted - bounds.entitled);
        self.any_basis |= slot.reason != Reason::SignalLost && basis(agent, slot) > 0;
    }

    fn sums(&self) -> (u128, u128, u128) {
        (
            self.floors.iter().flatten().sum(),
            self.entitled.iter().flatten().sum(),
            self.wanted,
        )
    }
}

/// First pass: demand and the reason as far as load alone decides it. An agent of unknown load "demands" what it keeps.
fn claim(agents: &[Agent<'_>], meter: Meter, out: &mut [Allotment]) -> Totals {
    let mut totals = Totals::default();
    for (agent, slot) in agents.iter().zip(out) {
        (slot.demand, slot.reason) = judge(agent, meter.demand(agent));
        slot.target = slot.demand;
        totals.add(agent, slot);
    }
    totals
}

/// What an agent asks for, and the reason that follows from that alone. Unknown load "demands" what it keeps.
pub(super) fn judge(agent: &Agent<'_>, demand: Option<Demand>) -> (MilliGpus, Reason) {
    let floor = agent.floor.min(agent.ceiling);
    match demand {
        None => (
            agent.realized.max(floor).min(agent.ceiling),
            Reason::SignalLost,
        ),
        Some(d) if d.capped => (d.share, Reason::AtCeiling),
        Some(d) if d.share == MilliGpus::ZERO => (d.share, Reason::Idle),
        Some(d) if d.share < floor => (d.share, Reason::AtFloor),
        Some(d) => (d.share, Reason::DemandMet),
    }
}

/// A budget that does not suffice, dealt out by rank: High before Medium before Low, and within a priority part by part.
#[derive(Debug)]
struct Ranked<const PARTS: usize> {
    left: [[u64; PARTS]; CLASSES],
    /// The first priority that does not get all it claims; those below it get nothing.
    partial: usize,
}

impl<const PARTS: usize> Ranked<PARTS> {
    /// `None` when the budget suffices.
    fn new(budget: u64, total: u128, claims: &[[u128; PARTS]; CLASSES]) -> Option<Self> {
        if total <= u128::from(budget) {
            return None;
        }
        let mut left = [[0; PARTS]; CLASSES];
        let mut remaining = budget;
        let mut partial = CLASSES;
        for (class, claim) in claims.iter().enumerate() {
            for (part, &claim) in claim.iter().enumerate() {
                let granted = u64::try_from(claim).unwrap_or(u64::MAX).min(remaining);
                remaining -= granted;
                left[class][part] = granted;
                if u128::from(granted) < claim {
                    partial = partial.min(class);
                }
            }
        }
        Some(Self { left, partial })
    }

    fn take(&mut self, class: usize, part: usize, claim: u64) -> u64 {
        let granted = claim.min(self.left[class][part]);
        self.left[class][part] -= granted;
        granted
    }
}

/// Stage 0, not everyone can keep its floor.
fn share_floors(agents: &[Agent<'_>], out: &mut [Allotment], mut short: Ranked<2>) {
    for (agent, slot) in agents.iter().zip(out) {
        let bounds = Bounds::of(agent, slot);
        let class = class(agent.priority);
        let target =
            short.take(class, 0, bounds.floor) + short.take(class, 1, bounds.kept - bounds.floor);
        settle(agent, slot, &bounds, target);
    }
}

/// Stage 1, not everyone can have its entitlement.
fn share_entitlements(agents: &[Agent<'_>], out: &mut [Allotment], short: Ranked<1>) {
    let want = |agent: &Agent<'_>, bounds: &Bounds| Want {
        units: bounds.entitled - bounds.kept,
        weight: u64::from(class(agent.priority) == short.partial),
    };
    let budget = short.left[short.partial][0];
    let mut level = {
        let claimed = &*out;
        Level::find(agents.len(), budget, 0, |i| {
            want(&agents[i], &Bounds::of(&agents[i], &claimed[i]))
        })
    };
    for (agent, slot) in agents.iter().zip(out) {
        let bounds = Bounds::of(agent, slot);
        let target = if class(agent.priority) < short.partial {
            bounds.entitled
        } else {
            bounds.kept + level.take(want(agent, &bounds))
        };
        settle(agent, slot, &bounds, target);
    }
}

/// Stage 2, entitlements fit and demand does not.
fn share_demand(agents: &[Agent<'_>], out: &mut [Allotment], left: u64) {
    let want = |agent: &Agent<'_>, bounds: &Bounds| Want {
        units: bounds.wanted - bounds.entitled,
        weight: agent.priority.weight(),
    };
    let mut level = {
        let claimed = &*out;
        Level::find(agents.len(), left, 0, |i| {
            want(&agents[i], &Bounds::of(&agents[i], &claimed[i]))
        })
    };
    for (agent, slot) in agents.iter().zip(out) {
        let bounds = Bounds::of(agent, slot);
        let target = bounds.entitled + level.take(want(agent, &bounds));
        settle(agent, slot, &bounds, target);
    }
}

/// What headroom is measured by: the demand, or the minimum share where that is larger.
fn basis(agent: &Agent<'_>, claimed: &Allotment) -> u64 {
    claimed.demand.0.max(agent.min_share.0).min(HEADROOM_DEMAND)
}

/// Stage 3, everyone has what it asked for.
fn lend_headroom(agents: &[Agent<'_>], out: &mut [Allotment], spare: u64, any_basis: bool) {
    let want = |agent: &Agent<'_>, claimed: &Allotment, bounds: &Bounds| Want {
        units: bounds.most - bounds.wanted,
        weight: if any_basis {
            root((agent.priority.weight() * basis(agent, claimed)) << HEADROOM_ROOT)
        } else {
            1
        },
    };
    let mut level = {
        let claimed = &*out;
        Level::find(agents.len(), spare, HEADROOM_SHIFT, |i| {
            want(
                &agents[i],
                &claimed[i],
                &Bounds::of(&agents[i], &claimed[i]),
            )
        })
    };
    for (agent, slot) in agents.iter().zip(out) {
        let bounds = Bounds::of(agent, slot);
        let target = bounds.wanted + level.take(want(agent, slot, &bounds));
        settle(agent, slot, &bounds, target);
    }
}

/// Writes the target and what it means for the agent.
fn settle(agent: &Agent<'_>, slot: &mut Allotment, bounds: &Bounds, target: u64) {
    let due = if slot.reason == Reason::SignalLost {
        // What it would be entitled to is not known: it is short when it loses its floor, or a minimum share it had.
        bounds.floor.max(bounds.kept.min(agent.min_share.0))
    } else {
        bounds.entitled
    };
    let told = matches!(slot.reason, Reason::SignalLost | Reason::HoldingSteady);
    let hungry = target < slot.demand.0 && !told;
    slot.target = MilliGpus(target);
    slot.minimum_unmet = target < due;
    if hungry {
        slot.reason = if target <= bounds.entitled && bounds.entitled > 0 {
            Reason::AtMinimum
        } else {
            Reason::CapacityShared
        };
    }
}

const fn class(priority: Priority) -> usize {
    match priority {
        Priority::High => 0,
        Priority::Medium => 1,
        Priority::Low => 2,
    }
}

/// A sum that is known to be at most capacity.
fn narrow(sum: u128) -> u64 {
    u64::try_from(sum).unwrap_or(u64::MAX)
}

/// Integer square root of a number below 2^52, where the correctly rounded root in `f64` cannot round up to the next integer.
fn root(x: u64) -> u64 {
    (x as f64).sqrt() as u64
}

#[cfg(test)]
mod tests;
