//! Where AgentPool is worse than a rule that never moves, gathered from all pages.

use super::bench::shown;
use agentpool::simulation::report::{Page, Table};
use agentpool::simulation::statistics::Interval;

/// A comparison that one of our policies lost.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Loss {
    /// Load, lag, physics.
    place: String,
    /// Which policy.
    rule: &'static str,
    mean: Option<Interval>,
    p95: Option<Interval>,
}

/// Takes a comparison with Hold if it is lost, in the mean or in the 95th percentile, by more than chance does.
pub(super) fn compare(
    losses: &mut Vec<Loss>,
    place: impl Into<String>,
    rule: &'static str,
    mean: Option<Interval>,
    p95: Option<Interval>,
) {
    let lost = |ratio: Option<Interval>| ratio.is_some_and(|ratio| ratio.low > 1.0);
    if lost(mean) || lost(p95) {
        losses.push(Loss {
            place: place.into(),
            rule,
            mean,
            p95,
        });
    }
}

/// The page.
pub(super) fn page(losses: &[Loss]) -> Page {
    let mut page = Page {
        title: "Where AgentPool loses".to_owned(),
        ..Page::default()
    };
    page.text(
        "Every comparison below in which the default policy (WaterFilling) or Balanced is worse than never moving, in the mean or in the \
         95th percentile, by more than chance does (the 95 % interval lies above 1). Under overload the agents of low priority wait \
         longer than with an equal split, by intention: they stand in their own table.",
    );
    let mut table = Table::new(["<where", "<policy", "mean", "p95"]);
    for loss in losses {
        table.row([
            loss.place.clone(),
            loss.rule.to_owned(),
            shown(loss.mean),
            shown(loss.p95),
        ]);
    }
    page.table(table);
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_worse_by_more_than_chance_is_a_loss() {
        let ratio = |low, high| {
            Some(Interval {
                mean: (low + high) / 2.0,
                low,
                high,
            })
        };
        let mut losses = Vec::new();
        compare(&mut losses, "better", "a", ratio(0.5, 0.6), ratio(0.9, 1.1));
        compare(&mut losses, "tail", "b", ratio(0.5, 0.6), ratio(1.1, 1.2));
        compare(&mut losses, "mean", "c", ratio(1.01, 1.2), None);
        let rules: Vec<&str> = losses.iter().map(|loss| loss.rule).collect();
        assert_eq!(rules, ["b", "c"]);
    }
}
