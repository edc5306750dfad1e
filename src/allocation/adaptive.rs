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

use super::demand::Meter;
use super::rounding::{LARGEST, Rounding, fixed};
use super::types::{Agent, Allotment, Reason, Snapshot};
use crate::units::MilliGpus;

pub(super) fn allocate(snapshot: &Snapshot<'_>, out: &mut [Allotment]) {
    let n = snapshot.agents.len().min(out.len());
    let (agents, out) = (&snapshot.agents[..n], &mut out[..n]);
    // A capacity above four million GPUs counts as that.
    let capacity = snapshot.capacity.0.min(LARGEST);

    // Between the passes a target holds the bits of its `f64`: agents are read as seldom as possible, and nothing is allocated.
    let (demand, held) = weigh(agents, Meter::new(snapshot.drain), out);
    let left = u64::try_from(u128::from(capacity).saturating_sub(held)).unwrap_or(0);
    let rule = Rule::new(left, demand);
    let total = share(agents, rule, out);

    let scale = rule.scale(total);
    let measured = out.iter().filter(|slot| slot.reason != Reason::SignalLost);
    let shares = measured.map(|slot| fixed(f64::from_bits(slot.target.0) * scale));
    let sum = left.min((total + 0.5) as u64);
    let rounding = Rounding::find(shares, sum, n);
    settle(agents, out, rounding, scale, Cut { capacity, held });
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
    fn share(self, demand: f64, agent: &Agent<'_>) -> f64 {
        (demand * self.per_demand).max(agent.min_share.0 as f64)
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

/// First pass: every target becomes its d. Returns Σd and the milli-GPUs held by agents of unknown load.
fn weigh(agents: &[Agent<'_>], meter: Meter, out: &mut [Allotment]) -> (f64, u128) {
    let (mut sum, mut held) = (0.0, 0);
    for (agent, slot) in agents.iter().zip(out) {
        if let Some(demand) = meter.demand(agent) {
            let weighted = Rule::demand(demand.arrivals, agent);
            sum += weighted;
            *slot = Allotment {
                target: MilliGpus(weighted.to_bits()),
                demand: demand.share,
                reason: match demand.share {
                    MilliGpus::ZERO => Reason::Idle,
                    _ => Reason::Proportional,
                },
                minimum_unmet: false,
            };
        } else {
            held += u128::from(agent.realized.0);
            *slot = Allotment {
                target: agent.realized,
                demand: agent.realized,
                reason: Reason::SignalLost,
                minimum_unmet: false,
            };
        }
    }
    (sum, held)
}

/// Second pass: every d becomes its g before normalisation. Returns Σg.
fn share(agents: &[Agent<'_>], rule: Rule, out: &mut [Allotment]) -> f64 {
    let mut sum = 0.0;
    for (agent, slot) in agents.iter().zip(out) {
        if slot.reason != Reason::SignalLost {
            let share = rule.share(f64::from_bits(slot.target.0), agent);
            sum += share;
            slot.target = MilliGpus(share.to_bits());
        }
    }
    sum
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
    mut rounding: Rounding,
    scale: f64,
    cut: Cut,
) {
    for (agent, slot) in agents.iter().zip(out) {
        slot.target = if slot.reason == Reason::SignalLost {
            cut.apply(slot.target)
        } else {
            MilliGpus(rounding.round(fixed(f64::from_bits(slot.target.0) * scale)))
        };
        slot.minimum_unmet = slot.target < agent.min_share;
    }
}

#[cfg(test)]
mod tests;
