//! The two distributions that loads are made of.

use rand::Rng;

/// Exponential with this mean.
pub fn exponential(rng: &mut impl Rng, mean: f64) -> f64 {
    // 1 - u lies in (0, 1]: its logarithm is finite.
    -mean * (1.0 - rng.random::<f64>()).ln()
}

/// Standard normal (Box and Muller).
pub fn normal(rng: &mut impl Rng) -> f64 {
    let radius = (2.0 * exponential(rng, 1.0)).sqrt();
    radius * (std::f64::consts::TAU * rng.random::<f64>()).cos()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::statistics::moments;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    #[test]
    fn the_moments_are_right() {
        let mut rng = StdRng::seed_from_u64(3);
        let exponentials: Vec<f64> = (0..100_000).map(|_| exponential(&mut rng, 2.0)).collect();
        let (mean, variance) = moments(&exponentials);
        assert!(
            (mean - 2.0).abs() < 0.03 && (variance - 4.0).abs() < 0.15,
            "{mean} {variance}"
        );
        let normals: Vec<f64> = (0..100_000).map(|_| normal(&mut rng)).collect();
        let (mean, variance) = moments(&normals);
        assert!(
            mean.abs() < 0.015 && (variance - 1.0).abs() < 0.02,
            "{mean} {variance}"
        );
    }
}
