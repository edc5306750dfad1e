//! Latencies in bounded memory, whatever the number of requests.

/// Sub-buckets of a power of two: a value is known to one part in 2 · 128.
const BITS: u32 = 7;
/// The first and the last power of two that are told apart: 1 microsecond to 194 days.
const POWERS: (i32, i32) = (-20, 24);
const BUCKETS: usize = ((POWERS.1 - POWERS.0) as usize) << BITS;

/// A distribution of times, in seconds: its count and mean exactly, its quantiles within 0.4 % (values below one microsecond count as one).
///
/// Buckets are as wide as 1/128 of the power of two that they are in (the layout of HdrHistogram); sketches add up exactly.
#[derive(Debug, Clone, PartialEq)]
pub struct Sketch {
    buckets: Vec<u64>,
    count: u64,
    sum: f64,
    largest: f64,
}

impl Default for Sketch {
    fn default() -> Self {
        Self {
            buckets: vec![0; BUCKETS],
            count: 0,
            sum: 0.0,
            largest: 0.0,
        }
    }
}

impl Sketch {
    /// Takes one value; finite, ≥ 0.
    #[inline]
    pub fn add(&mut self, seconds: f64) {
        let bucket =
            (seconds.to_bits() >> (52 - BITS)) as i64 - (i64::from(1023 + POWERS.0) << BITS);
        self.buckets[bucket.clamp(0, BUCKETS as i64 - 1) as usize] += 1;
        self.count += 1;
        self.sum += seconds;
        self.largest = self.largest.max(seconds);
    }

    /// Takes all of another.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            *mine += theirs;
        }
        self.count += other.count;
        self.sum += other.sum;
        self.largest = self.largest.max(other.largest);
    }

    /// How many values.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Their sum, in seconds.
    pub fn sum(&self) -> f64 {
        self.sum
    }

    /// The largest, in seconds; 0 without values.
    pub fn largest(&self) -> f64 {
        self.largest
    }

    /// Their mean, in seconds; `None` without values.
    pub fn mean(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum / self.count as f64)
    }

    /// The value that the part `q` (0 to 1) of all does not exceed; `None` without values.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        if self.count == 0 {
            return None;
        }
        let rank = (q.clamp(0.0, 1.0) * self.count as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (bucket, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= rank {
                let middle = |b: usize| {
                    let bits = (b as u64 + ((1023 + POWERS.0) as u64) * (1 << BITS)) << (52 - BITS);
                    f64::from_bits(bits)
                };
                return Some(f64::midpoint(middle(bucket), middle(bucket + 1)).min(self.largest));
            }
        }
        Some(self.largest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nothing_has_no_mean_and_no_quantile() {
        let sketch = Sketch::default();
        assert_eq!((sketch.mean(), sketch.quantile(0.5)), (None, None));
    }

    #[test]
    fn values_outside_the_range_are_counted_at_its_ends() {
        let mut sketch = Sketch::default();
        [0.0, 1e-9, 1e12].into_iter().for_each(|v| sketch.add(v));
        assert_eq!(sketch.count(), 3);
        assert!(sketch.quantile(0.5) < Some(2e-6));
        assert_eq!(sketch.largest(), 1e12);
    }

    proptest! {
        #[test]
        fn a_quantile_is_within_four_thousandths_of_the_true_one(
            mut values in proptest::collection::vec(1e-5f64..1e6, 1..300),
            q in 0.0f64..=1.0,
        ) {
            let mut sketch = Sketch::default();
            values.iter().for_each(|v| sketch.add(*v));
            values.sort_by(f64::total_cmp);
            let rank = ((q * values.len() as f64).ceil() as usize).max(1) - 1;
            let told = sketch.quantile(q);
            prop_assert!(told.is_some_and(|t| (t / values[rank] - 1.0).abs() <= 0.004), "{told:?} for {}", values[rank]);
        }

        #[test]
        fn sketches_add_up(a in proptest::collection::vec(1e-5f64..1e6, 0..50), b in proptest::collection::vec(1e-5f64..1e6, 0..50)) {
            let of = |values: &[f64]| {
                let mut sketch = Sketch::default();
                values.iter().for_each(|v| sketch.add(*v));
                sketch
            };
            let mut both = of(&a);
            both.merge(&of(&b));
            let all = of(&[a, b].concat());
            prop_assert_eq!(&both.buckets, &all.buckets);
            prop_assert!((both.sum - all.sum).abs() <= 1e-9 * all.sum.abs());
        }
    }
}
