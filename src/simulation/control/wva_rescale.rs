//! How WVA 0.9 deals out a budget that does not suffice.

/// What one model brings. GPUs are whole.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Claim {
    /// Priority times demand; finite, ≥ 0.
    pub weight: f64,
    /// GPUs of its fewest replicas.
    pub floor: u64,
    /// GPUs that it can use; ≥ `floor`.
    pub cap: u64,
}

/// Whole GPUs for each: its floor, then what is left in proportion to weights, nobody above its cap, what a capped one leaves to the
/// others by the same weights; fractions are rounded by largest remainder, of equal ones the first. Floors that reach the budget are
/// what everybody gets, even above it. Source: `computeRescaleTargets` in `internal/engines/pipeline/rescale.go` of
/// llm-d-workload-variant-autoscaler v0.9.0.
pub(super) fn rescale(claims: &[Claim], budget: u64) -> Vec<u64> {
    let mut targets: Vec<u64> = claims.iter().map(|claim| claim.floor).collect();
    let floors = targets
        .iter()
        .fold(0u64, |sum, floor| sum.saturating_add(*floor));
    if floors >= budget {
        return targets;
    }
    let extras = fill(claims, (budget - floors) as f64);
    let mut left = extras.iter().sum::<f64>().round() as u64;
    for (target, extra) in targets.iter_mut().zip(&extras) {
        *target += *extra as u64;
        left = left.saturating_sub(*extra as u64);
    }
    let rest = |i: &usize| extras[*i] - extras[*i].floor();
    let mut order: Vec<usize> = (0..claims.len()).filter(|i| extras[*i] > 0.0).collect();
    order.sort_by(|a, b| rest(b).total_cmp(&rest(a)).then(a.cmp(b)));
    for i in order {
        if left > 0 && targets[i] < claims[i].cap {
            targets[i] += 1;
            left -= 1;
        }
    }
    targets
}

/// What each gets above its floor, in fractions.
fn fill(claims: &[Claim], mut left: f64) -> Vec<f64> {
    const NONE: f64 = 1e-9;
    let room = |i: usize| (claims[i].cap - claims[i].floor.min(claims[i].cap)) as f64;
    let mut extras = vec![0.0; claims.len()];
    let mut hungry: Vec<usize> = (0..claims.len())
        .filter(|&i| claims[i].weight > 0.0 && room(i) > 0.0)
        .collect();
    while !hungry.is_empty() && left > NONE {
        let weights: f64 = hungry.iter().map(|&i| claims[i].weight).sum();
        let share = |i: usize| left * claims[i].weight / weights;
        let (capped, rest): (Vec<usize>, Vec<usize>) =
            hungry.iter().partition(|&&i| share(i) >= room(i) - NONE);
        if capped.is_empty() {
            for &i in &rest {
                extras[i] = share(i);
            }
            break;
        }
        for &i in &capped {
            extras[i] = room(i);
        }
        left -= capped.iter().map(|&i| room(i)).sum::<f64>();
        hungry = rest;
    }
    extras
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn claim(weight: f64, floor: u64, cap: u64) -> Claim {
        Claim { weight, floor, cap }
    }

    /// The worked examples of the proposal and of its own tests.
    #[test]
    fn its_own_worked_examples() {
        let cases: [(&str, &[Claim], u64, &[u64]); 6] = [
            (
                "priority 1 and 3",
                &[claim(8.0, 0, 8), claim(24.0, 0, 8)],
                8,
                &[2, 6],
            ),
            (
                "a smaller demand is capped",
                &[claim(8.0, 0, 8), claim(12.0, 0, 4)],
                8,
                &[4, 4],
            ),
            (
                "floors first",
                &[claim(10.0, 2, 10), claim(10.0, 0, 10)],
                6,
                &[4, 2],
            ),
            (
                "a tie goes to the first",
                &[claim(1.0, 0, 7), claim(1.0, 0, 7)],
                7,
                &[4, 3],
            ),
            (
                "no demand, the floor only",
                &[claim(0.0, 1, 5), claim(8.0, 0, 8)],
                6,
                &[1, 5],
            ),
            (
                "floors above the budget",
                &[claim(5.0, 4, 5), claim(5.0, 3, 5)],
                6,
                &[4, 3],
            ),
        ];
        for (name, claims, budget, targets) in cases {
            assert_eq!(rescale(claims, budget), targets, "{name}");
        }
    }

    proptest! {
        #[test]
        fn nobody_is_below_its_floor_or_above_its_cap_and_all_is_dealt_out(
            raw in proptest::collection::vec((0u32..6, 0u64..4, 0u64..12), 1..7),
            budget in 0u64..40,
        ) {
            let claims: Vec<Claim> = raw.iter().map(|&(w, floor, more)| claim(f64::from(w), floor, floor + more)).collect();
            let targets = rescale(&claims, budget);
            let floors: u64 = claims.iter().map(|c| c.floor).sum();
            let wanted: u64 = claims.iter().map(|c| if c.weight > 0.0 { c.cap } else { c.floor }).sum();
            for (claim, target) in claims.iter().zip(&targets) {
                prop_assert!((claim.floor..=claim.cap).contains(target));
            }
            prop_assert_eq!(targets.iter().sum::<u64>(), floors.max(wanted.min(budget)));
        }
    }
}
