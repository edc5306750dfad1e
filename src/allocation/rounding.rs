//! Rounding to whole milli-GPUs by largest remainder: without a heap and without a sort.

/// Binary digits of the fraction in a fixed-point share.
const FRACTION: u32 = 20;
const MASK: u64 = (1 << FRACTION) - 1;
/// Largest share, and largest total, in milli-GPUs: four million GPUs.
pub(super) const LARGEST: u64 = 1 << (52 - FRACTION);

/// A share in milli-GPUs (finite, ≥ 0, at most [`LARGEST`]) as fixed-point number, to the nearest 2^-20 of a milli-GPU.
#[inline]
pub(super) fn fixed(milli: f64) -> u64 {
    // Adding 2^52 leaves no room for a fraction: the low bits of the sum are the integer nearest to the scaled share.
    const SHIFT: f64 = (1u64 << 52) as f64;
    let scaled = (milli * (1u64 << FRACTION) as f64).min(SHIFT);
    (scaled + SHIFT).to_bits() - SHIFT.to_bits()
}

/// Which shares are rounded up so that all sum to a total: those with the largest fractions; of equal ones the first.
#[derive(Debug)]
pub(super) struct Rounding {
    /// Binary digits of the fraction that decide nothing.
    shift: u32,
    /// A fraction whose leading digits are above these is rounded up,
    digits: u64,
    /// and of those whose leading digits equal them, this many more.
    ties: u64,
    /// What remains of the total: rounding errors of the shares never make them sum to more.
    left: u64,
}

impl Rounding {
    /// Finds the cut for `shares`: fixed-point numbers that sum to `total` up to rounding errors.
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
        let mut ties = total.saturating_sub(whole);
        loop {
            let mut digit = TABLE - 1;
            while digit > 0 && u64::from(table[digit]) < ties {
                ties -= u64::from(table[digit]);
                digit -= 1;
            }
            digits = (digits << BITS) | digit as u64;
            let undecided = ties > 0 && u64::from(table[digit]) > ties;
            if shift == 0 || !undecided {
                return Self {
                    shift,
                    digits,
                    ties,
                    left: total,
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
        let leading = (share & MASK) >> self.shift;
        let tie = (leading == self.digits) & (self.ties > 0);
        self.ties -= u64::from(tie);
        let up = (leading > self.digits) | tie;
        let rounded = ((share >> FRACTION) + u64::from(up)).min(self.left);
        self.left -= rounded;
        rounded
    }
}
