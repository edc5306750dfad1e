//! Whether a rate has changed: what was foretold against what came just now.

use super::memory::{Learned, Past};

/// Standard errors between which a mean is taken to be right.
const ERRORS: f64 = 2.0;

/// The forecast, as far as the arrivals of the last horizon do not contradict it.
///
/// The means that the forecast is made of are slow to see a jump, and while a forecast is too low everyone waits. A mean over less time
/// sees it sooner and is less exact. So they are asked from the shortest time on, each for the rates within [`ERRORS`] standard errors of
/// it, as long as there are rates on which all agree: from where they do not, the rate was another one. What is foretold is brought within
/// those rates. That is the rule of intersecting confidence intervals (Goldenshluger and Nemirovski, "On spatially adaptive estimation of
/// nonparametric regression", *Mathematical Methods of Statistics* 6, 1997), by which no window has to be chosen.
pub(super) fn surge(learned: &Learned, past: Past<'_>) -> f64 {
    let burstiness = burstiness(learned, past);
    let (mut low, mut high) = (0.0f64, f64::INFINITY);
    for (count, age) in past.counts(learned) {
        // A few that came by chance, or none, would make themselves too certain: what was foretold counts too.
        let expected = count.max(learned.forecast * age);
        let off = ERRORS * (burstiness * expected).sqrt();
        let (least, most) = ((count - off) / age, (count + off) / age);
        if least > high || most < low {
            break;
        }
        (low, high) = (low.max(least), high.min(most));
    }
    learned.forecast.max(low).min(high)
}

/// Variance of a count to its mean, at least that of a Poisson process: 1.
///
/// From the differences of counts between one mark and the next, of which a rate that drifts changes little. The largest is left out: it
/// may be the jump that is looked for.
fn burstiness(learned: &Learned, past: Past<'_>) -> f64 {
    let (mut sum, mut largest, mut pairs) = (0.0, 0.0f64, 0u32);
    let mut later: Option<(f64, f64)> = None;
    let mut end = (0.0, 0.0);
    for (count, age) in past.counts(learned) {
        let (count, seconds) = (count - end.0, age - end.1);
        end = (end.0 + count, age);
        if let Some((other, others)) = later
            && count + other > 0.0
        {
            let apart = count / seconds - other / others;
            let ratio = apart * apart * seconds * others / (count + other);
            (sum, largest, pairs) = (sum + ratio, largest.max(ratio), pairs + 1);
        }
        later = Some((count, seconds));
    }
    if pairs > 1 {
        ((sum - largest) / f64::from(pairs - 1)).max(1.0)
    } else {
        1.0
    }
}
