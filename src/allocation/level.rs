/// What one agent asks of a fill: it takes `weight` parts of every level until it has `units`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Want {
    /// Milli-GPUs it can use.
    pub(super) units: u64,
    /// Its weight; at most 2^26, and an agent with weight zero gets nothing.
    pub(super) weight: u64,
}

/// Weighted max-min fairness in integers: the water level at which a budget is used up.
///
/// The rule: an agent's k-th milli-GPU stands at level `ceil(k · 2^shift / weight)`; the budget goes to the milli-GPUs
/// with the lowest level, at one level by the agents' order. That is an order of single milli-GPUs, and so the result is
/// exact and monotone: to ask for more appends to the end of one's own queue, a larger weight moves all of it forward,
/// and neither can cost the agent a milli-GPU that it had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Level {
    at: u64,
    shift: u32,
    left: u64,
}

/// Probes by Newton's rule before bisection takes over; in practice three to five suffice.
const NEWTON_PROBES: u32 = 12;

impl Level {
    /// Finds the level for `budget` over agents `0..n`.
    ///
    /// One pass a probe, at most [`NEWTON_PROBES`] + 64 of them and one before, whatever the values are. `shift` sets how
    /// fine the levels are: weights well above `2^shift` take several milli-GPUs a level.
    pub(super) fn find(n: usize, budget: u64, shift: u32, want: impl Fn(usize) -> Want) -> Self {
        let mut widest = 0u64;
        let mut lightest = u64::MAX;
        let (mut slope, mut total) = (0u64, 0u128);
        for w in (0..n).map(&want).filter(|w| w.units > 0 && w.weight > 0) {
            widest = widest.max(w.units);
            lightest = lightest.min(w.weight);
            slope += w.weight;
            total += u128::from(w.units);
        }
        // Below `hi` everyone has all it wants; `lo` never takes more than the budget.
        let full = (u128::from(widest) << shift).div_ceil(u128::from(lightest));
        let mut hi = u64::try_from(full + 1).unwrap_or(u64::MAX);
        let budget_wide = u128::from(budget);
        if total <= budget_wide {
            return Self {
                at: hi - 1,
                shift,
                left: budget,
            };
        }
        let (mut lo, mut taken) = (0u64, 0u128);
        let mut probes = 0;
        while hi - lo > 1 {
            let step = ((budget_wide - taken) << shift) / u128::from(slope.max(1));
            let newton = u64::try_from(u128::from(lo) + step.max(1)).unwrap_or(u64::MAX);
            let probe = if probes < NEWTON_PROBES && newton < hi {
                newton
            } else {
                lo + (hi - lo) / 2
            };
            probes += 1;
            let (sum, rising) = fill(n, probe, shift, &want);
            if sum <= budget_wide {
                (lo, taken, slope) = (probe, sum, rising);
            } else {
                hi = probe;
            }
        }
        Self {
            at: lo,
            shift,
            left: u64::try_from(budget_wide - taken).unwrap_or(u64::MAX),
        }
    }

    /// What the next agent gets. To be called once for each agent, in the agents' order: what is left at the last level
    /// goes to those who come first.
    pub(super) fn take(&mut self, want: Want) -> u64 {
        let full = part(want, self.at, self.shift);
        let next = match self.at + 1 {
            // The last level that can be named holds all the rest, so that nothing is stranded above it.
            u64::MAX if want.weight > 0 => want.units,
            level => part(want, level, self.shift),
        };
        let extra = (next - full).min(self.left);
        self.left -= extra;
        full + extra
    }
}

/// What `want` takes up to and including `level`.
fn part(want: Want, level: u64, shift: u32) -> u64 {
    let reach = (u128::from(want.weight) * u128::from(level)) >> shift;
    u64::try_from(reach).unwrap_or(u64::MAX).min(want.units)
}

/// What all take up to and including `level`, and the weight of those who would take more.
fn fill(n: usize, level: u64, shift: u32, want: &impl Fn(usize) -> Want) -> (u128, u64) {
    let (mut sum, mut rising) = (0u128, 0u64);
    for w in (0..n).map(want) {
        let part = part(w, level, shift);
        sum += u128::from(part);
        rising += if part < w.units { w.weight } else { 0 };
    }
    (sum, rising)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shares(budget: u64, shift: u32, wants: &[(u64, u64)]) -> Vec<u64> {
        let want = |i: usize| Want {
            units: wants[i].0,
            weight: wants[i].1,
        };
        let mut level = Level::find(wants.len(), budget, shift, want);
        (0..wants.len()).map(|i| level.take(want(i))).collect()
    }

    /// The rule taken literally: every milli-GPU with its level, sorted.
    fn by_definition(budget: u64, shift: u32, wants: &[(u64, u64)]) -> Vec<u64> {
        let mut units: Vec<(u64, usize)> = Vec::new();
        for (i, &(count, weight)) in wants.iter().enumerate().filter(|(_, w)| w.1 > 0) {
            units.extend((1..=count).map(|k| ((k << shift).div_ceil(weight), i)));
        }
        units.sort_unstable();
        let mut got = vec![0; wants.len()];
        for (_, i) in units.into_iter().take(budget as usize) {
            got[i] += 1;
        }
        got
    }

    #[test]
    fn the_hungry_share_by_weight_and_the_modest_get_what_they_want() {
        assert_eq!(
            shares(1000, 0, &[(100, 2), (900, 6), (900, 3)]),
            [100, 600, 300]
        );
    }

    #[test]
    fn a_remainder_goes_to_the_first() {
        assert_eq!(shares(10, 0, &[(9, 1), (9, 1), (9, 1)]), [4, 3, 3]);
    }

    #[test]
    fn a_budget_that_suffices_for_all_fills_all() {
        assert_eq!(
            shares(u64::MAX, 20, &[(u64::MAX, 1), (5, 1 << 26)]),
            [u64::MAX - 5, 5]
        );
        assert_eq!(shares(50, 0, &[(20, 2), (30, 3)]), [20, 30]);
        assert_eq!(shares(50, 0, &[(20, 2), (30, 0)]), [20, 0]);
        assert_eq!(shares(50, 0, &[]), Vec::<u64>::new());
    }

    proptest! {
        #[test]
        fn the_level_search_does_what_the_rule_says(
            budget in 0u64..600,
            shift in 0u32..8,
            wants in proptest::collection::vec((0u64..120, 0u64..200), 0..7),
        ) {
            prop_assert_eq!(shares(budget, shift, &wants), by_definition(budget, shift, &wants));
        }
    }
}
