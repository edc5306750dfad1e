//! Balanced: moves shares where evidence says that it pays, and holds what everyone has where it does not.
//!
//! Every decision, in this order, with a fixed amount of memory an agent:
//!
//! 1. **Forecast** (`forecast`). Four fading means of an agent's arrivals, over one horizon to 64 of them, weighted by how
//!    well each has foretold the arrivals of one horizon. The horizon is the actuation lag and two intervals: nothing that is
//!    decided now acts sooner. The squared error of the best of them, per second, is the agent's *dispersion*: what a control
//!    with this lag cannot react to. That is the policy's view of its own uncertainty, published as [`Outlook`].
//! 2. **Assignment** (`assign`). Every agent gets its forecast load, and the rest of capacity goes by `sqrt(w·A/T)` with
//!    `A = n²/2 + (λ + v)·h/20`: n its backlog, λ its forecast, v its dispersion, h the horizon, w its weight, T its
//!    throughput. The cost of a share e above the load is about `A/(T·e)`: the backlog's, and that of the noise while it
//!    lasts; so that this is Kleinrock's square-root assignment (*Queueing Systems* II, 1976, section 5.7). A new one is taken
//!    up only when what is held costs a tenth more. Under overload a higher weight is cut later, and who weighs more than the
//!    average keeps at least an equal part.
//! 3. **Evidence** (`evidence`). Five candidates, from what is held without evidence (`hold`: what was in force when the policy began to
//!    look) over mixtures of an equal split and that assignment to almost all of it, are run as fluid
//!    queues on the measured arrivals, each decision in force one lag later. The one with the least weighted backlog is
//!    followed, once it is better by a margin. While nothing pays, what is held stays: [`Reason::HoldingSteady`].
//!    Where shares are whole replicas (`whole`) only the first and the last are compared, replica by replica: one that changes hands serves
//!    nobody until it has started. What is asked for follows the better one, with no more starts at any time than one an agent in ten lags.
//!    Where they are parts of several sizes (`places`) agents change places, and holding is to keep what is in force.
//! 4. **Laws.** What comes out is what each agent *wishes for*; floors, entitlements, weights and ceilings are dealt with by
//!    WaterFilling's own stages, and what ceilings leave over is lent to all alike.
//!
//! Where what nobody needs is to be saved ([`Spare::Save`]), steps 2 and 3 are for times when not all needs fit. Else everyone gets its
//! forecast, its backlog's share and a headroom, and counts all of it as its demand. The forecast counts there only as far as what came
//! within the last horizon does not contradict it (`surge`), and a drain that is longer than the lag asks for lets requests wait.
//!
//! No agent of known load wishes for less than a twentieth of an equal part, so that none starves for want of evidence. Not
//! monotone in a single reading: a higher one also teaches the forecast, which may then be trusted less.

mod assign;
mod evidence;
mod exact;
mod forecast;
mod hold;
mod memory;
mod outlook;
mod places;
mod surge;
#[cfg(test)]
mod tests;
mod whole;

pub use memory::Memory;
pub use outlook::Outlook;

use super::demand::{KnownLoad, Meter, load};
use super::pace::{LAGS_A_DRAIN, UNDECLARED_DRAIN};
use super::rounding::{LARGEST, Rounding, UNIT, fixed};
use super::types::{Agent, Allotment, Reason, Snapshot, Spare};
use super::water_filling::{Rest, Totals, deal, judge};
use memory::{LONGEST, Learned};

/// Loads and throughputs beyond count as this, so that no square and no quotient overflows.
const LARGEST_LOAD: f64 = 1e15;

/// The times that the policy thinks in, in seconds.
#[derive(Debug, Clone, Copy)]
struct Horizon {
    /// From a decision to its share in force.
    lag: f64,
    /// The lag and two intervals: what a decision can act on lies at least this far ahead, counted from the load it knows.
    span: f64,
    /// Since the last decision; zero when there was none.
    elapsed: f64,
}

/// What the agents of known load may divide.
#[derive(Debug, Clone, Copy)]
struct Pool {
    /// Milli-GPUs, without what agents of unknown load keep.
    free: f64,
    /// Number of agents of known load.
    agents: f64,
    /// Shares are whole replicas.
    whole: bool,
    /// Shares are parts of several sizes.
    places: bool,
}

impl Pool {
    /// Shares are what exists, and one that changes hands serves nobody until it has started.
    const fn in_pieces(self) -> bool {
        self.whole || self.places
    }
}

/// How much is saved.
#[derive(Debug, Clone, Copy)]
struct Saving {
    /// Standard deviations of the GPUs that are busy at once.
    headroom: f64,
    /// Seconds for which requests may wait: by as much is the drain longer than the lag asks for, and than it is when none is declared.
    patience: f64,
}

pub(super) fn allocate(
    spare: Spare,
    snapshot: &Snapshot<'_>,
    memory: &mut Memory,
    out: &mut [Allotment],
) {
    let n = snapshot.agents.len().min(out.len());
    let (agents, out) = (&snapshot.agents[..n], &mut out[..n]);
    let horizon = memory.turn(snapshot, agents);
    forecast::learn(&mut memory.agents, agents, horizon);
    memory.grade(horizon, |learned, mark, age, lasted| {
        forecast::grade(learned, mark, age, lasted, horizon);
    });
    forecast::combine(&mut memory.agents, agents);
    let pool = claim(snapshot, agents, &memory.agents, horizon, out);
    let saving = saving(spare, snapshot);
    hold::hold(&mut memory.agents, agents, pool, saving.is_some());
    let saved = assign::assign(memory, agents, horizon, saving, pool);
    evidence::weigh(memory, agents, horizon, pool);
    memory.mark(horizon);
    let totals = wish(memory, agents, pool, saved, out);
    let rest = if saved { Rest::Free } else { Rest::Alike };
    deal(agents, out, snapshot.capacity.0, &totals, rest);
}

/// What is saved for, where anything is.
fn saving(spare: Spare, snapshot: &Snapshot<'_>) -> Option<Saving> {
    let Spare::Save { headroom_milli } = spare else {
        return None;
    };
    let least = snapshot.lag.saturating_mul(LAGS_A_DRAIN);
    let patience = snapshot.drain.saturating_sub(least.max(UNDECLARED_DRAIN));
    Some(Saving {
        headroom: f64::from(headroom_milli) / 1000.0,
        patience: patience.as_secs_f64().min(LONGEST),
    })
}

/// Demand and the reason as far as load alone decides it.
fn claim(
    snapshot: &Snapshot<'_>,
    agents: &[Agent<'_>],
    learned: &[Learned],
    horizon: Horizon,
    out: &mut [Allotment],
) -> Pool {
    let meter = Meter::new(snapshot.drain);
    let (mut kept, mut known) = (0u64, 0u32);
    for ((agent, learned), slot) in agents.iter().zip(learned).zip(out) {
        let demand = load(agent).map(|load| {
            let arrivals = forecast::lately(learned, horizon);
            meter.of(agent, KnownLoad { arrivals, ..load })
        });
        (slot.demand, slot.reason) = judge(agent, demand);
        slot.target.0 = 0;
        match slot.reason {
            Reason::SignalLost => kept = kept.saturating_add(slot.demand.0),
            _ => known += 1,
        }
    }
    let whole = agents.iter().any(|agent| agent.quantum.0 > 0);
    Pool {
        free: snapshot.capacity.0.saturating_sub(kept).min(LARGEST) as f64,
        agents: f64::from(known),
        whole,
        places: !whole && agents.iter().any(|agent| agent.swaps),
    }
}

/// Rounds what everyone wishes for to milli-GPUs that sum to the pool.
fn wish(
    memory: &Memory,
    agents: &[Agent<'_>],
    pool: Pool,
    saved: bool,
    out: &mut [Allotment],
) -> Totals {
    let known = |slot: &&Allotment| slot.reason != Reason::SignalLost;
    let part = if saved { 1.0 } else { memory.follows() };
    let asked = |learned: &Learned| {
        learned
            .held
            .get(whole::ASKED)
            .map_or(0.0, |held| held.all.max(0.0))
    };
    let share = |learned: &Learned| {
        if pool.in_pieces() && !saved {
            return fixed(asked(learned) * UNIT);
        }
        fixed(learned.share(part, pool) * UNIT)
    };
    let shares = || {
        let pairs = memory.agents.iter().zip(agents);
        pairs
            .filter(|(_, agent)| load(agent).is_some())
            .map(|(learned, _)| share(learned))
    };
    let total = if saved || pool.in_pieces() {
        shares().sum::<u64>() / UNIT as u64
    } else {
        pool.free as u64
    };
    let mut rounding = Rounding::find(shares(), total, out.len());
    let mut totals = Totals::default();
    for ((agent, slot), learned) in agents.iter().zip(out).zip(&memory.agents) {
        if known(&&*slot) {
            slot.target.0 = rounding.round(share(learned));
            if saved {
                // What is saved for is needed, and no more: whole replicas are rounded up to it, and who may wait is not short.
                slot.demand = slot.target;
            }
            if part == 0.0 && slot.reason == Reason::DemandMet {
                slot.reason = Reason::HoldingSteady;
            }
        }
        totals.add(agent, slot);
    }
    totals
}
