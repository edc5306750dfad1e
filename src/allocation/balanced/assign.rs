//! Kleinrock's square-root assignment with what waits already, and with what cannot be foretold.

use super::super::demand::{KnownLoad, Meter, load};
use super::super::types::Agent;
use super::memory::{Learned, Memory};
use super::surge::surge;
use super::{Horizon, LARGEST_LOAD, Pool, Saving};
use crate::units::Priority;
use std::time::Duration;

/// The part of the pool that goes by backlog and dispersion however much load is foretold: a forecast that is too high must
/// not keep capacity from those who wait.
const BY_BACKLOG: f64 = 0.1;
/// The part of a horizon for which the noise counts; the backlog counts as it is.
const NOISE: f64 = 0.1;
/// A new assignment is taken up when what is held costs more by this part: small corrections of a flat optimum do not pay for
/// a move.
pub(super) const PAYS: f64 = 0.1;
/// Overload is what leaves no room to work the backlog off in this many horizons.
const CLEARED_OVER: f64 = 16.0;
const PRIORITIES: [Priority; 3] = [Priority::High, Priority::Medium, Priority::Low];

/// Writes every agent's wish. True when the pool is larger than all that is needed, and the rest is to be saved.
pub(super) fn assign(
    memory: &mut Memory,
    agents: &[Agent<'_>],
    horizon: Horizon,
    saving: Option<Saving>,
    pool: Pool,
) -> bool {
    if pool.free <= 0.0 {
        let all = memory.agents.iter_mut();
        all.for_each(|learned| learned.wish = 0.0);
        return false;
    }
    if let Some(saving) = saving
        && save(memory, agents, horizon, saving, pool)
    {
        return true;
    }
    lend(&mut memory.agents, agents, horizon, pool);
    false
}

/// Forecast and backlog, and as much of the headroom as fits, in the same part for all; false when not even the first two fit.
///
/// The headroom counts standard deviations of the GPUs that are busy at once when nobody waits. Of Poisson arrivals these vary by the
/// square root of the load in GPUs, hence square-root staffing (Halfin and Whitt, "Heavy-traffic limits for queues with many exponential
/// servers", *Operations Research* 29, 1981); the forecast is off by an error of its own, and the variances of both add up (Whitt,
/// "Dynamic staffing in a telephone call center aiming to immediately answer all calls", *Operations Research Letters* 24, 1999).
///
/// What waits and what comes within the horizon is worked off within the horizon and the time for which requests may wait. So the longer
/// that is, the more waits before it asks for a GPU: in balance as much as comes in that time.
fn save(
    memory: &mut Memory,
    agents: &[Agent<'_>],
    horizon: Horizon,
    saving: Saving,
    pool: Pool,
) -> bool {
    let within = horizon.span + saving.patience;
    let part = horizon.span / within;
    let meter = Meter::new(Duration::from_secs_f64(within));
    let (learned, past) = memory.agents_and_past();
    let (mut least, mut all) = (0.0, 0.0);
    for (learned, agent) in learned.iter_mut().zip(agents) {
        let forecast = surge(learned, past);
        let deviation = deviation(forecast, learned, agent, horizon);
        let need = |deviations: f64| {
            load(agent).map_or(0.0, |KnownLoad { backlog, .. }| {
                let arrivals = (forecast + deviations * deviation) * part;
                let load = KnownLoad { arrivals, backlog };
                meter.of(agent, load).share.0 as f64 / pool.free
            })
        };
        // Until the next pass the wish is what it needs without headroom, and the aim what it needs with all of it.
        (learned.wish, learned.aim) = (need(0.0), need(saving.headroom));
        least += learned.wish;
        all += learned.aim;
    }
    let part = if all > 1.0 {
        (1.0 - least) / (all - least)
    } else {
        1.0
    };
    for learned in learned {
        learned.wish += part.max(0.0) * (learned.aim - learned.wish);
    }
    least <= 1.0
}

/// By how much the requests a second that an agent could serve at once may differ from its forecast: one standard deviation.
fn deviation(forecast: f64, learned: &Learned, agent: &Agent<'_>, horizon: Horizon) -> f64 {
    // A GPU counts as the requests a second that it serves, and so the variance of a Poisson number of GPUs as that times the load.
    let noise = forecast * agent.base_throughput.min(LARGEST_LOAD);
    let error = learned.dispersion / horizon.span;
    (noise + error).sqrt()
}

/// The forecast, and all the rest by the square root.
fn lend(learned: &mut [Learned], agents: &[Agent<'_>], horizon: Horizon, pool: Pool) {
    let meter = Meter::new(Duration::MAX);
    let clearing = Meter::new(Duration::from_secs_f64(CLEARED_OVER * horizon.span));
    let (mut needs, mut roots, mut busy) = ([0.0; 3], 0.0, 0.0);
    for (learned, agent) in learned.iter_mut().zip(agents) {
        // Until the next pass the aim is the need.
        learned.aim = load(agent).map_or(0.0, |load| {
            roots += root(learned, agent, load, horizon);
            let arrivals = learned.forecast;
            let load = KnownLoad { arrivals, ..load };
            busy += clearing.of(agent, load).share.0 as f64 / pool.free;
            let need = meter.of(agent, load);
            need.share.0 as f64 / pool.free
        });
        needs[class(agent.priority)] += learned.aim;
    }
    let level = Level::of(needs, 1.0 - BY_BACKLOG);
    let met: f64 = needs
        .into_iter()
        .zip(PRIORITIES)
        .map(|(need, p)| need * level.part(p))
        .sum();
    let rest = (1.0 - met).max(0.0);
    let (mut held, mut whole) = (0.0, 0.0);
    for (learned, agent) in learned.iter_mut().zip(agents) {
        if let Some(load) = load(agent) {
            let root = root(learned, agent, load, horizon);
            let need = learned.aim * level.part(agent.priority);
            let by_root = if roots > 0.0 {
                root / roots
            } else {
                1.0 / pool.agents
            };
            learned.aim = need + rest * by_root;
            held += cost(root, learned.wish - need);
            whole += learned.wish;
        } else {
            learned.wish = -1.0; // What it will ask for when it is known again is not what it asked for.
        }
    }
    // No assignment costs less than the one that is aimed at: `roots²/rest`. One for other agents is none.
    let fits = held.is_finite() && (whole - 1.0).abs() < 1e-9;
    if !fits || held * rest > roots * roots * (1.0 + PAYS) {
        learned
            .iter_mut()
            .for_each(|learned| learned.wish = learned.aim);
    }
    if busy > 1.0 - BY_BACKLOG {
        protect(learned, agents, pool);
    }
}

/// What a share of `above` beyond the load costs an agent.
fn cost(root: f64, above: f64) -> f64 {
    if root <= 0.0 {
        0.0
    } else if above > 0.0 {
        root * root / above
    } else {
        f64::INFINITY
    }
}

/// Under overload who is more important than the average keeps at least an equal part; the others give way in proportion.
fn protect(learned: &mut [Learned], agents: &[Agent<'_>], pool: Pool) {
    let equal = 1.0 / pool.agents;
    let known = |agent: &&Agent<'_>| load(agent).is_some();
    let weights: u64 = agents
        .iter()
        .filter(known)
        .map(|a| a.priority.weight())
        .sum();
    let mean = weights as f64 * equal;
    let least = |agent: &Agent<'_>| {
        if agent.priority.weight() as f64 > mean {
            equal
        } else {
            0.0
        }
    };
    let (mut kept, mut above) = (0.0, 0.0);
    for (learned, agent) in learned.iter().zip(agents).filter(|(_, a)| known(a)) {
        kept += least(agent);
        above += (learned.wish - least(agent)).max(0.0);
    }
    let scale = if above > 0.0 {
        (1.0 - kept).max(0.0) / above
    } else {
        0.0
    };
    for (learned, agent) in learned.iter_mut().zip(agents).filter(|(_, a)| known(a)) {
        let least = least(agent);
        learned.wish = least + scale * (learned.wish - least).max(0.0);
    }
}

fn root(learned: &Learned, agent: &Agent<'_>, load: KnownLoad, horizon: Horizon) -> f64 {
    let backlog = load.backlog.min(LARGEST_LOAD);
    let cost = 0.5 * (backlog * backlog + unrest(learned, horizon));
    let throughput = agent
        .base_throughput
        .clamp(1.0 / LARGEST_LOAD, LARGEST_LOAD);
    (agent.priority.weight() as f64 * cost / throughput).sqrt()
}

/// What cannot be foretold, as a squared backlog.
pub(super) fn unrest(learned: &Learned, horizon: Horizon) -> f64 {
    NOISE * horizon.span * (learned.forecast + learned.dispersion)
}

/// What part of its need an agent gets when not all needs fit: in proportion to its weight, never more than all.
#[derive(Debug, Clone, Copy)]
struct Level(f64);

impl Level {
    /// `needs` by priority, High first: whose weight is larger is met in full before.
    fn of(needs: [f64; 3], budget: f64) -> Self {
        let weights = PRIORITIES.map(|p| p.weight() as f64);
        let mut left = budget;
        for first in 0..3 {
            let open = || needs.into_iter().zip(weights).skip(first);
            let weighted: f64 = open().map(|(need, weight)| need * weight).sum();
            let level = if weighted > 0.0 {
                (left / weighted).max(0.0)
            } else {
                1.0
            };
            if level * weights[first] <= 1.0 {
                return Self(level);
            }
            left -= needs[first];
        }
        Self(1.0)
    }

    fn part(self, priority: Priority) -> f64 {
        (self.0 * priority.weight() as f64).min(1.0)
    }
}

const fn class(priority: Priority) -> usize {
    priority.divisor() as usize - 1
}
