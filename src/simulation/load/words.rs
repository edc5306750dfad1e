//! Numbers in sentences.

/// With six significant digits at most and without zeros at the end: a rate that was computed as 0.7 × 24 reads 16.8.
pub(super) fn plain(x: f64) -> f64 {
    // Through decimal text: a power of ten times a power of two is not exact.
    format!("{x:.5e}").parse().unwrap_or(x)
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn what_rounding_left_over_is_not_printed() {
        assert_eq!(plain(0.7 * 24.0).to_string(), "16.8");
        assert_eq!(plain(1.0 / 3.0).to_string(), "0.333333");
        assert_eq!(plain(1_234_567.0).to_string(), "1234570");
        assert_eq!(plain(0.0).to_string(), "0");
        assert!(plain(f64::INFINITY).is_infinite());
    }
}
