//! The bounds on what rules can come to, by seed, on all processors.

use super::build::Plan;
use super::failure::Failure;
use crate::simulation::report::{OfSeed, bounds_of};
use std::num::NonZero;
use std::thread;

/// Requests of a run, above which there are no bounds: they need all of them in memory, on each processor.
const MOST_REQUESTS: f64 = 3e6;

/// Why there are no bounds, in words.
pub(super) fn none(requests: f64) -> Option<String> {
    (requests > MOST_REQUESTS).then(|| {
        format!(
            "bounds are left out: they hold all requests of a run in memory, and these are {requests:.1e} (at most {MOST_REQUESTS:.0e})"
        )
    })
}

/// The bounds of each seed, in their order; empty where a run has too many requests for them.
///
/// # Errors
/// A seed's ended without a result.
pub(super) fn all(plan: &Plan) -> Result<Vec<Vec<OfSeed>>, Failure> {
    if none(plan.requests).is_some() {
        return Ok(Vec::new());
    }
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let each = plan.seeds.len().div_ceil(threads).max(1);
    let of = |seeds: &[u64]| -> Vec<Vec<OfSeed>> {
        let seeds = seeds.iter();
        seeds.map(|seed| bounds_of(&plan.scenario, *seed)).collect()
    };
    thread::scope(|scope| {
        let parts = plan.seeds.chunks(each);
        let parts: Vec<_> = parts.map(|part| scope.spawn(move || of(part))).collect();
        let mut found = Vec::new();
        for part in parts {
            let part = part.join();
            found.extend(part.map_err(|_| {
                Failure::Run("the bounds of a seed ended without a result".to_owned())
            })?);
        }
        Ok(found)
    })
}
