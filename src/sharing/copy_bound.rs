//! What not even the best numbers of copies avoid: with it most sums of copies need no search.

use std::collections::BinaryHeap;

/// Copies in sum, and milli-GPUs, up to which nothing overflows; beyond, nothing is said.
const MOST_COPIES: u64 = 1 << 20;
const MOST_AIM: u64 = 1 << 36;

/// What one agent is to get.
#[derive(Debug)]
pub(super) struct Ask {
    /// Weight of its shortfall.
    pub weight: u64,
    /// Share that leaves no shortfall, milli-GPUs.
    pub aim: u64,
    /// Fewest copies to choose from.
    pub bottom: u32,
    /// Fewest copies that are no loss.
    pub fewest: u32,
    /// Most copies to choose from.
    pub most: u32,
}

/// Weighted squared shortfall, in squared milli-GPUs, that is left at least when `all` copies share `capacity` milli-GPUs, were memory
/// no matter.
///
/// Every further copy of an agent saves less than the one before, so the largest savings can be taken first.
pub(super) fn least_shortfall(asks: &[Ask], capacity: u64, all: u64) -> u128 {
    let given: u64 = asks.iter().map(|ask| u64::from(ask.bottom)).sum();
    let counted = (1..=MOST_COPIES).contains(&all) && asks.iter().all(|ask| ask.aim <= MOST_AIM);
    let Some(mut left) = all.checked_sub(given).filter(|_| counted) else {
        return 0;
    };
    let all = u128::from(all);
    // What one copy is worth, times `all`; one copy cannot use more than one GPU.
    let each = u128::from(capacity).min(1000 * all);
    let squared = |ask: &Ask, copies: u32| {
        let short = (u128::from(ask.aim) * all).saturating_sub(each * u128::from(copies));
        u128::from(ask.weight) * short * short
    };
    let saving = |i: usize, copies: u32| {
        let ask = &asks[i];
        let more = (copies < ask.most).then_some(copies.saturating_add(1))?;
        Some((squared(ask, copies) - squared(ask, more), i, more))
    };
    let mut sum: u128 = asks.iter().map(|ask| squared(ask, ask.bottom)).sum();
    let mut savings: BinaryHeap<(u128, usize, u32)> = (0..asks.len())
        .filter_map(|i| saving(i, asks[i].bottom))
        .collect();
    while left > 0
        && let Some((saved, i, copies)) = savings.pop().filter(|(saved, ..)| *saved > 0)
    {
        sum -= saved;
        left -= 1;
        savings.extend(saving(i, copies));
    }
    sum / (all * all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sharing::time_slicing::share;
    use proptest::prelude::*;

    fn asks() -> impl Strategy<Value = Vec<Ask>> {
        let ask = (1..7u64, 0..3000u64, 0..3u32, 0..5u32);
        let ask = ask.prop_map(|(weight, aim, bottom, more)| Ask {
            weight,
            aim,
            bottom,
            fewest: bottom,
            most: bottom + more,
        });
        prop::collection::vec(ask, 1..5)
    }

    /// The least of every combination that amounts to at most `all`.
    fn brute(asks: &[Ask], capacity: u64, all: u64) -> Option<u128> {
        let mut copies: Vec<u32> = asks.iter().map(|ask| ask.bottom).collect();
        let mut least: Option<u128> = None;
        loop {
            if copies.iter().map(|n| u64::from(*n)).sum::<u64>() <= all {
                let short = |(ask, n): (&Ask, &u32)| {
                    let got = share(capacity, u64::from(*n), all);
                    let short = u128::from(ask.aim.saturating_sub(got));
                    u128::from(ask.weight) * short * short
                };
                let sum = asks.iter().zip(&copies).map(short).sum();
                least = Some(least.map_or(sum, |least| least.min(sum)));
            }
            let Some(i) = (0..asks.len()).find(|i| copies[*i] < asks[*i].most) else {
                return least;
            };
            copies[i] += 1;
            for (n, ask) in copies[..i].iter_mut().zip(asks) {
                *n = ask.bottom;
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

        #[test]
        fn no_combination_of_copies_has_less_shortfall_and_the_best_little_more(
            asks in asks(), capacity in 1..9000u64, all in 1..30u64,
        ) {
            let bound = least_shortfall(&asks, capacity, all);
            let Some(least) = brute(&asks, capacity, all) else {
                return Ok(());
            };
            prop_assert!(bound <= least, "{bound} is above {least}");
            // Shares are rounded down to milli-GPUs, nothing else lies between.
            let rounding: u128 = asks.iter().map(|ask| u128::from(ask.weight * (2 * ask.aim + 1))).sum();
            prop_assert!(least <= bound + rounding, "{bound} is far below {least}");
        }
    }

    #[test]
    fn enormous_asks_say_nothing() {
        let ask = |aim| Ask {
            weight: 6,
            aim,
            bottom: 0,
            fewest: 0,
            most: u32::MAX,
        };
        assert_eq!(least_shortfall(&[ask(u64::MAX)], u64::MAX, 5), 0);
        assert_eq!(least_shortfall(&[ask(5000)], u64::MAX, u64::MAX), 0);
        assert_eq!(least_shortfall(&[], 1000, 0), 0);
    }
}
