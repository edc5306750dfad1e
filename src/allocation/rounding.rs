//! Rounding to whole milli-GPUs by largest remainder: without a heap and without a sort.

/// Binary digits of the fraction in a fixed-point share.
const FRACTION: u32 = 20;
const MASK: u64 = (1 << FRACTION) - 1;
/// Largest share, and largest total, in milli-GPUs: four million GPUs.
pub(super) const LARGEST: u64 = 1 << (52 - FRACTION);

/// A milli-GPU in fixed point.
pub(super) const UNIT: f64 = (1u64 << FRACTION) as f64;

/// A share in milli-GPUs times [`UNIT`] (finite, ≥ 0) as fixed-point number, to the nearest 2^-20 of a milli-GPU; at most
/// [`LARGEST`].
#[inline]
pub(super) fn fixed(units: f64) -> u64 {
    // Adding 2^52 leaves no room for a fraction: the low bits of the sum are the integer nearest to the scaled share.
    const SHIFT: f64 = (1u64 << 52) as f64;
    (units.min(SHIFT) + SHIFT).to_bits() - SHIFT.to_bits()
}

/// Which shares are rounded up so that all sum to a total: those with the largest fractions; of equal ones the first.
#[derive(Debug)]
pub(super) struct Rounding {
    /// Fractions from here are rounded up,
    from: u64,
    /// and of those just below as many as this.
    ties: u64,
    /// Whole milli-GPUs above the total, by rounding errors of absurdly large shares; the first to have them lose them.
    excess: u64,
}

impl Rounding {
    /// Finds the cut for `shares`, fixed-point numbers that sum to `total` up to rounding errors; `agents` is about how many.
    ///
    /// The cut is found digit by digit, one pass over the shares a digit, with counts on the stack; at most five passes.
    pub(super) fn find(
        shares: impl Iterator<Item = u64> + Clone,
        total: u64,
        agents: usize,
    ) -> Self {
        // For the tens of agents of a pool a small table costs least; for thousands, fewer passes.
        if agents < 512 {
            Self::by_digits::<4, 16>(shares, total)
        } else {
            Self::by_digits::<10, 1024>(shares, total)
        }
    }

    fn by_digits<const BITS: u32, const TABLE: usize>(
        shares: impl Iterator<Item = u64> + Clone,
        total: u64,
    ) -> Self {
        let mut shift = FRACTION - BITS;
        let mut digits = 0;
        let mut table = [0u32; TABLE];
        let mut whole = 0;
        for share in shares.clone() {
            whole += share >> FRACTION;
            table[(share >> shift) as usize % TABLE] += 1;
        }
        let excess = whole.saturating_sub(total);
        let mut ties = total.saturating_sub(whole);
        loop {
            let mut digit = TABLE - 1;
            while digit > 0 && u64::from(table[digit]) < ties {
                ties -= u64::from(table[digit]);
                digit -= 1;
            }
            digits = (digits << BITS) | digit as u64;
            let all = u64::from(table[digit]) <= ties;
            if shift == 0 || all || ties == 0 {
                let none = u64::from(!all);
                return Self {
                    from: (digits + none) << shift,
                    ties: ties * none,
                    excess,
                };
            }
            table = [0; TABLE];
            for share in shares.clone() {
                if (share & MASK) >> shift == digits {
                    table[(share >> (shift - BITS)) as usize % TABLE] += 1;
                }
            }
            shift -= BITS;
        }
    }

    /// Rounds the next share, in the order in which `find` saw them.
    #[inline]
    pub(super) fn round(&mut self, share: u64) -> u64 {
        let (whole, fraction) = (share >> FRACTION, share & MASK);
        let mut rounded = whole + u64::from(fraction >= self.from);
        if self.ties > 0 && fraction + 1 == self.from {
            self.ties -= 1;
            rounded += 1;
        }
        if self.excess > 0 {
            let cut = self.excess.min(rounded);
            self.excess -= cut;
            rounded -= cut;
        }
        rounded
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rounded(shares: &[u64], total: u64, agents: usize) -> Vec<u64> {
        let mut rounding = Rounding::find(shares.iter().copied(), total, agents);
        shares.iter().map(|&share| rounding.round(share)).collect()
    }

    /// The rule taken literally: sorted by fraction, then by position.
    fn by_definition(shares: &[u64], total: u64) -> Vec<u64> {
        let mut got: Vec<u64> = shares.iter().map(|s| s >> FRACTION).collect();
        let mut order: Vec<usize> = (0..shares.len()).collect();
        order.sort_by_key(|&i| std::cmp::Reverse(shares[i] & MASK));
        let up = total.saturating_sub(got.iter().sum());
        for &i in order.iter().take(up as usize) {
            got[i] += 1;
        }
        got
    }

    #[test]
    fn a_share_is_fixed_to_a_millionth() {
        assert_eq!(fixed(0.0), 0);
        assert_eq!(
            fixed(238.5 * UNIT),
            (238 << FRACTION) + (1 << (FRACTION - 1))
        );
        assert_eq!(fixed(1e300), 1 << 52);
    }

    #[test]
    fn whole_parts_above_the_total_are_cut() {
        assert_eq!(
            rounded(&[fixed(3.0 * UNIT), fixed(4.0 * UNIT)], 5, 2),
            [1, 4]
        );
    }

    proptest! {
        #[test]
        fn both_tables_round_by_largest_remainder(
            shares in proptest::collection::vec((0u64..3, prop_oneof![0u64..4, 0u64..=MASK, (0u64..16).prop_map(|d| d << 16)]), 0..40),
            up in 0u64..40,
        ) {
            let shares: Vec<u64> = shares.iter().map(|(whole, fraction)| (whole << FRACTION) | fraction).collect();
            let whole: u64 = shares.iter().map(|s| s >> FRACTION).sum();
            let total = whole + up.min(shares.len() as u64);
            let expected = by_definition(&shares, total);
            prop_assert_eq!(expected.iter().sum::<u64>(), total);
            prop_assert_eq!(&rounded(&shares, total, 10), &expected);
            prop_assert_eq!(&rounded(&shares, total, 1000), &expected);
        }
    }
}
