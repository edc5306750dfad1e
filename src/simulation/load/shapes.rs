//! Rates that repeat: a square wave, a sine, a day. Each ends only when its rate is nothing at all times.

use super::pieces::Piece;

/// Steps of a period of a sine.
const STEPS: u32 = 96;

/// The high rate first, then the low one.
pub(super) fn square(low: f64, high: f64, period: f64, duty: f64) -> impl Iterator<Item = Piece> {
    let pieces = [(duty, high), (1.0 - duty, low)].map(|(part, rate)| Piece {
        seconds: period * part,
        rate,
    });
    pieces.into_iter().cycle()
}

/// Each step has the mean of the sine in it, so that a period has the mean rate exactly.
pub(super) fn sine(rate: f64, amplitude: f64, period: f64) -> impl Iterator<Item = Piece> {
    let width = std::f64::consts::TAU / f64::from(STEPS);
    let piece = move |step: u32| {
        let from = width * f64::from(step);
        let mean = (libm::cos(from) - libm::cos(from + width)) / width;
        Piece {
            seconds: period / f64::from(STEPS),
            rate: (rate * (1.0 + amplitude * mean)).max(0.0),
        }
    };
    (0..STEPS).map(piece).cycle()
}

/// Equal parts of a day in proportion to `shape`.
pub(super) fn diurnal(rate: f64, shape: &[f64], day: f64) -> impl Iterator<Item = Piece> + use<> {
    let mean = shape.iter().sum::<f64>() / shape.len() as f64;
    let seconds = day / shape.len() as f64;
    let pieces: Vec<Piece> = shape
        .iter()
        .map(|part| Piece {
            seconds,
            rate: rate * part / mean,
        })
        .collect();
    pieces.into_iter().cycle()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Requests that pieces amount to.
    fn amount(pieces: impl Iterator<Item = Piece>) -> f64 {
        pieces.map(|piece| piece.seconds * piece.rate).sum()
    }

    #[test]
    fn a_square_wave_is_high_for_its_part_of_the_period() {
        let pieces: Vec<Piece> = square(1.0, 9.0, 10.0, 0.2).take(3).collect();
        let parts: Vec<(f64, f64)> = pieces.iter().map(|p| (p.seconds, p.rate)).collect();
        assert_eq!(parts, [(2.0, 9.0), (8.0, 1.0), (2.0, 9.0)]);
    }

    #[test]
    fn a_sine_has_its_mean_its_crest_and_its_trough() {
        let period: Vec<Piece> = sine(5.0, 0.8, 60.0).take(96).collect();
        assert!((amount(period.iter().copied()) - 300.0).abs() < 1e-9);
        let highest = period.iter().map(|p| p.rate).fold(0.0, f64::max);
        let lowest = period.iter().map(|p| p.rate).fold(9.0, f64::min);
        assert!((highest - 9.0).abs() < 0.01 && (lowest - 1.0).abs() < 0.01);
        // Upwards first.
        assert!(period[24].rate > 8.9 && period[72].rate < 1.1);
        assert!(sine(5.0, 1.0, 60.0).take(96).all(|piece| piece.rate >= 0.0));
    }

    #[test]
    fn a_day_has_its_mean_and_its_shape_and_comes_again() {
        let pieces: Vec<Piece> = diurnal(10.0, &[1.0, 0.0, 3.0], 24.0).take(6).collect();
        let rates: Vec<f64> = pieces.iter().map(|piece| piece.rate).collect();
        assert_eq!(rates, [7.5, 0.0, 22.5, 7.5, 0.0, 22.5]);
        assert_eq!(amount(pieces.into_iter()), 2.0 * 240.0);
    }
}
