//! Where AgentPool is worse than what it is compared with, gathered from all pages.

use super::bench::{OURS, Runs, each, mean, p95, shown, under};
use agentpool::simulation::Outcome;
use agentpool::simulation::report::{Page, Table};
use agentpool::simulation::statistics::{Interval, paired_ratio};

/// One of our policies beside one baseline.
#[derive(Debug, Clone, PartialEq)]
struct Against {
    baseline: String,
    mean: Option<Interval>,
    p95: Option<Interval>,
}

impl Against {
    fn new(ours: &[Outcome], theirs: &[Outcome]) -> Self {
        let ratio = |of: fn(&Outcome) -> f64| paired_ratio(&each(ours, of), &each(theirs, of));
        Self {
            baseline: theirs.first().map_or("", |o| &o.rule).to_owned(),
            mean: ratio(mean),
            p95: ratio(p95),
        }
    }

    /// By how much it is lost, in the mean or in the 95th percentile, if by more than chance does.
    fn lost(&self) -> Option<f64> {
        let ratios = [self.mean, self.p95].into_iter().flatten();
        let lost = ratios.filter(|ratio| ratio.low > 1.0);
        lost.map(|ratio| ratio.mean).max_by(f64::total_cmp)
    }
}

/// A place where one of our policies lost.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Loss {
    /// Load, lag, physics.
    place: String,
    /// Which policy.
    policy: &'static str,
    /// To whom; the one by which most is lost comes first.
    to: Vec<Against>,
}

impl Loss {
    fn new(place: &str, policy: &'static str, all: Vec<Against>) -> Option<Self> {
        let mut to: Vec<(f64, Against)> = all
            .into_iter()
            .filter_map(|against| Some((against.lost()?, against)))
            .collect();
        to.sort_by(|a, b| b.0.total_cmp(&a.0));
        (!to.is_empty()).then(|| Self {
            place: place.to_owned(),
            policy,
            to: to.into_iter().map(|(_, against)| against).collect(),
        })
    }
}

/// Takes the comparisons of our policies with every other rule that was run, if any is lost.
pub(super) fn compare(losses: &mut Vec<Loss>, place: &str, runs: &Runs) {
    let is_ours = |rule: &str| OURS.iter().any(|(ours, _)| *ours == rule);
    let baselines: Vec<&[Outcome]> = runs
        .iter()
        .map(Vec::as_slice)
        .filter(|theirs| theirs.first().is_some_and(|o| !is_ours(&o.rule)))
        .collect();
    for (rule, policy) in OURS {
        let ours = under(runs, rule);
        let all = baselines.iter().map(|theirs| Against::new(ours, theirs));
        losses.extend(Loss::new(place, policy, all.collect()));
    }
}

/// The page.
pub(super) fn page(losses: &[Loss]) -> Page {
    let mut page = Page {
        title: "Where AgentPool loses".to_owned(),
        ..Page::default()
    };
    page.text(
        "Every place below, but for capacity that comes and goes, in which Balanced, the default policy, or WaterFilling is worse than a \
         baseline that was run beside it, in the mean or in the 95th percentile, by more than chance does (the 95 % interval lies above \
         1). The baseline by which most is lost comes first; the ratios are to that one. Under overload the agents of low priority wait \
         longer than with an equal split, by intention: they stand in their own tables. Fronts of GPU-hours stand with theirs. \
         One more loss stands in the table of the paper's agents above: the paper's minimum shares sum to the whole GPU, and what every agent \
         with demand is entitled to leaves nothing to move. Under both policies the agent that bursts then waits longer than with equal \
         parts, without a lag most of all. Declare minima that the agents need, not such that they divide the GPU.",
    );
    let mut table = Table::new(["<where", "<policy", "<worse than", "mean", "p95"]);
    for loss in losses {
        let names: Vec<&str> = loss.to.iter().map(|a| a.baseline.as_str()).collect();
        let first = loss.to.first();
        table.row([
            loss.place.clone(),
            loss.policy.to_owned(),
            names.join(", "),
            shown(first.and_then(|a| a.mean)),
            shown(first.and_then(|a| a.p95)),
        ]);
    }
    page.table(table);
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    fn against(baseline: &str, mean: (f64, f64), p95: Option<(f64, f64)>) -> Against {
        let ratio = |(low, high)| Interval {
            mean: f64::midpoint(low, high),
            low,
            high,
        };
        Against {
            baseline: baseline.to_owned(),
            mean: Some(ratio(mean)),
            p95: p95.map(ratio),
        }
    }

    #[test]
    fn only_what_is_worse_by_more_than_chance_is_a_loss() {
        let better = against("a", (0.5, 0.6), Some((0.9, 1.1)));
        let tail = against("b", (0.5, 0.6), Some((1.1, 1.2)));
        let mean = against("c", (1.01, 1.2), None);
        let lost = [better, tail, mean].map(|against| against.lost().is_some());
        assert_eq!(lost, [false, true, true]);
    }

    #[test]
    fn every_baseline_that_wins_is_named_and_the_one_that_wins_by_most_comes_first() {
        let all = vec![
            against("hold", (1.1, 1.3), None),
            against("keda", (0.1, 0.2), None),
            against("hpa", (0.9, 1.0), Some((1.8, 2.2))),
        ];
        let loss = Loss::new("somewhere", "Balanced", all);
        let text = page(loss.as_slice()).to_text();
        assert!(text.contains("hpa, hold"), "{text}");
        assert!(text.contains("2.00 [1.80, 2.20]"), "{text}");
        assert!(!text.contains("keda"), "{text}");
    }

    #[test]
    fn where_no_baseline_wins_there_is_no_row() {
        let all = vec![against("hold", (0.5, 1.3), None)];
        assert_eq!(Loss::new("somewhere", "Balanced", all), None);
    }
}
