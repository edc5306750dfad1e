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
