//! Adaptive: the rule of the paper (arXiv 2512.22149), to the digit.
//!
//! ```text
//! demand  d_i = λ_i · R_i / P_i
//! share   g_i = max(R_i, d_i / Σd · G)          Σd = 0: g_i = R_i
//! over?   if Σg > G:  g_i = g_i / Σg · G
//! ```
//!
//! Shipped as published, with what follows from it: after the last line a share can lie *below* its minimum
//! (`minimum_unmet` says so), an agent with minimum share zero gets nothing, and neither backlog nor floors nor ceilings
//! count. What the paper leaves open: shares are rounded to milli-GPUs by largest remainder, at equal remainders the first
//! by name up; and an agent of unknown load keeps its realized share while the others divide the rest (when such agents
//! alone exceed capacity, they shrink in proportion).

use super::demand::{KnownLoad, Meter, load};
use super::rounding::{LARGEST, Rounding, UNIT, fixed};
use super::types::{Agent, Allotment, Load, Reason, Snapshot};
use crate::units::MilliGpus;

pub(super) fn allocate(snapshot: &Snapshot<'_>, out: &mut [Allotment]) {
    let n = snapshot.agents.len().min(out.len());
    let (agents, out) = (&snapshot.agents[..n], &mut out[..n]);
    // A capacity above four million GPUs counts as that.
    let capacity = snapshot.capacity.0.min(LARGEST);

    let (demand, held) = weigh(agents, out);
    let left = u64::try_from(u128::from(capacity).saturating_sub(held)).unwrap_or(0);
    let rule = Rule::new(left, demand);
    let total = share(out, rule);

    let scale = rule.scale(total) * UNIT;
    let sum = left.min((total + 0.5) as u64);
    let rounding = Rounding::find(shares(out, scale), sum, n);
    let meter = Meter::new(snapshot.drain);
    settle(agents, out, meter, rounding, scale, Cut { capacity, held });
}

/// The paper's formulas, in milli-GPUs.
#[derive(Debug, Clone, Copy)]
struct Rule {
    /// G: what the measured agents may divide.
    capacity: f64,
    /// G / Σd, or zero when nobody has demand.
    per_demand: f64,
}

impl Rule {
    fn new(capacity: u64, demand: f64) -> Self {
        let capacity = capacity as f64;
        let per_demand = if demand > 0.0 { capacity / demand } else { 0.0 };
        Self {
            capacity,
            per_demand,
        }
    }

    /// d = λ·R/P, in units in which it needs no division: R in milli-GPUs and 6/P for 1/P, a constant that d/Σd cancels.
    ///
    /// A rate outside 1e-100 .. 1e100 counts as none or as 1e100, so that no later step overflows or underflows.
    fn demand(arrivals: f64, agent: &Agent<'_>) -> f64 {
        let arrivals = if arrivals < 1e-100 { 0.0 } else { arrivals };
        arrivals.min(1e100) * agent.min_share.0 as f64 * agent.priority.weight() as f64
    }

    /// max(R, d/Σd·G).
    fn share(self, demand: f64, minimum: f64) -> f64 {
        let part = demand * self.per_demand;
        if part > minimum { part } else { minimum }
    }

    /// What every share is multiplied by so that Σg ≤ G.
    fn scale(self, total: f64) -> f64 {
        if total > self.capacity {
            self.capacity / total
        } else {
            1.0
        }
    }
}

/// First pass: Σd, and the milli-GPUs held by agents of unknown load.
///
/// Until the last pass a slot is scratch: the target holds the bits of d, then of g, and the demand those of R. So the second
/// pass and the search for the rounding read 24 bytes an agent instead of 120.
fn weigh(agents: &[Agent<'_>], out: &mut [Allotment]) -> (f64, u128) {
    let (mut sum, mut held) = (0.0, 0);
    for (agent, slot) in agents.iter().zip(out) {
        if let Some(load) = load(agent) {
            let demand = Rule::demand(load.arrivals, agent);
            sum += demand;
            slot.target = MilliGpus(demand.to_bits());
            slot.demand = MilliGpus((agent.min_share.0 as f64).to_bits());
            slot.reason = Reason::Proportional;
        } else {
            held += u128::from(agent.realized.0);
            slot.reason = Reason::SignalLost;
        }
    }
    (sum, held)
}

/// Second pass: every d becomes its g before normalisation. Returns Σg.
fn share(out: &mut [Allotment], rule: Rule) -> f64 {
    let mut sum = 0.0;
    for slot in out.iter_mut().filter(|s| s.reason != Reason::SignalLost) {
        let (demand, minimum) = (f64::from_bits(slot.target.0), f64::from_bits(slot.demand.0));
        let share = rule.share(demand, minimum);
        sum += share;
        slot.target = MilliGpus(share.to_bits());
    }
    sum
}

/// The normalised shares of the measured agents in fixed point, for rounding; `scale` includes [`UNIT`].
fn shares(out: &[Allotment], scale: f64) -> impl Iterator<Item = u64> + Clone {
    let measured = out.iter().filter(|s| s.reason != Reason::SignalLost);
    measured.map(move |s| fixed(f64::from_bits(s.target.0) * scale))
}

/// How agents of unknown load are cut when they alone exceed capacity.
#[derive(Debug, Clone, Copy)]
struct Cut {
    capacity: u64,
    held: u128,
}

impl Cut {
    fn apply(self, realized: MilliGpus) -> MilliGpus {
        let cut = u128::from(realized.0) * u128::from(self.capacity) / self.held.max(1);
        realized.min(MilliGpus(u64::try_from(cut).unwrap_or(u64::MAX)))
    }
}

/// Last pass: every g becomes whole milli-GPUs.
fn settle(
    agents: &[Agent<'_>],
    out: &mut [Allotment],
    meter: Meter,
    mut rounding: Rounding,
    scale: f64,
    cut: Cut,
) {
    for (agent, slot) in agents.iter().zip(out) {
        // The first pass has judged the load; what it let pass is not judged again.
        let known = match agent.load {
            Load::Measured {
                arrivals_per_second: arrivals,
                backlog,
            } if slot.reason != Reason::SignalLost => Some(KnownLoad { arrivals, backlog }),
            _ => None,
        };
        let (target, demand, reason) = if let Some(load) = known {
            let demand = meter.of(agent, load);
            let share = fixed(f64::from_bits(slot.target.0) * scale);
            let reason = match demand.share {
                MilliGpus::ZERO => Reason::Idle,
                _ => Reason::Proportional,
            };
            (MilliGpus(rounding.round(share)), demand.share, reason)
        } else {
            let kept = cut.apply(agent.realized);
            (kept, agent.realized, Reason::SignalLost)
        };
        *slot = Allotment {
            target,
            demand,
            reason,
            minimum_unmet: target < agent.min_share,
        };
    }
}

#[cfg(test)]
mod tests;
