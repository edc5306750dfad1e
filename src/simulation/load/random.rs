//! The streams of random numbers that loads are drawn from: the same bytes on every platform and in every version.

use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng as _, SeedableRng as _};

/// What a stream is for. Each has a stream of its own, so that a load with other works has the same arrivals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// How a rate moves.
    Rates = 1,
    /// When requests arrive under a rate.
    Arrivals = 2,
    /// How much work they are.
    Works = 3,
    /// Which requests of a trace are kept.
    Thinning = 4,
}

/// A stream of random numbers: xoshiro256++ (Blackman and Vigna, 2018), seeded by SplitMix64.
#[derive(Debug, Clone)]
pub(super) struct Stream(Xoshiro256PlusPlus);

impl Stream {
    /// The stream of an agent for a purpose: neither other agents nor their order change it.
    pub fn new(seed: u64, agent: &str, purpose: Purpose) -> Self {
        // FNV-1a over all three; SplitMix64 then spreads the 64 bits over the state.
        let bytes = seed
            .to_le_bytes()
            .into_iter()
            .chain((purpose as u64).to_le_bytes())
            .chain(agent.bytes());
        let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Self(Xoshiro256PlusPlus::seed_from_u64(hash))
    }

    /// Uniform in (0, 1]: its logarithm is finite.
    #[inline]
    pub fn uniform(&mut self) -> f64 {
        const STEP: f64 = 1.0 / (1u64 << 53) as f64;
        ((self.0.next_u64() >> 11) + 1) as f64 * STEP
    }

    /// Exponential with mean 1.
    #[inline]
    pub fn exponential(&mut self) -> f64 {
        -libm::log(self.uniform())
    }

    /// Standard normal (Box and Muller).
    pub fn normal(&mut self) -> f64 {
        let radius = (2.0 * self.exponential()).sqrt();
        radius * libm::cos(std::f64::consts::TAU * self.uniform())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulation::load::statistics::moments;

    fn stream() -> Stream {
        Stream::new(3, "a", Purpose::Works)
    }

    #[test]
    fn the_moments_are_right() {
        let mut stream = stream();
        let n = 400_000;
        let exponentials: Vec<f64> = (0..n).map(|_| stream.exponential()).collect();
        let (mean, variance) = moments(&exponentials);
        // Four standard errors: 1 / sqrt(n) of the mean, sqrt(8 / n) of the variance.
        assert!((mean - 1.0).abs() < 0.0064, "{mean}");
        assert!((variance - 1.0).abs() < 0.018, "{variance}");
        let normals: Vec<f64> = (0..n).map(|_| stream.normal()).collect();
        let (mean, variance) = moments(&normals);
        assert!(mean.abs() < 0.0064, "{mean}");
        assert!((variance - 1.0).abs() < 0.009, "{variance}");
    }

    #[test]
    fn numbers_are_finite_and_exponentials_never_negative() {
        let mut stream = stream();
        for _ in 0..100_000 {
            let uniform = stream.uniform();
            assert!(uniform > 0.0 && uniform <= 1.0);
            assert!(stream.exponential() >= 0.0);
        }
    }

    /// Whoever changes these bytes changes every published figure.
    #[test]
    fn the_first_numbers_of_a_stream_are_pinned() {
        let mut stream = Stream::new(1, "nlp", Purpose::Arrivals);
        let first: Vec<u64> = (0..3).map(|_| stream.0.next_u64()).collect();
        assert_eq!(first, PINNED);
        let exponential = Stream::new(1, "nlp", Purpose::Arrivals).exponential();
        assert_eq!(exponential.to_bits(), PINNED_EXPONENTIAL);
    }

    const PINNED: [u64; 3] = [0xa1f17fc96908fa9b, 0x80a99a969e5c6075, 0x4e666a37d43bd9cd];
    const PINNED_EXPONENTIAL: u64 = 0x3fdd4ebd16301cfd;

    #[test]
    fn seeds_agents_and_purposes_have_streams_of_their_own() {
        let first = |seed, agent, purpose| Stream::new(seed, agent, purpose).0.next_u64();
        let own = first(1, "a", Purpose::Arrivals);
        assert_eq!(own, first(1, "a", Purpose::Arrivals));
        for other in [
            first(2, "a", Purpose::Arrivals),
            first(1, "b", Purpose::Arrivals),
            first(1, "a", Purpose::Works),
        ] {
            assert_ne!(own, other);
        }
    }
}
