//! A histogram of the operator's `/metrics`, between two readings.

/// Bounds and how many observations each is not exceeded by, cumulative, as OpenMetrics writes them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Buckets(Vec<(f64, f64)>);

impl Buckets {
    /// Reads the histogram `family` of an OpenMetrics page; labels besides the bound are not looked at. Empty when it is absent.
    pub fn read(page: &str, family: &str) -> Self {
        let prefix = format!("{family}_bucket{{le=\"");
        let bucket = |line: &str| {
            let (bound, count) = line.strip_prefix(&prefix)?.split_once("\"} ")?;
            let bound = bound.replace("+Inf", "inf").parse().ok()?;
            Some((bound, count.trim().parse().ok()?))
        };
        Self(page.lines().filter_map(bucket).collect())
    }

    /// What came after an earlier reading of the same histogram.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let earlier = |i: usize| before.0.get(i).map_or(0.0, |(_, count)| *count);
        let buckets = self.0.iter().enumerate();
        Self(
            buckets
                .map(|(i, (bound, count))| (*bound, count - earlier(i)))
                .collect(),
        )
    }

    /// How many observations there are.
    pub fn count(&self) -> f64 {
        self.0.last().map_or(0.0, |(_, count)| *count)
    }

    /// The part of the observations that is at most `bound`, which must be the bound of a bucket. `None` without such a bucket or observations.
    pub fn at_most(&self, bound: f64) -> Option<f64> {
        let (_, count) = self.0.iter().find(|(b, _)| *b == bound)?;
        (self.count() > 0.0).then(|| count / self.count())
    }

    /// The value below which the part `q` lies, with the observations of a bucket spread evenly over it. `None` without observations; beyond the
    /// last finite bound, that bound.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        let wanted = q * self.count();
        let (mut low, mut below) = (0.0, 0.0);
        for (bound, count) in &self.0 {
            if *count >= wanted && *count > below {
                if bound.is_infinite() {
                    return Some(low);
                }
                return Some(low + (bound - low) * (wanted - below) / (count - below));
            }
            (low, below) = (*bound, *count);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# TYPE x_seconds histogram\nx_seconds_sum 1.0\nx_seconds_count 4\n\
        x_seconds_bucket{le=\"0.1\"} 1\nx_seconds_bucket{le=\"0.2\"} 3\nx_seconds_bucket{le=\"+Inf\"} 4\n";

    #[test]
    fn a_quantile_lies_within_its_bucket() {
        let buckets = Buckets::read(PAGE, "x_seconds");
        assert_eq!(buckets.count(), 4.0);
        assert_eq!(
            buckets.quantile(0.5).map(|v| (v * 1e6).round()),
            Some(150_000.0)
        );
        assert_eq!(
            buckets.quantile(1.0),
            Some(0.2),
            "it is beyond the last bound"
        );
        assert_eq!(buckets.at_most(0.2), Some(0.75));
    }

    #[test]
    fn only_what_came_in_between_counts() {
        let before = Buckets::read(PAGE, "x_seconds");
        let after = Buckets::read(
            &PAGE.replace(" 3\n", " 5\n").replace("} 4\n", "} 6\n"),
            "x_seconds",
        );
        let between = after.since(&before);
        assert_eq!(between.count(), 2.0);
        assert_eq!(between.at_most(0.1), Some(0.0));
        assert_eq!(between.at_most(0.2), Some(1.0));
        assert_eq!(before.since(&before).quantile(0.5), None);
    }
}
