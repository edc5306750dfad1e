//! What an agent's arrivals will be, and how far that can be trusted.

use super::super::demand::load;
use super::super::types::Agent;
use super::memory::{Learned, Mark};
use super::{Horizon, LARGEST_LOAD};

/// Fading means an agent.
pub(super) const MEANS: usize = 4;
/// Their time constants in horizons: each four times the one before.
const PACES: [f64; MEANS] = [1.0, 4.0, 16.0, 64.0];
/// Time constant of their errors in horizons.
const GRADED_OVER: f64 = 32.0;
/// What a mean lacks in mass counts, at this weight, as an equal part of the pool's work.
const PRIOR: f64 = 0.5;

/// The weight of the last `elapsed` seconds in a mean that fades over `pace` horizons.
pub(super) fn gain(elapsed: f64, pace: f64, horizon: Horizon) -> f64 {
    -libm::expm1(-elapsed / (pace * horizon.span))
}

/// Takes in the arrivals of the time that has passed.
pub(super) fn learn(learned: &mut [Learned], agents: &[Agent<'_>], horizon: Horizon) {
    let gains = PACES.map(|pace| gain(horizon.elapsed, pace, horizon));
    for (learned, agent) in learned.iter_mut().zip(agents) {
        let Some(load) = load(agent) else {
            learned.blind();
            continue;
        };
        let arrivals = load.arrivals.min(LARGEST_LOAD);
        learned.seen += arrivals * horizon.elapsed;
        for (k, gain) in gains.into_iter().enumerate() {
            learned.rate[k] += gain * (arrivals - learned.rate[k]);
            learned.mass[k] += gain * (1.0 - learned.mass[k]);
        }
    }
}

/// Compares what was foretold at a mark with what came in the `age` seconds since; the mark stands for `lasted` seconds.
pub(super) fn grade(learned: &mut Learned, mark: &Mark, age: f64, lasted: f64, horizon: Horizon) {
    let gain = gain(lasted, GRADED_OVER, horizon);
    let came = learned.seen - mark.seen;
    for (error, foretold) in learned.error.iter_mut().zip(mark.foretold) {
        let off = came - foretold * age;
        *error += gain * (off * off / age - *error);
    }
    learned.error_mass += gain * (1.0 - learned.error_mass);
}

/// Weights the means by how well they have foretold.
pub(super) fn combine(learned: &mut [Learned], agents: &[Agent<'_>]) {
    let typical = typical(learned, agents);
    for (learned, agent) in learned.iter_mut().zip(agents) {
        let Some(load) = load(agent) else {
            continue;
        };
        if learned.mass[0] <= 0.0 {
            learned.foretold = [load.arrivals.min(LARGEST_LOAD); MEANS];
            learned.forecast = learned.foretold[0];
            learned.dispersion = learned.foretold[0];
            continue;
        }
        let prior = typical.map(|work| (work * agent.base_throughput).min(LARGEST_LOAD));
        for (k, prior) in prior.into_iter().enumerate() {
            let lacking = PRIOR * (1.0 - learned.mass[k]);
            learned.foretold[k] = (learned.rate[k] + lacking * prior) / (learned.mass[k] + lacking);
        }
        // A millionth of a request² a second: no error is smaller.
        let error = learned.error.map(|error| error + 1e-6);
        let least = error.into_iter().fold(f64::INFINITY, f64::min);
        let (mut sum, mut weights) = (0.0, 0.0);
        for (foretold, error) in learned.foretold.into_iter().zip(error) {
            let better = least / error;
            let weight = better * better * better;
            sum += weight * foretold;
            weights += weight;
        }
        learned.forecast = sum / weights;
        learned.dispersion = if learned.error_mass > 0.0 {
            least / learned.error_mass
        } else {
            learned.forecast // As of a Poisson process, until it is known better.
        };
    }
}

/// Arrivals a second lately, without regard to what others have: the mean over four horizons. Less than one request in the
/// longest of the means counts as none.
pub(super) fn lately(learned: &Learned, horizon: Horizon) -> f64 {
    if learned.mass[1] <= 0.0 {
        return learned.forecast;
    }
    let mean = learned.rate[1] / learned.mass[1];
    if mean * PACES[MEANS - 1] * horizon.span < 1.0 {
        0.0
    } else {
        mean
    }
}

/// GPUs of work that an agent has on average, by each of the means.
fn typical(learned: &[Learned], agents: &[Agent<'_>]) -> [f64; MEANS] {
    let (mut work, mut mass) = ([0.0; MEANS], [0.0; MEANS]);
    for (learned, agent) in learned.iter().zip(agents) {
        if load(agent).is_some() {
            for k in 0..MEANS {
                work[k] += (learned.rate[k] / agent.base_throughput).min(LARGEST_LOAD);
                mass[k] += learned.mass[k];
            }
        }
    }
    let mut typical = [0.0; MEANS];
    for k in 0..MEANS {
        if mass[k] > 0.0 {
            typical[k] = work[k] / mass[k];
        }
    }
    typical
}
