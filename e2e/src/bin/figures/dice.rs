//! What draws the pools of benchmarks.
#![forbid(unsafe_code)]

/// A xorshift generator: the same pools in every run.
pub struct Dice(pub u64);

impl Dice {
    /// A number from 0 to less than `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}
